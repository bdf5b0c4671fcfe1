"""Accepting connections, holding them to their bounds, and letting go of them."""

from __future__ import annotations

import errno
import ipaddress
import itertools
import math
import socket
import ssl
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from .binds import Bind, url_of
from .connection import ASGIApp, Connection
from .limits import ServerLimits
from .ports import Ports
from .problems import problem
from .transport import Transport

__all__ = ["Server", "ServerStatistics"]

_log = structlog.get_logger("trio_logs.server")

BACK_OFF_SECONDS = 0.2
"""How long to wait for descriptors or memory before accepting again."""

REFUSAL_SECONDS = 2.0
"""How long a client that is one too many has to read that it is."""

MAX_REFUSALS = 100
"""Refusals under way at once; beyond that a connection is closed without a word."""

LAST_RESORT = 10
"""How many times as long as for us it takes the kernel to give up a peer that does not answer."""

SILENCE_TURNS = 5
"""Connections are looked at for peers that vanished less often than for what is late: a look is a
system call."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """`connections` are open now; all else counts since the start. `timed_out_writing` and
    `timed_out_waiting` are connections that the server ended; `refused` were over a limit, and
    `exhausted` is how often no descriptor or memory was left for one."""

    connections: int
    accepted: int
    requests: int
    bytes_in: int
    bytes_out: int
    refused: int
    timed_out_writing: int
    timed_out_waiting: int
    failed: int
    exhausted: int


class Server:
    """Serves an ASGI app over HTTP/1.1, or over TLS if it is given a context."""

    def __init__(
        self, limits: ServerLimits | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._limits = limits or ServerLimits()
        self._tls = tls
        self._config = Config()
        # Bound: `limits.connections`.
        self._open: set[Connection] = set()
        # Bound: one for each request under way, of which a connection has one.
        self._ports = Ports()
        self._peers: Counter[str] = Counter()
        self._refusing = 0
        self._counts: Counter[str] = Counter()

    async def serve(
        self,
        app: ASGIApp,
        binds: list[Bind],
        until: trio.Event,
        *,
        task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until the event is set; then accept no more, and give connections `grace` to end.

        Reports where it listens, with the real ports. Raises OSError if it can't listen there.
        """
        context = WorkerContext(None)
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
                            accepting.start_soon(self._accept, listener, connections, app, context)
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
        """End what has not ended by itself within the grace."""
        await trio.sleep(self._limits.grace)
        connections.cancel(reason="the server's grace is over")
        for connection in self._open:
            # A final send is shielded; without its socket it ends all the same.
            connection.transport.abort()

    def _tune(self, listening: Any) -> None:
        """Options that accepted sockets inherit: a peer that vanished is noticed by the kernel."""
        if listening.family == socket.AF_UNIX:
            return
        # With TCP_USER_TIMEOUT, the kernel asks on without counting, and ends the connection when
        # that is over: also that of a reader that never has much room, however steadily it reads.
        # So it is the last resort only, and `_enforce_bounds` looks whether a peer has answered.
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
        app: ASGIApp,
        context: WorkerContext,
    ) -> None:
        exhausted = False
        # Nobody listens in between on a unix socket.
        tls = None if listener.socket.family == socket.AF_UNIX else self._tls
        while True:
            try:
                # Handles errors that concern one connection that is gone already; see accept(2).
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._counts["exhausted"] += 1
                if not exhausted:
                    _log.warning("can't accept connections for now", reason=error.strerror)
                exhausted = True
                await trio.sleep(BACK_OFF_SECONDS)
                continue
            exhausted = False
            self._counts["accepted"] += 1
            accepted = stream.socket
            try:
                peer = _peer(accepted.getpeername())
            except OSError:
                accepted.close()  # it left before it was accepted
                continue
            if status := self._excess(peer):
                self._counts["refused"] += 1
                if self._refusing < MAX_REFUSALS and tls is None:
                    self._refusing += 1
                    connections.start_soon(self._refuse, accepted, status)
                else:
                    accepted.close()
                continue
            transport = Transport(stream, self._limits.write_timeout, self._ports)
            connection = Connection(
                app, self._limits, self._config, context, transport, self._ports, tls
            )
            # Counted here: the next one may be accepted before the connection's task runs.
            self._open.add(connection)
            self._peers[peer] += 1
            connections.start_soon(self._handle, connection, peer)

    def _excess(self, peer: str) -> HTTPStatus | None:
        """Why a connection is one too many, or None if it is not."""
        per_peer = self._limits.connections_per_peer
        if len(self._open) >= self._limits.connections:
            return HTTPStatus.SERVICE_UNAVAILABLE
        if per_peer is not None and peer and self._peers[peer] >= per_peer:
            return HTTPStatus.TOO_MANY_REQUESTS
        return None

    async def _handle(self, connection: Connection, peer: str) -> None:
        try:
            await connection.run()
        except Exception:
            # Confined to its connection: no client may bring the server down.
            self._counts["failed"] += 1
            _log.exception("connection failed")
        finally:
            self._open.discard(connection)
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]
            self._count(connection)

    def _count(self, connection: Connection) -> None:
        self._counts["requests"] += connection.requests
        self._counts["bytes_in"] += connection.transport.bytes_in
        self._counts["bytes_out"] += connection.transport.bytes_out

    async def _refuse(self, accepted: trio.socket.SocketType, status: HTTPStatus) -> None:
        """Say so, and read what the client sends meanwhile: closed over unread bytes, the
        connection would be reset, and the answer lost."""
        answer = problem(status, "too many connections are open: try again later")
        try:
            with suppress(OSError), trio.move_on_after(REFUSAL_SECONDS):
                await accepted.send(answer)
                accepted.shutdown(socket.SHUT_WR)
                while await accepted.recv(4096):
                    pass
        finally:
            self._refusing -= 1
            accepted.close()

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
            # Cancelled before its time: a final send is shielded, and nobody else would end it.
            for connection in self._open:
                connection.transport.abort()

    def statistics(self) -> ServerStatistics:
        """A snapshot, and counts since the start."""
        counts = self._counts.copy()
        for connection in self._open:
            counts["requests"] += connection.requests
            counts["bytes_in"] += connection.transport.bytes_in
            counts["bytes_out"] += connection.transport.bytes_out
        counts["bytes_out"] += self._ports.bytes_out
        return ServerStatistics(
            connections=len(self._open),
            accepted=counts["accepted"],
            requests=counts["requests"],
            bytes_in=counts["bytes_in"],
            bytes_out=counts["bytes_out"],
            refused=counts["refused"],
            timed_out_writing=counts["timed_out_writing"],
            timed_out_waiting=counts["timed_out_waiting"],
            failed=counts["failed"],
            exhausted=counts["exhausted"],
        )


def _peer(address: Any) -> str:
    """Whose connection it is: an IPv4 address, the /64 of an IPv6 address, or "" for a unix
    socket."""
    if not isinstance(address, tuple):
        return ""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    if isinstance(host, ipaddress.IPv6Address):
        if host.ipv4_mapped is not None:
            return str(host.ipv4_mapped)
        return str(ipaddress.ip_network((host, 64), strict=False))
    return str(host)
