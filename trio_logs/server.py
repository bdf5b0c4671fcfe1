"""The server: Hypercorn's HTTP/1.1 on Trio, with writes that can be cancelled and have a bound.

Hypercorn shields every write without a deadline, so that one client that never reads holds up its
handler, and the shutdown, for as long as it likes. Its classes are importable but not documented;
hence the pin to 0.18.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import h11
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext

from .errors import InvalidRequestError

__all__ = ["Bind", "ServerLimits", "finish_cleanly", "serve_http"]

_log = structlog.get_logger("trio_logs.server")

BACKLOG = 2048

LINGER_SECONDS = 2.0
"""How long a client may go on sending a body after it was answered."""

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """In seconds. `write_timeout`: how long a client may take nothing of what is written to it.
    `grace`: how long connections may take to end when the server does."""

    write_timeout: float = 30.0
    grace: float = 5.0


@dataclass(frozen=True, slots=True)
class Bind:
    """A TCP address to listen on; port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Bind:
        """Read `HOST:PORT`; an IPv6 address stands in brackets. Raises InvalidRequestError."""
        host, _, port = text.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise InvalidRequestError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8000")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


class _Connection(TCPServer):
    """One connection. `deadline` is when the write under way, or a late request body, must have
    ended; the server looks at it now and then, which is cheaper than a cancel scope for each."""

    def __init__(
        self,
        app: ASGIApp,
        limits: ServerLimits,
        config: Config,
        context: WorkerContext,
        stream: Any,
    ) -> None:
        # The app is called through this connection, so that it can write chunks straight to it.
        wrapped = ASGIWrapper(partial(self._call, finish_cleanly(app)))
        super().__init__(wrapped, config, context, {}, stream)
        self._limits = limits
        self.deadline = math.inf

    async def _call(self, app: ASGIApp, scope: Any, receive: Any, send: Any) -> None:
        """Run the app with a `send` that takes the short way for the chunks of a stream.

        A chunk changes no state of HTTP/1.1, so on its way through Hypercorn and h11 it would only
        be copied: a third of what it costs. Everything else goes through them.
        """
        chunked = False

        async def short_send(message: Any) -> None:
            nonlocal chunked
            kind = message["type"]
            if chunked and kind == "http.response.body" and message.get("more_body"):
                if body := message.get("body"):
                    await self._write([b"%x\r\n" % len(body), body, b"\r\n"])
                return
            if kind == "http.response.start":
                chunked = _is_chunked(scope, message)
                if self._receives_body():
                    # It can't be used again, and a client that doesn't know would try to.
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await app(scope, receive, short_send)

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._write([event.data])
        elif isinstance(event, Closed) and self._receives_body():
            # Closed now, under a client that is still sending, the connection would be reset and
            # the answer lost. What comes is read and dropped, for a while.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self.stream.send_eof()
            self.deadline = trio.current_time() + LINGER_SECONDS
            await self.protocol.handle(event)
        else:
            await super().protocol_send(event)

    def _receives_body(self) -> bool:
        connection = getattr(self.protocol.protocol, "connection", None)
        return isinstance(connection, h11.Connection) and connection.their_state is h11.SEND_BODY

    async def _write(self, parts: list[bytes]) -> None:
        """Write all of it, or close the connection and tell the protocol so."""
        try:
            # Without the scheduler's pass that `async with` takes; nearly always it is free.
            self.send_lock.acquire_nowait()
        except trio.WouldBlock:
            await self.send_lock.acquire()
        written = False
        try:
            await self._send_all(parts)
            written = True
        except (OSError, trio.ClosedResourceError):
            pass  # the client left, or took too long
        finally:
            self.deadline = math.inf
            self.send_lock.release()
            if not written:
                # Half of it may be on the wire; nothing that follows would make sense.
                self.abort()
        if not written:
            await self.protocol.handle(Closed())

    async def _send_all(self, parts: list[bytes]) -> None:
        self._expect_progress()
        sent = await self.stream.socket.sendmsg(parts)
        for part in parts:
            if sent < len(part):
                view = memoryview(part)[sent:]
                while view:
                    # A slow client is not a dead one: whatever it takes buys it time.
                    self._expect_progress()
                    view = view[await self.stream.socket.send(view) :]
            sent = max(0, sent - len(part))

    def _expect_progress(self) -> None:
        self.deadline = trio.current_time() + self._limits.write_timeout

    def abort(self) -> None:
        """Close at once and drop what the client has not taken."""
        with suppress(OSError):  # closed already
            # struct linger {on, 0 s}: nothing stays in the kernel
            self.stream.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self.stream.socket.close()


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
    """Shield an app's final send.

    Within it Hypercorn reports a disconnect, on which Quart-Trio cancels itself before the
    connection is ready for its next request; then it would never be closed or used again. The write
    in it is bounded by `write_timeout`.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async def shielding_send(message: Any) -> None:
            if message["type"] != "http.response.body" or message.get("more_body"):
                await send(message)
                return
            with trio.CancelScope(shield=True):
                await send(message)

        await app(scope, receive, shielding_send)

    return wrapped


async def serve_http(
    app: ASGIApp,
    binds: list[Bind],
    until: trio.Event,
    limits: ServerLimits | None = None,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until the event is set; then accept no more, and give connections `grace` to end.

    Reports the URLs it listens on, with the real port. Raises OSError if an address can't be bound.
    """
    limits = limits or ServerLimits()
    config = Config()
    context = WorkerContext(None)

    open_connections: set[_Connection] = set()

    async def handle(stream: trio.SocketStream) -> None:
        connection = _Connection(app, limits, config, context, stream)
        open_connections.add(connection)
        try:
            await connection.run()
        except Exception:
            # Confined to its connection: no client may bring the server down.
            _log.exception("connection failed")
        finally:
            open_connections.discard(connection)

    async def enforce_deadlines() -> None:
        while True:
            await trio.sleep(min(1.0, limits.write_timeout / 4))
            late = [c for c in open_connections if c.deadline < trio.current_time()]
            for connection in late:
                connection.abort()

    async with trio.open_nursery() as enforcement:
        enforcement.start_soon(enforce_deadlines)
        async with trio.open_nursery() as connections:
            listeners: list[trio.SocketListener] = []
            for bind in binds:
                listeners += await trio.open_tcp_listeners(
                    bind.port, host=bind.host, backlog=BACKLOG
                )
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    await accepting.start(_accept, listener, handle, connections)
                task_status.started([_url(listener) for listener in listeners])
                await until.wait()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + limits.grace
        enforcement.cancel_scope.cancel()


async def _accept(
    listener: trio.SocketListener,
    handle: Callable[[trio.SocketStream], Awaitable[object]],
    connections: trio.Nursery,
    *,
    task_status: trio.TaskStatus[object],
) -> None:
    await trio.serve_listeners(
        handle, [listener], handler_nursery=connections, task_status=task_status
    )


def _url(listener: trio.SocketListener) -> str:
    host, port, *_ = listener.socket.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
