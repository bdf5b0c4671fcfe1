"""The queue before standard error: it drops and counts, and never blocks or raises."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.full_pipe import PAGE, PATIENCE, Pipe, wait_for
from trio_logs.own_log import OwnLog, OwnLogStatistics
from trio_logs.stderr import MAX_RECORD, OwnLogStream


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with closing(Pipe()) as found:
        yield found


@contextmanager
def running_log(descriptor: int | None, **limits: int) -> Iterator[OwnLog]:
    log = OwnLog(descriptor, **limits)
    log.start()
    try:
        yield log
    finally:
        log.close(PATIENCE)


def waiting_bytes(descriptor: int) -> int:
    found = bytearray(4)
    fcntl.ioctl(descriptor, termios.FIONREAD, found)
    return int.from_bytes(found, sys.byteorder)


NOTICE = "trio-logs: {} dropped: standard error did not take more\n"


@pytest.mark.parametrize("limits", [{"max_records": 10}, {"max_bytes": 20}])
def test_a_stalled_reader_costs_records_in_one_gap(pipe: Pipe, limits: dict[str, int]) -> None:
    pipe.fill()
    with running_log(pipe.writer, **limits) as log:
        for number in range(15):
            log.put(f"{number % 10}\n".encode())
        assert log.statistics() == OwnLogStatistics(queued=10, dropped=5)
        os.read(pipe.reader, PAGE)
        assert log.drain(PATIENCE)
        log.put(b"later\n")
    expected = "".join(f"{number}\n" for number in range(10))
    assert pipe.rest().decode() == expected + NOTICE.format("5 log records") + "later\n"
    assert log.statistics() == OwnLogStatistics(queued=0, dropped=5)


def test_a_slow_reader_gets_one_gap_until_the_queue_is_empty(pipe: Pipe) -> None:
    """Room for one record in between is not used: the log would alternate with notices."""
    records = [f"{number}{'-' * 3000}\n".encode() for number in range(7)]
    with running_log(pipe.writer, max_records=3) as log:
        log.put(records[0])
        wait_for(lambda: log.statistics().queued == 0)
        for record in records[1:5]:
            log.put(record)
        received = os.read(pipe.reader, PAGE)
        # The second record is written, and the third fills the pipe again.
        wait_for(lambda: log.statistics().queued == 2)
        log.put(records[5])
        expected = b"".join(records[:4]) + NOTICE.format("2 log records").encode()
        while len(received) < len(expected):
            received += os.read(pipe.reader, PAGE)
        assert log.drain(PATIENCE)
        log.put(b"later\n")
    assert received + pipe.rest() == expected + b"later\n"


def test_a_reader_that_comes_back_is_told_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
    with running_log(writer) as log:
        log.put(b"cut" * PAGE + b"\n")
        wait_for(lambda: waiting_bytes(reader) == PAGE)
        os.close(reader)
        log.put(b"lost\n")
        assert log.drain(PATIENCE)
        assert log.statistics().dropped == 2
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        start = os.read(reader, PAGE)
        log.put(b"back\n")
        assert log.drain(PATIENCE)
    assert start == (b"cut" * PAGE)[:PAGE]
    # On a line of its own, though the line before it has no end.
    assert os.read(reader, PAGE).decode() == f"\n{NOTICE.format('2 log records')}back\n"
    os.close(reader)
    os.close(writer)


def test_a_descriptor_that_another_process_made_nonblocking(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    pipe.fill()
    record = b"0123456789" * 1000 + b"\n"
    with running_log(pipe.writer) as log:
        log.put(record)
        # It waits for the reader; a write that fails would be over by now.
        assert not log.drain(0.05)
        received = b""
        while len(received) < PAGE + len(record):
            received += os.read(pipe.reader, PAGE)
    assert received == b"x" * PAGE + record
    assert log.statistics().dropped == 0


def test_the_end_waits_only_so_long(pipe: Pipe) -> None:
    pipe.fill()
    with running_log(pipe.writer) as log:
        log.put(b"queued\n")
        assert not log.drain(0.01)
        log.put(b"too late\n")
        assert log.statistics() == OwnLogStatistics(queued=1, dropped=1)
        pipe.close_reader()


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a", "b\nc", "\n"], "ab\nc\n"),
        (["two\nlines\nand"], "two\nlines\nand"),
        (["\ud800é\n"], "\\ud800é\n"),
        (["y" * (MAX_RECORD + 5) + "\n"], "y" * MAX_RECORD + " ... (5 more characters cut)\n"),
        (["y" * (MAX_RECORD // 2)] * 3, "y" * MAX_RECORD + " ... (8192 more characters cut)\n"),
    ],
)
def test_what_is_written_becomes_records(tmp_path: Path, texts: list[str], expected: str) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file, running_log(file.fileno()) as log:
        stream = OwnLogStream(log, None)
        assert [stream.write(text) for text in texts] == [len(text) for text in texts]
        stream.flush()
    assert path.read_text() == expected


def test_a_line_without_an_end_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file, running_log(file.fileno()) as log:
        stream = OwnLogStream(log, None)
        stream.write("y" * (MAX_RECORD + 1))
        assert log.drain(PATIENCE)
        assert path.read_text() == "y" * MAX_RECORD + " ... (1 more characters cut)\n"


def test_a_record_larger_than_the_queue_does_not_stop_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file, running_log(file.fileno(), max_bytes=3) as log:
        for record in (b"large\n", b"small\n"):
            log.put(record)
            assert log.drain(PATIENCE)
    assert path.read_text() == "large\nsmall\n"


def test_without_a_descriptor_all_is_dropped() -> None:
    with running_log(None) as log:
        print("lost", file=OwnLogStream(log, None), flush=True)
        assert log.drain(PATIENCE)
        assert log.statistics() == OwnLogStatistics(queued=0, dropped=1)
