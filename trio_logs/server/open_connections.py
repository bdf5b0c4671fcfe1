"""The open connections: how many there may be, from which peers, and their traffic."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from .connection import Connection
from .limits import ServerLimits

__all__ = ["OpenConnections", "peer_of"]


class OpenConnections:
    """A set of connections, bounded by `ServerLimits`."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        # Bound: `limits.connections`.
        self._open: set[Connection] = set()
        self._peers: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._open)

    def excess(self, peer: str) -> HTTPStatus | None:
        """Why there is no room for another connection of this peer, or None if there is."""
        per_peer = self._limits.connections_per_peer
        if len(self._open) >= self._limits.connections:
            return HTTPStatus.SERVICE_UNAVAILABLE
        if per_peer is not None and peer and self._peers[peer] >= per_peer:
            return HTTPStatus.TOO_MANY_REQUESTS
        return None

    def add(self, connection: Connection, peer: str) -> None:
        """Count a connection, before its task runs: the next one may be accepted before that."""
        self._open.add(connection)
        self._peers[peer] += 1

    def remove(self, connection: Connection, peer: str) -> None:
        """Forget a connection that has ended, but not its traffic."""
        self._open.discard(connection)
        self._peers[peer] -= 1
        if not self._peers[peer]:
            del self._peers[peer]
        _count(self._ended, connection)

    def traffic(self) -> Counter[str]:
        """`requests`, `bytes_in` and `bytes_out` of all connections since the start."""
        counts = self._ended.copy()
        for connection in self._open:
            _count(counts, connection)
        return counts


def _count(counts: Counter[str], connection: Connection) -> None:
    counts["requests"] += connection.requests
    counts["bytes_in"] += connection.transport.bytes_in
    counts["bytes_out"] += connection.transport.bytes_out


def peer_of(address: Any) -> str:
    """The peer that a connection counts for: an IPv4 address, the /64 of an IPv6 address, or "" for
    a unix socket."""
    if not isinstance(address, tuple):
        return ""
    host = ipaddress.ip_address(address[0].partition("%")[0])
    if isinstance(host, ipaddress.IPv6Address):
        if host.ipv4_mapped is not None:
            return str(host.ipv4_mapped)
        return str(ipaddress.ip_network((host, 64), strict=False))
    return str(host)
