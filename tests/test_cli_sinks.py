"""Whether colours are wanted, and outputs of each kind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_logs.cli.sinks import Sink, wants_colour


@pytest.mark.parametrize(
    ("environ", "on_terminal", "elsewhere"),
    [
        ({}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_colours(environ: dict[str, str], on_terminal: bool, elsewhere: bool) -> None:
    assert wants_colour(environ, is_terminal=True) == on_terminal
    assert wants_colour(environ, is_terminal=False) == elsewhere


async def test_a_full_pipe_blocks_nothing_but_its_writer() -> None:
    reader, writer = os.pipe()
    data = bytes(range(256)) * 4096
    read = b""
    try:
        with Sink.open(writer) as sink, trio.fail_after(10):
            async with trio.lowlevel.FdStream(reader) as stream, trio.open_nursery() as nursery:
                nursery.start_soon(sink.write, data)
                await wait_all_tasks_blocked()
                # Those who share the pipe have it as it was.
                assert os.get_blocking(writer)
                while len(read) < len(data):
                    read += await stream.receive_some()
    finally:
        os.close(writer)
    assert read == data


async def test_a_pipe_without_reader() -> None:
    reader, writer = os.pipe()
    with Sink.open(writer) as sink, trio.fail_after(10):
        with pytest.RaisesGroup(BrokenPipeError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sink.watch)
                await sink.write(b"x")
                await wait_all_tasks_blocked()
                os.close(reader)
        with pytest.raises(BrokenPipeError):
            await sink.write(b"x")
    os.close(writer)


async def test_a_file_and_a_terminal(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        file.write(b"before\n")
        file.flush()
        with Sink.open(file.fileno()) as sink:
            await sink.write(b"after\n")
            assert not sink.is_terminal
    assert (tmp_path / "log").read_bytes() == b"before\nafter\n"
    ours, theirs = os.openpty()
    try:
        with Sink.open(theirs) as sink:
            assert sink.is_terminal
            await sink.write(b"x\n")
        assert os.read(ours, 10) == b"x\r\n"
    finally:
        os.close(ours)
        os.close(theirs)
