"""A client's socket, with a bound on every write."""

from __future__ import annotations

import fcntl
import math
import socket
import struct
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress

import trio

from .ports import Ports

__all__ = ["Transport"]

MIN_PROGRESS = 4096
"""The bytes that a client has to acknowledge within the time-out of a write. A reader may be slow,
but at a byte a second it would hold a write for days."""


class Transport(trio.abc.Stream):
    """A socket whose writes end by `deadline`. The server checks it regularly and aborts late
    writes, which is cheaper than a cancel scope for each write.

    A write that fails, is late or is cancelled leaves half a message on the wire: abort then, which
    sets `aborted`.

    `busy`: a task writes, or is about to; it calls `claim` before and `release` after. `port` is
    open at other times, so that code outside may write a chunk of the answer; these bytes are not
    in `bytes_out`.
    """

    def __init__(self, stream: trio.SocketStream, write_timeout: float, ports: Ports) -> None:
        self.socket = stream.socket
        self._descriptor = stream.socket.fileno()
        self._stream = stream
        self._write_timeout = write_timeout
        self._ports = ports
        self.port: int | None = None
        self.busy = False
        self.aborted = False
        self.deadline = math.inf
        self.bytes_in = 0
        self.bytes_out = 0
        self._taken: int | None = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = await self._stream.receive_some(max_bytes)
        self.bytes_in += len(data)
        return data

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close the socket at once, and its port with it: the descriptor is soon another client's.
        No other code may close the socket."""
        self._ports.close(self.port)
        self._descriptor = -1
        self.socket.close()

    def claim(self) -> None:
        """Call it before a write: no other code may write until `release`."""
        self.busy = True
        self._ports.close(self.port)

    def release(self) -> None:
        """Call it after a write."""
        self.busy = False
        if self.port is not None and self._descriptor != -1:
            self._ports.open(self.port, self._descriptor)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.send_parts([data])

    async def send_parts(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Send all parts, without joining them first.

        Raises trio.BrokenResourceError or trio.ClosedResourceError if the client disconnected or
        was late.
        """
        self.deadline = trio.current_time() + self._write_timeout
        self._taken = None
        try:
            sent = await self.socket.sendmsg(parts)
            self.bytes_out += sent
            for part in parts:
                if sent < len(part):
                    view = memoryview(part)[sent:]
                    while view:
                        count = await self.socket.send(view)
                        self.bytes_out += count
                        view = view[count:]
                sent = max(0, sent - len(part))
        except trio.ClosedResourceError:
            raise
        except OSError as error:
            raise trio.BrokenResourceError from error
        finally:
            self.deadline = math.inf

    def is_late(self, now: float) -> bool:
        """Whether the client takes too little for too long; call it regularly.

        Acknowledged bytes count, not sent ones: the kernel accepts more only once a third of its
        buffer is free again, and that buffer may hold megabytes.
        """
        if self.deadline == math.inf:
            return False
        taken = self.bytes_out - self._unacknowledged()
        if self._taken is None:
            # Progress counts from here: before this write, ports have written bytes of their own.
            self._taken = taken
        elif taken - self._taken >= MIN_PROGRESS:
            self._taken = taken
            self.deadline = now + self._write_timeout
        return self.deadline < now

    def silence(self) -> float:
        """Seconds since the client's kernel sent anything; 0 where the system can't tell. The
        kernel of a client that reads slowly, or not at all, still answers the probes."""
        if not hasattr(socket, "TCP_INFO"):
            return 0.0
        try:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 60)
        except OSError:
            return 0.0  # closed, or a unix socket
        # struct tcp_info: `tcpi_last_ack_recv`, in milliseconds
        return int.from_bytes(info[56:60], sys.byteorder) / 1000

    def _unacknowledged(self) -> int:
        """The bytes that are still in the send buffer: SIOCOUTQ, see tcp(7)."""
        try:
            answer = fcntl.ioctl(self._descriptor, termios.TIOCOUTQ, bytes(4))
        except (OSError, ValueError):
            return 0  # the system can't tell, or the socket is closed
        return int.from_bytes(answer, sys.byteorder)

    def abort(self) -> None:
        """Close at once, and drop the bytes that the client has not acknowledged."""
        self.aborted = True
        with suppress(OSError):  # closed already
            # struct linger {on, 0 s}: the kernel drops its send buffer
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
