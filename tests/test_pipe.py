"""`trio-logs pipe`, as a process of its own, with a server that is one, too."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest

from tests.command_line import STARTED, launch, started
from tests.forked import Forked
from tests.server_process import ServerProcess, running_server

LINES = 1_000_000

PATIENCE = 60


class Pipe:
    """A running `trio-logs pipe`. `said` is a file with what it says on standard error."""

    def __init__(self, process: Forked | subprocess.Popen[bytes], said: Path) -> None:
        self.process = process
        self.said = said

    @property
    def stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def feed(self, data: bytes) -> None:
        """Give it the last of its input."""
        # It may have been killed.
        with suppress(BrokenPipeError), self.stdin:
            self.stdin.write(data)

    def copy(self, data: bytes) -> bytes:
        """Give it the last of its input; return what it prints until it ends."""
        overdue = threading.Timer(PATIENCE, self.process.kill)
        feeder = threading.Thread(target=self.feed, args=(data,))
        overdue.start()
        feeder.start()
        printed = b"" if self.process.stdout is None else self.process.stdout.read()
        feeder.join()
        self.process.wait()
        overdue.cancel()
        overdue.join()
        return printed

    def workload(self) -> str:
        """The id that it tells."""
        deadline = time.monotonic() + PATIENCE
        while "workload " not in self.said.read_text():
            assert time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.02)
        return self.said.read_text().split("workload ")[1].split()[0]

    def memory(self) -> int:
        """What it has had at most, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.split("\n") if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024


@contextmanager
def running_pipe(
    server: ServerProcess,
    folder: Path,
    *arguments: str,
    stdout: Any = subprocess.DEVNULL,
    prefix: tuple[str, ...] = (),
) -> Iterator[Pipe]:
    """A pipe to that server; killed on exit if it still runs. `prefix` is that of
    `running_server`."""
    said = folder / "said"
    with said.open("wb") as stderr:
        process = launch(
            ["pipe", *arguments],
            prefix,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "TRIO_LOGS_SERVER": server.url, "TRIO_LOGS_TOKEN": server.token},
        )
    try:
        yield Pipe(process, said)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None and not stream.closed:
                stream.close()


def record(server: ServerProcess, workload: str) -> dict[str, Any]:
    return dict(server.get(f"/v1/workloads/{workload}").json())


def raw_log(server: ServerProcess, workload: str) -> bytes:
    return server.get(f"/v1/workloads/{workload}/logs", Accept="text/plain").content


def blocks() -> Iterator[bytes]:
    """A million lines."""
    for start in range(0, LINES, 10_000):
        yield b"".join(b"line %d of a build\n" % n for n in range(start, start + 10_000))


@pytest.mark.parametrize("restarts", [(), ("stop", "kill")], ids=" and ".join)
def test_a_million_lines_arrive_byte_for_byte(
    tmp_path: Path, restarts: tuple[str, ...], record_figure: Any
) -> None:
    """Also if the server is restarted on the way, by SIGTERM and by `kill -9`."""
    written, copy = hashlib.sha256(), tmp_path / "copy"
    started = time.monotonic()
    with ExitStack() as stack, copy.open("wb") as stdout:
        server = stack.enter_context(running_server(tmp_path / "data"))
        bind = ("--bind", server.url.removeprefix("http://"))
        pipe = stack.enter_context(running_pipe(server, tmp_path, "--name", "build", stdout=stdout))
        workload = pipe.workload()
        ends = dict(zip((30, 60), restarts, strict=False))
        before = 0
        for number, block in enumerate(blocks()):
            written.update(block)
            pipe.stdin.write(block)
            if number in ends:
                # It got more in the meantime, and is in the middle of it.
                assert before < (before := record(server, workload)["bytes"])
                getattr(server, ends[number])()
                server = stack.enter_context(running_server(tmp_path / "data", *bind))
        pipe.stdin.close()
        assert pipe.process.wait(PATIENCE) == 0, pipe.said.read_text()
        seconds = time.monotonic() - started
        found = record(server, workload)
        assert (found["name"], found["status"], found["lines"]) == ("build", "succeeded", LINES)
        assert hashlib.sha256(raw_log(server, workload)).digest() == written.digest()
    assert hashlib.sha256(copy.read_bytes()).digest() == written.digest()
    record_figure(f"pipe: {LINES:,} lines in {seconds:.1f} s, server restarted by: {restarts}")


