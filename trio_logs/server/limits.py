"""What a client may take of the server."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["ServerLimits"]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Times are in seconds.

    `write_timeout`: how long a client may take (next to) nothing of what is written to it.
    `header_timeout`: how long it may take over a TLS handshake or the head of a request.
    `keep_alive_timeout`: how long it may keep a connection between two requests.
    `silence_timeout`: how long nothing may be heard of a client's machine, which is asked for a
    sign of life three times meanwhile.
    `max_body`: the longest request body, in bytes, where the client says how long it is;
    `streamed`: requests, as their method and target, that it does not hold for, since the app takes
    their bodies as they come and no faster than it can.
    `read_ahead`: the bytes that it may send while its request is being answered.
    `grace`: how long connections may take to end when the server does.
    `connections`: open at once; `connections_per_peer`: of one address, None for no limit. The
    addresses of an IPv6 /64 are one, as one host has them all; unix sockets have no limit.
    """

    write_timeout: float = 30.0
    header_timeout: float = 10.0
    # Longer than the minute that proxies keep theirs, so that it is they who close.
    keep_alive_timeout: float = 75.0
    silence_timeout: float = 40.0
    max_body: int = 1024 * 1024
    streamed: re.Pattern[bytes] = re.compile(rb"POST /+v1/workloads/[^/?]+/logs(\?.*)?")
    read_ahead: int = 64 * 1024
    grace: float = 5.0
    # More than streams, so that a full house can still be asked how it is.
    connections: int = 11_000
    connections_per_peer: int | None = None
