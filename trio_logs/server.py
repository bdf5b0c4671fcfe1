"""The server: Hypercorn's HTTP/1.1 on Trio, with writes that can be cancelled and have a bound.

Hypercorn shields every write without a deadline, so that one client that never reads holds up its
handler, and the shutdown, for as long as it likes. Its classes are importable but not documented;
hence the pin to 0.18.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

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

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """All in seconds. `write_timeout`: how long one write may wait for its client. `grace`: how long
    connections may take to end when the server does."""

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
    """One connection. A write that does not end in time closes it."""

    def __init__(self, limits: ServerLimits, *args: Any) -> None:
        super().__init__(*args)
        self._limits = limits

    async def protocol_send(self, event: Event) -> None:
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            sent = False
            try:
                with trio.move_on_after(self._limits.write_timeout):
                    await self.stream.send_all(event.data)
                    sent = True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                if not sent:
                    # Half of it may be on the wire; nothing that follows would make sense.
                    _abort(self.stream)
        if not sent:
            await self.protocol.handle(Closed())


def _abort(stream: trio.SocketStream) -> None:
    """Close at once and drop what the client has not taken."""
    linger = b"\1\0\0\0\0\0\0\0"  # struct linger {on, 0 s}: RST, and nothing stays in the kernel
    try:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    except OSError:
        pass  # closed already
    stream.socket.close()


def finish_cleanly(app: ASGIApp) -> ASGIApp:
    """Shield an app's final send.

    Within it Hypercorn reports a disconnect, on which Quart-Trio cancels itself before the connection
    is ready for its next request; then it would never be closed or used again. The write in it is
    bounded by `write_timeout`.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async def shielding_send(message: Any) -> None:
            final = message["type"] == "http.response.body" and not message.get("more_body")
            with trio.CancelScope(shield=final):
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
    wrapped = ASGIWrapper(finish_cleanly(app))  # type: ignore[arg-type]

    async def handle(stream: trio.SocketStream) -> None:
        try:
            await _Connection(limits, wrapped, config, context, {}, stream).run()
        except Exception:
            # Confined to its connection: no client may bring the server down.
            _log.exception("connection failed")

    async with trio.open_nursery() as connections:
        listeners: list[trio.SocketListener] = []
        for bind in binds:
            listeners += await trio.open_tcp_listeners(bind.port, host=bind.host, backlog=BACKLOG)
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                await accepting.start(_accept, listener, handle, connections)
            task_status.started([_url(listener) for listener in listeners])
            await until.wait()
            accepting.cancel_scope.cancel()
        await context.terminated.set()
        connections.cancel_scope.deadline = trio.current_time() + limits.grace


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


