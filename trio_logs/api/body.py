"""What the bodies of streams share: a first chunk, a heartbeat, and how chunks are written."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Self

import trio
from quart.wrappers.response import ResponseBody

from ..records import Detached
from ..server import Port

__all__ = ["StreamBody", "detached_retry"]

CHUNKS_AT_ONCE = 2
"""Chunks that a stream writes to its port before other tasks run. With one chunk, a delayed reader
of a log at full speed stays behind, until it has to read the store, at twice the cost."""


def detached_retry() -> int:
    """The default of `StreamBody`."""
    return Detached().retry


class StreamBody(ResponseBody):
    """The body of one answer, in chunks. It writes each chunk to the port, or returns the chunk if
    there is no port or the port is closed. A subclass says in `_next` what comes next.

    `beat_at` is when a quiet stream has to carry a heartbeat, on Trio's clock, at the latest
    `heartbeat` seconds after the last chunk that is not fleeting. A chunk is fleeting if it has
    unfinished lines alone: these have no id, so heartbeats with positions go on. `retry` says after
    how many milliseconds the client of a stream that is detached is to come back.
    """

    def __init__(
        self, heartbeat: float, port: Port | None, retry: Callable[[], int] = detached_retry
    ) -> None:
        self._heartbeat = heartbeat
        self._retry = retry
        self._port = port
        self._beat_at = 0.0
        self._opened = False
        self._is_fleeting = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            for _ in range(CHUNKS_AT_ONCE):
                chunk = await self._next()
                if not self._is_fleeting:
                    self._beat_at = trio.current_time() + self._heartbeat
                if not self._sent(chunk):
                    return chunk
            await trio.lowlevel.checkpoint()

    @abstractmethod
    async def _next(self) -> bytes:
        """The next chunk, not empty. Raises StopAsyncIteration after the last one."""

    async def _open(self, opening: bytes) -> bytes:
        """The first chunk, once; empty afterwards, and in a format without one."""
        if self._opened:
            return b""
        self._opened = True
        self._beat_at = trio.current_time() + self._heartbeat
        if opening:
            await trio.lowlevel.checkpoint()
        return opening

    def _sent(self, chunk: bytes) -> bool:
        """Write the chunk to the port, past the framework; False if the port did not take it."""
        return self._port is not None and not self._port.outlet.send_each(
            (self._port.number,), chunk
        )
