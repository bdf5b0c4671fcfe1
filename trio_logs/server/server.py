"""Accepts connections, enforces their bounds, and ends them."""

from __future__ import annotations

import errno
import itertools
import math
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from .access_log import AccessLog
from .asgi import ASGIApp
from .binds import Bind, url_of
from .connection import Connection
from .limits import ServerLimits
from .open_connections import OpenConnections, peer_of
from .ports import CountingPorts, Ports
from .protocol import HTTP11, BodyLimit
from .refusals import Refusals, refusals_beside
from .statistics import ServerStatistics
from .transport import Transport

__all__ = ["Server"]

_log = structlog.get_logger("trio_logs.server")

BACK_OFF_SECONDS = 0.2
"""How long to wait for descriptors or memory before the next accept."""

WARN_SECONDS = 60.0
"""The shortest time between two lines in the service's log that descriptors or memory lack."""

LAST_RESORT = 10
"""The kernel gives up a silent peer after this many times the `silence_timeout`."""

SILENCE_TURNS = 5
"""The server looks for silent peers once in so many turns: it costs a system call for each one."""

LEAVING_AT_ONCE = 20
"""How many clients that disconnect together leave at a time, so that no others wait for all."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


class Server:
    """Serves an ASGI app over HTTP/1.1, with TLS if it has a context.

    `access_log`: log each answer at its end; see `AccessLog`.
    """

    def __init__(
        self,
        limits: ServerLimits | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        access_log: bool = False,
    ) -> None:
        self._limits = limits or ServerLimits()
        self._tls = tls
        self._config = Config()
        self._open = OpenConnections(self._limits)
        self._ports = CountingPorts() if access_log else Ports()
        self._refusals = Refusals(refusals_beside(self._limits.connections))
        self._counts: Counter[str] = Counter()

    async def serve(
        self,
        app: ASGIApp,
        binds: list[Bind],
        until: trio.Event,
        body_limit: BodyLimit | None = None,
        *,
        task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until the event is set; then accept no more, and give connections `grace` to end.

        `body_limit` refuses longer bodies with 413; by default the app alone limits bodies.
        Reports the URLs, with the real ports. Raises OSError if it can't listen.
        """
        context = WorkerContext(None)
        leaving = trio.Semaphore(LEAVING_AT_ONCE)

        def make(transport: Transport, tls: ssl.SSLContext | None) -> Connection:
            ports = self._ports
            log = AccessLog(app, transport, ports) if isinstance(ports, CountingPorts) else None
            return Connection(
                log or app,
                self._limits,
                self._config,
                context,
                transport,
                self._ports,
                tls,
                partial(HTTP11, self._limits, body_limit, log.refused if log else None),
                leaving,
            )

        with ExitStack() as stack:
            listeners: list[trio.SocketListener] = []
            for bind in binds:
                opened = await bind.listen()
                stack.callback(bind.release)
                for listener in opened:
                    stack.callback(listener.socket.close)
                    self._tune(listener.socket)
                    listeners.append(listener)
            async with trio.open_nursery() as upkeep:
                upkeep.start_soon(self._enforce_bounds)
                async with trio.open_nursery() as connections:
                    async with trio.open_nursery() as accepting:
                        for listener in listeners:
                            accepting.start_soon(self._accept, listener, connections, make)
                        scheme = "http" if self._tls is None else "https"
                        task_status.started([url_of(listener, scheme) for listener in listeners])
                        await until.wait()
                        accepting.cancel_scope.cancel()
                    stack.close()
                    await context.terminated.set()
                    for connection in self._open:
                        if connection.is_idle:
                            connection.transport.close()
                    upkeep.start_soon(self._cut, connections.cancel_scope)
                upkeep.cancel_scope.cancel()

    async def _cut(self, connections: trio.CancelScope) -> None:
        """End the connections that have not ended by themselves within the grace."""
        await trio.sleep(self._limits.grace)
        connections.cancel(reason="the server's grace is over")
        for connection in self._open:
            # A final send is shielded from the cancel; without its socket, it ends as well.
            connection.transport.abort()

    def _tune(self, listening: Any) -> None:
        """Set options that accepted sockets inherit, so that the kernel notices a vanished peer."""
        if listening.family == socket.AF_UNIX:
            return
        # Under TCP_USER_TIMEOUT, the kernel also ends the connection of a reader whose window stays
        # nearly full, however steadily it reads. So that is the last resort only, and
        # `_enforce_bounds` asks whether a peer has answered.
        silence = self._limits.silence_timeout
        options = {
            "TCP_KEEPIDLE": max(1, round(silence / 2)),
            "TCP_KEEPINTVL": max(1, round(silence / 6)),
            "TCP_KEEPCNT": 3,
            "TCP_USER_TIMEOUT": round(LAST_RESORT * silence * 1000),
        }
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            if hasattr(socket, name):
                listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    async def _accept(
        self,
        listener: trio.SocketListener,
        connections: trio.Nursery,
        make: Callable[[Transport, ssl.SSLContext | None], Connection],
    ) -> None:
        warned_at = -math.inf
        # No third party can read a unix socket.
        tls = None if listener.socket.family == socket.AF_UNIX else self._tls
        while True:
            try:
                # Trio handles the errors of a connection that is gone already; see accept(2).
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._counts["exhausted"] += 1
                # While a few connections come and go, accepts succeed in between: that is no news.
                if trio.current_time() - warned_at >= WARN_SECONDS:
                    warned_at = trio.current_time()
                    _log.warning("can't accept connections for now", reason=error.strerror)
                await trio.sleep(BACK_OFF_SECONDS)
                continue
            self._counts["accepted"] += 1
            accepted = stream.socket
            try:
                peer = peer_of(accepted.getpeername())
            except OSError:
                accepted.close()  # the client disconnected before the accept
                continue
            if status := self._open.excess(peer):
                self._counts["refused"] += 1
                # Over TLS, a refusal would need a handshake first.
                if tls is not None or not self._refusals.start(connections, accepted, status):
                    accepted.close()
                continue
            transport = Transport(stream, self._limits.write_timeout, self._ports)
            connection = make(transport, tls)
            self._open.add(connection, peer)
            connections.start_soon(self._handle, connection, peer)

    async def _handle(self, connection: Connection, peer: str) -> None:
        try:
            await connection.run()
        except Exception:
            # Confined to this connection: no client may bring the server down.
            self._counts["failed"] += 1
            _log.exception("connection failed")
        finally:
            self._open.remove(connection, peer)

    async def _enforce_bounds(self) -> None:
        limits = self._limits
        shortest = min(limits.write_timeout, limits.header_timeout, limits.keep_alive_timeout)
        try:
            for turn in itertools.count():
                await trio.sleep(min(1.0, shortest / 4))
                now = trio.current_time()
                for connection in self._open:
                    transport = connection.transport
                    if transport.is_late(now) or (
                        turn % SILENCE_TURNS == 0 and transport.silence() > limits.silence_timeout
                    ):
                        self._counts["timed_out_writing"] += 1
                        transport.abort()
                    elif connection.late_at < now:
                        connection.late_at = math.inf
                        self._counts["timed_out_waiting"] += 1
                        transport.close()
        finally:
            # If the server is cancelled, no other task ends the final sends, which are shielded.
            for connection in self._open:
                connection.transport.abort()

    def statistics(self) -> ServerStatistics:
        """A snapshot, and counts since the start."""
        counts = self._counts + self._open.traffic()
        return ServerStatistics(
            connections=len(self._open),
            accepted=counts["accepted"],
            requests=counts["requests"],
            bytes_in=counts["bytes_in"],
            bytes_out=counts["bytes_out"] + self._ports.bytes_out,
            refused=counts["refused"],
            timed_out_writing=counts["timed_out_writing"],
            timed_out_waiting=counts["timed_out_waiting"],
            failed=counts["failed"],
            exhausted=counts["exhausted"],
        )
