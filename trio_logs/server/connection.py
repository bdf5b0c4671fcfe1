"""One connection: from its handshake to its last byte."""

from __future__ import annotations

import math
import ssl
from collections.abc import Awaitable, Callable
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
from .limits import ServerLimits
from .ports import Ports
from .protocol import HTTP11
from .transport import Transport

__all__ = ["PORT", "ASGIApp", "Connection", "finish_cleanly"]

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

PORT = "trio_logs.port"
"""An ASGI extension, in the scope of a request: its value is `(port, send_each)`. Once answers have
begun, and as long as they last, `send_each(ports, body)` writes a chunk to each of those whose
ports these are, all in the caller's step and without a checkpoint, and returns the ports of those
to which that can't be done at the moment, as while a `send` is under way. Not over TLS."""

RECEIVE_BYTES = 64 * 1024

LINGER_SECONDS = 2.0
"""How long a client may go on sending a body after it was answered."""

FAREWELL_SECONDS = 1.0
"""How long the last word over TLS may take, whose client may not read any more."""

LEAVE_SECONDS = 5.0
"""How long an app may take to end after its client has left; Quart-Trio takes no time at all."""


class Connection(TCPServer):
    """A nursery with the app's task, and a reader beside it that never stops reading.

    `late_at` is when the server ends it if it still waits for a handshake, a request's head, the
    next request, or the rest of a body that nobody wants.
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
    ) -> None:
        stream: Any = transport
        if tls is not None:
            stream = trio.SSLStream(transport, tls, server_side=True)
        # The app is called through this connection, so that it can write chunks straight to it.
        wrapped = ASGIWrapper(partial(self._call, app))
        super().__init__(wrapped, config, context, {}, stream)
        self.transport = transport
        self._ports = ports
        self._writers = trio.lowlevel.ParkingLot()
        self.late_at = trio.current_time() + limits.header_timeout
        self.is_idle = True
        self.requests = 0
        self.protocol: Any  # HTTP11, where Hypercorn has a wrapper that may switch to HTTP/2
        self._limits = limits
        self._tls = tls
        self._discarding = False

    async def run(self) -> None:
        try:
            if self._tls is not None:
                await self.stream.do_handshake()
            accepted = self.transport.socket
            client = parse_socket_addr(accepted.family, accepted.getpeername())
            server = parse_socket_addr(accepted.family, accepted.getsockname())
            async with trio.open_nursery() as nursery:
                self.protocol = self._make_protocol(nursery, client, server)
                await self._read_data()
                # The app was told that its client left; a well-behaved one has ended by now.
                nursery.cancel_scope.deadline = trio.current_time() + LEAVE_SECONDS
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client left
        finally:
            self.transport.close()

    def _make_protocol(self, nursery: trio.Nursery, client: Any, server: Any) -> Any:
        self._nursery = nursery
        # Not entered: its exit would drop what the nursery raises.
        group = TaskGroup()
        group._nursery = nursery
        return HTTP11(
            self._limits,
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
                # Some clients end a body with one more line; see RFC 9112, section 2.2.
                data = data.lstrip(b"\r\n")
                if not data:
                    continue
                self._expect_head()
            await self.protocol.handle(RawData(bytes(data)))
        await self.protocol.handle(Closed())

    def _expect_head(self) -> None:
        """The first bytes of a request: all of its head must follow soon."""
        self.is_idle = False
        self.late_at = trio.current_time() + self._limits.header_timeout

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._write([event.data])
        elif isinstance(event, Closed):
            await self._end()
        elif isinstance(event, Updated):
            self.is_idle = event.idle
            self.late_at = math.inf
            if event.idle:
                self.late_at = trio.current_time() + self._limits.keep_alive_timeout
            else:
                self.requests += 1

    async def _end(self) -> None:
        """The protocol has said all that it has to say."""
        if self.protocol.expects_more:
            # Closed now, under a client that is still sending, the connection would be reset and
            # the answer lost. What comes is read and dropped, for a while.
            self._discarding = True
            self.late_at = trio.current_time() + LINGER_SECONDS
            with suppress(OSError):  # the client left
                self.transport.socket.shutdown(trio.socket.SHUT_WR)
        elif self.protocol.ends_too_early:
            self.transport.abort()
        else:
            if self._tls is not None:
                # With a word that this is the end, which a client may insist on.
                with suppress(trio.ClosedResourceError), trio.move_on_after(FAREWELL_SECONDS):
                    await self.stream.aclose()
            self.transport.close()
        await self.protocol.handle(Closed())

    async def _call(self, app: ASGIApp, scope: Any, receive: Any, send: Any) -> None:
        """Run the app with a `send` that takes the short way for the chunks of a stream.

        A chunk changes no state of HTTP/1.1, so on its way through Hypercorn and h11 it would only
        be copied: a third of what it costs. Everything else goes through them.
        """
        send = _shield_final(send)
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
                # All of it was said: what comes after it is a mistake, and h11's to refuse.
                chunked = False
                self._withdraw_port(port)
                if scope["method"] == "HEAD":
                    # An app that makes a body for it all the same would do so as fast as it can.
                    if answered:
                        await trio.sleep_forever()
                    message, answered = {"type": kind}, True
            elif kind == "http.response.start":
                chunked = _is_chunked(scope, message)
                if chunked and self._tls is None:
                    # Open from the head's write on.
                    self.transport.port = port
                if self.protocol.expects_more or self.context.terminated.is_set():
                    # It won't be used again, and a client that doesn't know would try to.
                    headers = [*message.get("headers", ()), (b"connection", b"close")]
                    message = {**message, "headers": headers}
            await send(message)

        if self._tls is None:
            scope["extensions"][PORT] = (port, self._ports.send_each)
        # Without its end and its last chunk, the client sees that the answer is only a part.
        try:
            await app(scope, receive, short_send)
        except* IncompleteAnswerError:
            pass
        finally:
            self._withdraw_port(port)
            self._ports.remove(port)

    def _withdraw_port(self, port: int) -> None:
        self._ports.close(port)
        # Unless it is the next request's by now.
        if self.transport.port == port:
            self.transport.port = None

    async def _write(self, parts: list[bytes]) -> None:
        """Write all of it, or close the connection and tell the protocol so."""
        # No lock: its task would have to be the one that releases it.
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
            pass  # the client left, or took too long
        finally:
            self.transport.release()
            self._writers.unpark()
            if not written:
                # Half of it may be on the wire; nothing that follows would make sense.
                self.transport.abort()
        if not written:
            await self.protocol.handle(Closed())

    def _write_rest(self, data: bytes) -> None:
        """Have a task write it; writes that follow wait for that."""
        self.transport.claim()
        self._nursery.start_soon(self._write_in_turn, [data])


def _is_chunked(scope: Any, start: Any) -> bool:
    """Whether h11 gives this answer's body as chunks; see RFC 9112, section 6.3."""
    return (
        scope["http_version"] == "1.1"
        and scope["method"] != "HEAD"
        and start["status"] >= 200
        and start["status"] not in (204, 304)
        and not any(name.lower() == b"content-length" for name, _ in start.get("headers", ()))
    )


def finish_cleanly(app: ASGIApp) -> ASGIApp:
    """Shield an app's final send, for servers other than ours.

    Within it Hypercorn reports a disconnect, on which Quart-Trio cancels itself before the
    connection is ready for its next request; then it would never be closed or used again.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, _shield_final(send))

    return wrapped


def _shield_final(send: Any) -> Any:
    """A `send` whose last message can't be cancelled; here its write is bounded all the same."""

    async def shielding_send(message: Any) -> None:
        final = message["type"] == "http.response.body" and not message.get("more_body")
        with trio.CancelScope(shield=final):
            await send(message)

    return shielding_send
