"""Standard error may be gone, full, closed or stalled: the service runs and ends as without it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.command_line import PROGRAM, STARTED
from tests.full_pipe import PATIENCE, Pipe
from tests.live import parse_events
from tests.server_process import ServerProcess, running_server
from tests.unread_stderr import have_it_log, served


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with closing(Pipe()) as found:
        yield found


EVERY_WAY = """
import gc, logging, sys, threading, warnings
import structlog
from hypercorn.config import Config
from quart_trio import QuartTrio
from trio_logs.logging import configure_logging

configure_logging()
threads = threading.active_count()
text = "z" * 10_000
structlog.get_logger().warning(text)
logging.getLogger("trio.abc.Instrument").error(text)
Config().log.error_logger.error(text)
QuartTrio("trio_logs").logger.error(text)
warnings.warn(text)
sys.excepthook(ValueError, ValueError(text), None)
assert threading.active_count() == threads, threading.enumerate()

def fail():
    raise ValueError(text)

thread = threading.Thread(target=fail)
thread.start()
thread.join()

class Finalized:
    def __del__(self):
        raise ValueError(text)

Finalized()
print(text, file=sys.stderr, flush=True)
print("done", flush=True)
"""


def test_no_library_writes_to_standard_error_by_another_way(pipe: Pipe) -> None:
    """Each of these would wait for the reader of the full pipe."""
    pipe.fill()
    command = [sys.executable, "-c", EVERY_WAY]
    found = subprocess.run(command, stdout=subprocess.PIPE, stderr=pipe.writer, timeout=PATIENCE)
    assert (found.returncode, found.stdout) == (0, b"done\n")


def take_its_log(server: ServerProcess, trouble: Callable[[], object], gate: Path) -> float:
    """A workload runs meanwhile and ends after it, then SIGTERM. Returns how much was dropped."""
    script = f"echo before; until [ -e {gate} ]; do sleep 0.01; done; echo after; echo err >&2"
    workload = server.post("/v1/workloads", {"command": ["sh", "-c", script]}).json()
    trouble()
    have_it_log(server)
    gate.touch()
    *lines, end = parse_events(server.get(workload["logs_url"]).content)
    assert sorted(line[2] for line in lines) == ["after", "before", "err"]
    assert end[2]["status"] == "succeeded"
    dropped = server.metric("trio_logs_own_log_dropped_total")
    assert server.stop(PATIENCE) == 0
    return dropped


def test_a_reader_that_is_gone(tmp_path: Path, pipe: Pipe) -> None:
    with served(tmp_path / "data", pipe.writer) as server:
        assert take_its_log(server, pipe.close_reader, tmp_path / "gate") >= 4


def test_a_full_disk(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full, served(tmp_path / "data", full) as server:
        assert take_its_log(server, lambda: None, tmp_path / "gate") >= 4


def test_a_reader_that_is_stopped(tmp_path: Path, pipe: Pipe) -> None:
    with served(tmp_path / "data", pipe.writer) as server:
        # Four records are more than the pipe holds, and less than the queue does.
        assert take_its_log(server, lambda: None, tmp_path / "gate") == 0
    assert pipe.rest().startswith(b"Listening on http://127.0.0.1:")


def test_standard_error_that_is_closed(tmp_path: Path) -> None:
    prefix = ("sh", "-c", 'exec "$@" 2>&-', "sh")
    with served(tmp_path / "data", subprocess.DEVNULL, prefix) as server:
        assert take_its_log(server, lambda: None, tmp_path / "gate") == 0


def test_interrupt_of_a_pipeline_stops_workloads_with_grace(tmp_path: Path, pipe: Pipe) -> None:
    """`serve 2>&1 | cat`: the terminal sends SIGINT to both, and cat ends first."""
    data = tmp_path / "data"
    with served(data, pipe.writer, STARTED, process_group=0) as server:
        group = server.process.pid
        cat = subprocess.Popen(
            ["cat"], stdin=pipe.reader, stdout=subprocess.DEVNULL, process_group=group
        )
        pipe.close_reader()
        # A shell may say on stderr that its child was terminated.
        script = (
            "exec 2>/dev/null; trap 'echo tidied up; exit 3' TERM; echo up;"
            " while :; do sleep 0.01; done"
        )
        url = server.post("/v1/workloads", {"command": ["sh", "-c", script]}).json()["logs_url"]
        with server.client() as client, client.stream("GET", url) as stream:
            assert any("data: up" in line for line in stream.iter_lines())
        cat.send_signal(signal.SIGINT)
        cat.wait()
        os.killpg(group, signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0
    with running_server(data) as server:
        *lines, end = parse_events(server.get(url).content)
    assert [line[2] for line in lines] == ["up", "tidied up"]
    assert (end[2]["status"], end[2]["exit_code"]) == ("stopped", 3)


@pytest.mark.parametrize("full", [False, True])
def test_the_last_words_of_a_process_are_written(tmp_path: Path, full: bool) -> None:
    """An uncaught exception, which Python itself prints."""
    (tmp_path / "broken.py").write_text("raise RuntimeError('boom')")
    said = tmp_path / "said"
    with Path("/dev/full" if full else said).open("wb") as stderr:
        found = subprocess.run(
            [*PROGRAM, "serve", "--data", str(tmp_path / "data"), "--import", "broken"],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            stderr=stderr,
            timeout=PATIENCE,
        )
    assert found.returncode == 1
    assert full or said.read_text().endswith("RuntimeError: boom\n")


def test_under_stock_hypercorn(tmp_path: Path, pipe: Pipe) -> None:
    command = [sys.executable, "-m", "hypercorn", "-k", "trio", "--bind", "127.0.0.1:0"]
    environment = {**os.environ, "TRIO_LOGS_DATA": str(tmp_path), "TRIO_LOGS_TOKEN": "t"}
    process = subprocess.Popen(
        [*command, "trio_logs.asgi:app"], env=environment, stderr=pipe.writer
    )
    try:
        with open(pipe.reader, "rb", closefd=False) as reader:
            running = next(line.decode() for line in reader if b"Running on" in line)
        server = ServerProcess(process, running.partition("Running on ")[2].split()[0], "t")
        assert take_its_log(server, pipe.close_reader, tmp_path / "gate") >= 4
    finally:
        process.kill()
        process.wait()
