"""Sockets in the file system: who makes and who removes them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_logs.errors import InvalidRequestError
from trio_logs.server import Bind
from trio_logs.server.binds import UnixBind


async def test_a_socket_is_removed_by_the_server_that_made_it(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    first, second = UnixBind(path), UnixBind(path)
    [one] = await first.listen()
    # As an administrator may, who takes it for a remnant.
    path.unlink()
    [two] = await second.listen()
    await one.aclose()
    first.release()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    await two.aclose()
    second.release()
    assert not path.exists()


async def test_a_server_that_could_not_listen_removes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    first, second = UnixBind(path), UnixBind(path)
    [one] = await first.listen()
    with pytest.raises(OSError, match="is in use by another server"):
        await second.listen()
    second.release()
    assert path.exists()
    await one.aclose()
    first.release()


async def test_a_socket_that_is_not_listened_to_yet(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Another server has made it and listens a moment later; one that was killed never does."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))

        async def refused() -> None:
            with pytest.raises(OSError, match="is in use by another server"):
                await UnixBind(path).listen()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused)
            await trio.testing.wait_all_tasks_blocked()
            other.listen()
    again = UnixBind(path)
    [one] = await again.listen()
    await one.aclose()
    again.release()
    assert not path.exists()


def test_a_path_that_is_not_utf_8() -> None:
    with pytest.raises(InvalidRequestError, match="not UTF-8"):
        Bind.parse("unix:/tmp/" + os.fsdecode(b"\xff"))
