"""How much of the server a client may use."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ServerLimits"]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Times are in seconds. The app limits the bodies of requests: see `Server.serve`.

    `write_timeout`: how long a write may make (next to) no progress.
    `header_timeout`: how long a TLS handshake, or the head of a request, may take.
    `keep_alive_timeout`: how long a connection may idle between two requests.
    `silence_timeout`: how long a client's kernel may send nothing; it is probed three times
    meanwhile.
    `read_ahead`: the bytes that a client may send while its request is being answered.
    `grace`: how long connections may take to end when the server stops.
    `connections`: open at once; `connections_per_peer`: of one address, None for no limit. The
    addresses of an IPv6 /64 count as one, since one host has them all; unix sockets have no limit.
    """

    write_timeout: float = 30.0
    header_timeout: float = 10.0
    # Longer than the minute of most proxies, so that the proxy closes first.
    keep_alive_timeout: float = 75.0
    silence_timeout: float = 40.0
    read_ahead: int = 64 * 1024
    grace: float = 5.0
    # More than the streams that the service allows, so that other requests still get through.
    connections: int = 11_000
    connections_per_peer: int | None = None