def test_a_paused_server_blocks_the_writer(tmp_path: Path) -> None:
    """The buffers on the way fill up, of which the pipe's own is 2 MiB; then it reads no more."""
    with (
        running_server(tmp_path / "data") as server,
        running_pipe(server, tmp_path, prefix=STARTED) as pipe,
    ):
        pipe.stdin.write(b"first\n")
        pipe.stdin.flush()
        workload = pipe.workload()
        before = pipe.memory()
        server.process.send_signal(signal.SIGSTOP)
        os.set_blocking(pipe.stdin.fileno(), False)
        written, stuck_since = 6, time.monotonic()
        line = b"x" * 999 + b"\n"
        # Nothing is taken for two seconds: it does block.
        while time.monotonic() < stuck_since + 2:
            try:
                written += os.write(pipe.stdin.fileno(), line * 10)
                stuck_since = time.monotonic()
            except BlockingIOError:
                time.sleep(0.05)
            assert written < 30_000_000
        assert pipe.memory() < before + 16 * 1024 * 1024
        server.process.send_signal(signal.SIGCONT)
        os.set_blocking(pipe.stdin.fileno(), True)
        pipe.stdin.close()
        assert pipe.process.wait(PATIENCE) == 0
        assert len(raw_log(server, workload)) == written


def test_all_byte_values_and_no_last_line_end(tmp_path: Path) -> None:
    data = bytes(range(256)) * 300 + b"\r\n\r" + bytes(range(255, -1, -1))
    with (
        running_server(tmp_path / "data") as server,
        running_pipe(server, tmp_path, stdout=subprocess.PIPE) as pipe,
    ):
        assert pipe.copy(data) == data
        assert pipe.process.returncode == 0
        assert raw_log(server, pipe.workload()) == data


def test_what_comes_is_copied_and_sent_at_once(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "data") as server,
        running_pipe(server, tmp_path, stdout=subprocess.PIPE) as pipe,
    ):
        assert pipe.process.stdout is not None
        url = f"/v1/workloads/{pipe.workload()}/logs"
        with server.client() as client, client.stream("GET", url) as answer:
            log, seen = answer.iter_raw(), b""
            for number in range(3):
                started = time.monotonic()
                pipe.stdin.write(b"line %d\n" % number)
                pipe.stdin.flush()
                assert pipe.process.stdout.readline() == b"line %d\n" % number
                while b"data: line %d\n" % number not in seen:
                    seen += next(log)
                assert time.monotonic() < started + 1


def test_without_a_server_it_copies_all_the_same(tmp_path: Path) -> None:
    nowhere = ServerProcess(None, "http://127.0.0.1:9", "t", tmp_path)  # type: ignore[arg-type]
    data = b"line\n" * 1_000_000
    # `run` tries for as long.
    server = ("--server", nowhere.url)
    with (
        running_pipe(nowhere, tmp_path, stdout=subprocess.PIPE) as pipe,
        started(tmp_path, "run", *server, "true") as run,
        started(tmp_path, "pipe", *server, "sh", "-c", "echo out; exit 3") as command,
    ):
        assert pipe.copy(data) == data
        assert run.wait(PATIENCE) == 69
        assert run.stderr is not None
        first, last = run.stderr
        assert first.startswith("trio-logs: http://127.0.0.1:9 does not answer: ")
        assert first.endswith("; trying again\n")
        assert "is the service running?" in last
        # Its exit code says nothing about the log.
        assert command.wait(PATIENCE) == 3
        assert command.stdout is not None
        assert command.stderr is not None
        assert command.stdout.read() == "out\n"
        assert "its output is not kept: http://127.0.0.1:9 does not answer" in command.stderr.read()
        assert pipe.process.returncode == 1
        assert "not kept: http://127.0.0.1:9 does not answer" in pipe.said.read_text()


