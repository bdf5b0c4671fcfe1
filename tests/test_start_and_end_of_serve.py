"""Signals that come while `trio-logs serve` starts, and when it has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import PROGRAM, environment
from tests.server_process import running_server

EARLY = """
import os, signal, sys

class Finder:
    def find_spec(name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
            # Whatever reads it next, the signal has arrived.
            for _ in range(1000): pass

sys.meta_path.insert(0, Finder)
"""
"""Python imports it at its start. It sends a signal when the program imports a module."""

LATE = """
import atexit, os

# Python calls it after all that the program registers.
atexit.register(lambda: [os.kill(os.getpid(), number) for number in {numbers}])
"""


def with_hook(tmp_path: Path, text: str) -> dict[str, str]:
    (tmp_path / "sitecustomize.py").write_text(text)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    return environment(tmp_path / "data", PYTHONPATH=path.rstrip(os.pathsep))


@pytest.mark.parametrize(
    ("module", "number"),
    [("trio_logs.cli", signal.SIGTERM), ("cyclopts", signal.SIGINT), ("jobs", signal.SIGTERM)],
)
def test_a_signal_during_the_start(tmp_path: Path, module: str, number: int) -> None:
    """With every import; the last one is that of the user's functions."""
    env = with_hook(tmp_path, EARLY.format(module=module, number=int(number)))
    found = subprocess.run(
        [*PROGRAM, "serve", "--bind", "127.0.0.1:0", "--import", "jobs"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    assert not (tmp_path / "data").exists()


def test_an_interrupt_during_the_start_of_another_command(tmp_path: Path) -> None:
    env = with_hook(tmp_path, EARLY.format(module="cyclopts", number=int(signal.SIGINT)))
    found = subprocess.run(
        [*PROGRAM, "ps"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    # A shell shows it as 130.
    assert (found.returncode, found.stdout, found.stderr) == (-signal.SIGINT, "", "")


def test_signals_after_the_end(tmp_path: Path) -> None:
    numbers = [int(signal.SIGTERM), int(signal.SIGINT)]
    env = with_hook(tmp_path, LATE.format(numbers=numbers))
    prefix = ("env", f"PYTHONPATH={env['PYTHONPATH']}")
    with running_server(tmp_path / "data", prefix=prefix) as server:
        assert server.stop() == 0
    assert server.lines[1:] == [line for line in server.lines[1:] if "shutting down" in line]


def test_a_shutdown_says_what_it_waits_for(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", "--grace", "0.1") as server:
        server.post("/v1/workloads", {"command": ["sh", "-c", "exec sleep 60"]})
        assert server.stop() == 0
    [waiting] = [line for line in server.lines if "shutting down: stopping workloads" in line]
    assert "running=1" in waiting
    assert "grace=0.1" in waiting
    assert "a second signal does not wait for them" in waiting


def test_signals_after_a_failure(tmp_path: Path) -> None:
    """They don't hide it."""
    numbers = [int(signal.SIGTERM), int(signal.SIGINT)]
    found = subprocess.run(
        [*PROGRAM, "serve", "--bind", f"unix:{tmp_path}/none/socket"],
        env=with_hook(tmp_path, LATE.format(numbers=numbers)),
        capture_output=True,
        timeout=60,
    )
    assert found.returncode == 1


def test_a_signal_that_was_sent_while_it_was_blocked(tmp_path: Path) -> None:
    """It arrives as soon as the service unblocks it."""
    script = """
        import os, signal, sys
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)
        os.execv(sys.argv[1], sys.argv[1:])
    """
    found = subprocess.run(
        [
            *(sys.executable, "-c", "\n".join(line.strip() for line in script.splitlines())),
            *(*PROGRAM, "serve", "--bind", "127.0.0.1:0"),
        ],
        env=environment(tmp_path / "data"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (found.returncode, found.stderr) == (0, "")
