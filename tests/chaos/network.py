"""The network between a node and the database: a port that can be cut, delayed and black-holed."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

import trio

__all__ = ["Link"]

RECEIVE_BYTES = 64 * 1024

RESET = struct.pack("ii", 1, 0)
"""struct linger {on, 0 s}: the other side gets a reset."""


class Link:
    """A port on loopback that passes connections on to `target`, another port.

    `delay` seconds pass before each piece is sent on, in both directions.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.delay = 0.0
        self._is_refusing = False
        self._clear = trio.Event()
        self._clear.set()
        self._open: set[trio.SocketStream] = set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Pass connections on until cancelled."""
        async with trio.open_nursery() as nursery:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            self.port = listener.socket.getsockname()[1]
            task_status.started()
            await trio.serve_listeners(self._handle, [listener], handler_nursery=nursery)

    def cut(self, *, refuse: bool = False) -> None:
        """Reset all connections, and refuse new ones until `heal`."""
        self._is_refusing = refuse
        # Closing wakes the tasks that read; they see ClosedResourceError.
        for stream in self._open:
            _reset(stream)

    @property
    def is_swallowing(self) -> bool:
        return not self._clear.is_set()

    def swallow(self) -> None:
        """From now on nothing arrives in either direction, and nobody is told."""
        if self._clear.is_set():
            self._clear = trio.Event()

    def heal(self) -> None:
        """Pass everything on again; what was swallowed arrives now, as if it was sent again."""
        self._is_refusing = False
        self.delay = 0.0
        self._clear.set()

    async def _handle(self, client: trio.SocketStream) -> None:
        with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            if self._is_refusing:
                _reset(client)
                return
            await self._clear.wait()
            server = await trio.open_tcp_stream("127.0.0.1", self.target)
            self._open |= {client, server}
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass_on, client, server, nursery.cancel_scope)
                    nursery.start_soon(self._pass_on, server, client, nursery.cancel_scope)
            finally:
                self._open -= {client, server}
                _reset(server)
        _reset(client)

    async def _pass_on(
        self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some(RECEIVE_BYTES):
                if self.delay:
                    await trio.sleep(self.delay)
                await self._clear.wait()
                await sink.send_all(data)
        scope.cancel()


def _reset(stream: trio.SocketStream) -> None:
    with suppress(OSError, trio.ClosedResourceError):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    stream.socket.close()