def test_a_server_that_is_away_at_the_start_is_waited_for_and_told_later(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        bind = f"127.0.0.1:{probe.getsockname()[1]}"
    nowhere = ServerProcess(None, f"http://{bind}", "t", tmp_path)  # type: ignore[arg-type]
    data = tmp_path / "data"
    with running_pipe(nowhere, tmp_path) as pipe, ExitStack() as stack:
        pipe.stdin.write(b"one\n")
        pipe.stdin.flush()
        time.sleep(0.5)
        assert pipe.said.read_text() == ""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRIO_LOGS_TOKEN", "t")
            data.mkdir()
            (data / "token").write_text("t")
            server = stack.enter_context(running_server(data, "--bind", bind))
            workload = pipe.workload()
            server.kill()
            deadline = time.monotonic() + PATIENCE
            while "is away" not in pipe.said.read_text():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            server = stack.enter_context(running_server(data, "--bind", bind))
        pipe.stdin.close()
        assert pipe.process.wait(PATIENCE) == 0
        told = pipe.said.read_text().splitlines()
        assert told[0] == f"trio-logs: this is workload {workload}"
        assert re.fullmatch(f"trio-logs: http://{bind} is away: .*; trying again", told[1])
        assert len(told) == 2
        assert raw_log(server, workload) == b"one\n"


def test_a_log_that_another_client_has_ended_is_copied_all_the_same(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "data") as server,
        running_pipe(server, tmp_path, stdout=subprocess.PIPE) as pipe,
    ):
        pipe.stdin.write(b"first\n")
        pipe.stdin.flush()
        workload = pipe.workload()
        deadline = time.monotonic() + PATIENCE
        while record(server, workload)["bytes"] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        server.post(f"/v1/workloads/{workload}/finish").raise_for_status()
        data = b"line\n" * 1_000_000
        assert pipe.copy(data) == b"first\n" + data
        assert pipe.process.returncode == 1
        assert "the rest of standard input is not kept: a newer connection" in pipe.said.read_text()


def test_a_stop_ends_its_writer_too(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server, running_pipe(server, tmp_path) as pipe:
        server.post(f"/v1/workloads/{pipe.workload()}/stop").raise_for_status()
        with pytest.raises(BrokenPipeError):
            for _ in range(1000):
                pipe.stdin.write(b"line\n")
                pipe.stdin.flush()
                time.sleep(0.03)
        assert pipe.process.wait(PATIENCE) == 123
        # What is in its buffer can't be written any more.
        with pytest.raises(BrokenPipeError):
            pipe.stdin.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(tmp_path: Path, number: signal.Signals) -> None:
    """After SIGINT it reads on, for its writer got it, too, and has some last words."""
    with (
        running_server(tmp_path / "data") as server,
        running_pipe(server, tmp_path, stdout=subprocess.PIPE) as pipe,
    ):
        workload = pipe.workload()
        pipe.stdin.write(b"one\n")
        pipe.stdin.flush()
        assert pipe.process.stdout is not None
        assert pipe.process.stdout.readline() == b"one\n"
        pipe.process.send_signal(number)
        expected = b"one\n"
        if number == signal.SIGINT:
            expected += b"last words"
            pipe.copy(b"last words")
        assert pipe.process.wait(PATIENCE) == 128 + number
        found = record(server, workload)
        assert (found["status"], found["signal"]) == ("failed", number.name)
        assert raw_log(server, workload) == expected


def test_who_reads_its_output_may_leave(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "data") as server,
        running_pipe(server, tmp_path, stdout=subprocess.PIPE) as pipe,
    ):
        assert pipe.process.stdout is not None
        pipe.process.stdout.close()
        data = b"line\n" * 100_000
        pipe.feed(data)
        assert pipe.process.wait(PATIENCE) == 0
        assert raw_log(server, pipe.workload()) == data
