"""The limit on open files, shared between the service's clients and its workloads."""

from __future__ import annotations

from dataclasses import replace

import structlog

from ..open_files import Shares, open_now, raise_limit
from ..server import ServerLimits, refusals_beside
from ..settings import Settings

__all__ = ["DESCRIPTORS", "fit", "per_peer"]

_log = structlog.get_logger("trio_logs.cli")

DESCRIPTORS = 65_536
"""The limit on open files that the service asks for; the commands that it runs don't get it."""

CONNECTIONS_PER_PEER = 1000
"""Open connections of one address, if the service listens on more than loopback."""


def fit(limits: ServerLimits, settings: Settings) -> tuple[ServerLimits, Settings]:
    """Raise the limit on open files, and lower the bounds on connections, streams and running
    workloads to what it has room for. Say so in the service's log.

    Without this, idle clients could hold all descriptors, and workloads and queries would fail.
    """
    limit = raise_limit(DESCRIPTORS)
    wanted = limits.connections + refusals_beside(limits.connections)
    asked = settings.engine.running
    shares = Shares.of(limit, already_open=open_now(), sockets=wanted, running=asked)
    if shares == Shares(wanted, asked):
        return limits, settings
    connections = limits.connections
    if shares.sockets < wanted:
        connections = max(1, shares.sockets - refusals_beside(shares.sockets))
    _log.warning(
        "the limit on open files is low: raise LimitNOFILE, or `ulimit -n`",
        limit=limit,
        connections=connections,
        running=shares.running,
    )
    # Other requests still get through while all streams are open.
    streams = min(settings.max_streams, max(1, connections * 10 // 11))
    return (
        replace(limits, connections=connections),
        replace(
            settings, max_streams=streams, engine=replace(settings.engine, running=shares.running)
        ),
    )


def per_peer(connections: int) -> int:
    """The connections that one address of another machine may have, unless an option says it."""
    return min(CONNECTIONS_PER_PEER, max(1, connections // 2))
