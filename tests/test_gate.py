"""No command runs before the store has the handle with which the next start finds its remains."""

from __future__ import annotations

import os
import select
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, running_server
from tests.test_process import run
from tests.test_process_limits import finished, submit
from trio_logs.backends.gate import gate_wrapper

HOLDING = """
import sys
import trio
from trio_logs.cli import main
from trio_logs.store.sqlite import SQLiteStore

place, kept = sys.argv[1], SQLiteStore.remember

async def remember(self, workload_id, handle):
    if (await self.workload(workload_id)).spec.name != "held":
        return await kept(self, workload_id, handle)
    with open(place, "w") as fifo:
        fifo.write(workload_id)
    await trio.sleep_forever()

SQLiteStore.remember = remember
del sys.argv[1 : sys.argv.index("trio_logs") + 1]
main()
"""
"""A server that never commits the handle of a workload with the name `held`."""

TREE = 'touch "$0"; sleep 600 & wait'
"""A command that leaves a trace and a child of its own."""


def running(part: str) -> list[int]:
    """The processes that have this in their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if part.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@contextmanager
def watched(pids: list[int]) -> Iterator[None]:
    """On exit, wait until these processes have ended."""
    descriptors = [os.pidfd_open(pid) for pid in pids]
    try:
        yield
        for descriptor in descriptors:
            assert select.select([descriptor], [], [], 20)[0], "a process goes on"
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_kill_9_before_the_handle_is_durable(tmp_path: Path) -> None:
    """Between the fork and the commit: nothing of the command has run, and nothing is left."""
    place, trace = tmp_path / "fifo", tmp_path / "trace"
    os.mkfifo(place)
    prefix = (sys.executable, "-c", HOLDING, str(place))
    with running_server(tmp_path / "data", prefix=prefix) as server:
        body = {"command": ["sh", "-c", TREE, str(trace)], "name": "held"}
        workload = server.post("/v1/workloads", body).json()["id"]
        assert place.read_text() == workload
        # Commands that start later run, so this one has had the time, too.
        for _ in range(3):
            assert finished(server, submit(server, "true"))["status"] == "succeeded"
        processes = [pid for pid in running(str(trace)) if pid != server.process.pid]
        assert processes
        with watched(processes):
            server.kill()
    with running_server(tmp_path / "data") as server:
        assert server.get(f"/v1/workloads/{workload}").json()["status"] == "lost"
        assert (running(str(trace)), trace.exists()) == ([], False)
        assert server.stop() == 0


VARIABLES = {
    **dict.fromkeys(("PWD", "OLDPWD", "SHLVL", "_", "IFS", "OPTIND", "PS1", "PPID"), "mine"),
    **dict.fromkeys(("LINENO", "UID", "RANDOM", "SHELLOPTS", "BASH_VERSION", "GROUPS"), "mine"),
    "a.b": "a name that shells drop",
    "-x": "",
    "BASH_FUNC_f%%": "() { echo f; }",
    "LD_BIND_NOW": "1",
    "plain": " $HOME \n'\"",
    "ENV": "/no/such/file",
    "TMOUT": "1",
}


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("given", [{}, VARIABLES])
async def test_the_environment_is_as_if_there_were_no_gate(
    shell: str, given: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which(shell)
    assert program is not None
    (tmp_path / "sh").symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = await run("/bin/cat", "/proc/self/environ", env=given)
    names = ("PATH", "HOME", "LANG")
    usual = {name: os.environ[name] for name in names if name in os.environ}
    expected = {f"{name}={value}".encode() for name, value in {**usual, **given}.items()}
    assert set(found.written["stdout"].split(b"\0")[:-1]) == expected


def test_no_variable_ends_the_wait_at_the_gate() -> None:
    """A shell reads for TMOUT seconds at most; the store may take longer."""
    wrapper = gate_wrapper({"TMOUT": "1", "plain": "x"}, os.devnull)
    assert wrapper is not None
    assert wrapper[1] == {"plain": "x"}


async def test_the_command_has_its_own_name_and_no_gate() -> None:
    script = "readlink /proc/$$/fd/3 || tr '\\0' ' ' < /proc/$$/cmdline"
    found = await run("sh", "-c", script)
    assert found.written["stdout"].startswith(b"sh -c readlink")


def test_no_gate_without_the_programs_for_it(tmp_path: Path) -> None:
    """The command runs all the same, with `setpriv` alone."""
    (tmp_path / "setpriv").symlink_to(shutil.which("setpriv") or "")
    env = shutil.which("env")
    assert env is not None
    prefix = (env, f"PATH={tmp_path}")
    with running_server(tmp_path / "data", prefix=prefix) as server:
        assert ends(server, "/bin/true") == "succeeded"
        assert server.stop() == 0


def ends(server: ServerProcess, *command: str) -> str:
    return str(finished(server, submit(server, *command))["status"])
