"""One connection, from its handshake to its last byte."""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from ..errors import IncompleteAnswerError
from .app_queue import close
from .asgi import ASGIApp, is_chunked, shield_ends
from .limits import ServerLimits
from .ports import PORT, Port, Ports
from .protocol import HTTP11
from .transport import Transport

__all__ = ["Connection"]

RECEIVE_BYTES = 64 * 1024

LINGER_SECONDS = 2.0
"""How long a client may go on sending a body after its request was answered."""

FAREWELL_SECONDS = 1.0
"""How long the closing alert of TLS may take, since its client may no longer read."""

LEAVE_SECONDS = 5.0
"""How long an app may take to end after its client disconnected; Quart-Trio ends at once."""


class Connection(TCPServer):
    """A nursery with the app's task, and beside it a reader that never stops reading.

    `protocol` makes an HTTP11 of Hypercorn's arguments. `late_at` is when the server ends the
    connection if it still waits for a handshake, the head of a request, the next request, or the
    rest of an unwanted body. `leaving` bounds how many connections end in the same moment.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: ServerLimits,
        config: Config,
        context: WorkerContext,
        transport: Transport,
        ports: Ports,
        tls: ssl.SSLContext | None,
        protocol: Callable[..., HTTP11],
        leaving: trio.Semaphore,
    ) -> None:
        stream: Any = transport if tls is None else trio.SSLStream(transport, tls, server_side=True)
        # The app is called by this connection, which writes its chunks past Hypercorn.
        super().__init__(ASGIWrapper(partial(self._call, app)), config, context, {}, stream)
        self.transport = transport
        self._ports = ports
        self._writers = trio.lowlevel.ParkingLot()
        self.late_at = trio.current_time() + limits.header_timeout
        self.is_idle = True
        self.requests = 0
        self.protocol: Any  # HTTP11; Hypercorn has a wrapper here that may switch to HTTP/2
        self._limits = limits
        self._protocol = protocol
        self._tls = tls
        self._discarding = False
        self._leaving = leaving

    async def run(self) -> None:
        """Serve the connection until it ends."""
        try:
            if self._tls is not None:
                await self.stream.do_handshake()
            accepted = self.transport.socket
            client = parse_socket_addr(accepted.family, accepted.getpeername())
            server = parse_socket_addr(accepted.family, accepted.getsockname())
            async with trio.open_nursery() as nursery:
                self.protocol = self._make_protocol(nursery, client, server)
                await self._read_data()
                nursery.cancel_scope.deadline = trio.current_time() + LEAVE_SECONDS
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client disconnected
        finally:
            self.transport.close()

    def _make_protocol(self, nursery: trio.Nursery, client: Any, server: Any) -> Any:
        self._nursery = nursery
        # Not entered: its exit would drop the exceptions of the nursery.
        group = TaskGroup()
        group._nursery = nursery
        return self._protocol(
            self.app,
            self.config,
            self.context,
            group,
            ConnectionState(self.state),
            self._tls is not None,
            client,
            server,
            self.protocol_send,
        )

    async def _read_data(self) -> None:
        while True:
            try:
                data = await self.stream.receive_some(RECEIVE_BYTES)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            if not data:
                break
            if self._discarding:
                continue
            if self.is_idle:
                # Some clients send an empty line after a body; see RFC 9112, section 2.2.
                data = data.lstrip(b"\r\n")
                if not data:
                    continue
                # The rest of the head has a time limit from its first bytes on.
                self.is_idle = False
                self.late_at = trio.current_time() + self._limits.header_timeout
            await self.protocol.handle(RawData(bytes(data)))
        async with self._leaving:
            await self.protocol.handle(Closed())

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._write([event.data])
        elif isinstance(event, Closed):
            await self._end()
        elif isinstance(event, Updated):
            # With a part of the next head, an empty line is a part of it, too.
            self.is_idle = event.idle and not self.protocol.has_part
            late = self._limits.keep_alive_timeout if self.is_idle else self._limits.header_timeout
            self.late_at = trio.current_time() + late if event.idle else math.inf
            self.requests += not event.idle

    async def _end(self) -> None:
        """End the connection: the protocol has sent its last byte."""
        if self.protocol.expects_more:
            # The client is still sending. A close resets unread data, so the answer would be lost:
            # read and discard for a while.
            self._discarding = True
            self.late_at = trio.current_time() + LINGER_SECONDS
            with suppress(OSError):  # the client disconnected
                self.transport.socket.shutdown(trio.socket.SHUT_WR)
        elif self.protocol.ends_too_early:
            self.transport.abort()
        else:
            if self._tls is not None:
                # With the closing alert: without it, some clients take the answer for cut off.
                with suppress(trio.ClosedResourceError), trio.move_on_after(FAREWELL_SECONDS):
                    await self.stream.aclose()
            self.transport.close()
        await self.protocol.handle(Closed())

    async def _call(self, app: ASGIApp, scope: Any, receive: Any, send: Any) -> None:
        """Run the app with a `send` that writes the chunks of a stream itself.

        A chunk changes no state of HTTP/1.1, so Hypercorn and h11 would only copy it: a third of
        its cost. All other messages go through them.
        """
        send = shield_ends(send)
        chunked = answered = False
        port = self._ports.add(self._write_rest)

        async def short_send(message: Any) -> None:
            nonlocal chunked, answered
            kind = message["type"]
            if kind == "http.response.body":
                if chunked and message.get("more_body"):
                    if body := message.get("body"):
                        await self._write([b"%x\r\n" % len(body), body, b"\r\n"])
                    return
                # The answer is complete: h11 refuses any later chunk.
                chunked = False
                self._withdraw_port(port)
                if scope["method"] == "HEAD":
                    # An app that produces a body anyway would do so without any back-pressure.
                    if answered:
                        await trio.sleep_forever()
                    message, answered = {"type": kind}, True
            elif kind == "http.response.start":
                chunked = is_chunked(scope, message)
                if chunked and self._tls is None:
                    # Open once the head is written.
                    self.transport.port = port
                if self.protocol.expects_more or self.context.terminated.is_set():
                    # The connection closes after this answer, and the client must know that.
                    headers = [*message.get("headers", ()), (b"connection", b"close")]
                    message = {**message, "headers": headers}
            await send(message)

        if self._tls is None:
            scope["extensions"][PORT] = Port(port, self._ports)
        try:
            await app(scope, receive, short_send)
        except* IncompleteAnswerError:
            pass  # the client misses the terminal chunk, or some of the length
        finally:
            self._withdraw_port(port)
            self._ports.remove(port)
            close(receive)  # the reader may wait for room in it

    def _withdraw_port(self, port: int) -> None:
        self._ports.close(port)
        if self.transport.port == port:  # else it is that of the next request
            self.transport.port = None

    async def _write(self, parts: list[bytes]) -> None:
        """Write all parts, or close the connection and tell the protocol so."""
        # A trio.Lock must be released by the task that acquired it; `_write_rest` can't do that.
        while self.transport.busy:
            await self._writers.park()
        self.transport.claim()
        await self._write_in_turn(parts)

    async def _write_in_turn(self, parts: list[bytes]) -> None:
        written = False
        try:
            if self._tls is None:
                await self.transport.send_parts(parts)
            else:
                await self.stream.send_all(b"".join(parts))
            written = True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client disconnected, or took too long
        finally:
            self.transport.release()
            self._writers.unpark()
            if not written:
                # Half a message may be on the wire, so nothing may follow.
                self.transport.abort()
        if not written:
            await self.protocol.handle(Closed())

    def _write_rest(self, data: bytes) -> None:
        """Have a task write the rest of a chunk; later writes wait for it."""
        self.transport.claim()
        self._nursery.start_soon(self._write_in_turn, [data])
