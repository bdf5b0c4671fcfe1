"""What dead nodes have left running on this host."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import structlog

from ..backends import Backend, find_backend
from ..broker import Bell
from ..store.shared import Remains, SharedStore
from .nodes import Nodes
from .store_calls import StoreCalls

__all__ = ["keep_reaped"]

_log = structlog.get_logger("trio_logs.nodes")


async def keep_reaped(
    store: SharedStore, nodes: Nodes, backends: Mapping[str, Backend], calls: StoreCalls
) -> None:
    """End what nodes of this host have left: those that died before the start, and then each that
    is gone; until cancelled."""
    bell = Bell()
    nodes.listeners.append(bell.ring)
    gone = -1
    while True:
        if gone != nodes.gone:
            gone = nodes.gone
            what = "read what dead nodes have left on this host"
            found = await calls.until_done(what, partial(store.remains, nodes.own.host))
            for each in found:
                await _reap(each, backends)
            if found:
                ids = [each.workload_id for each in found]
                what = "forget what dead nodes have left"
                await calls.until_done(what, partial(store.forget_remains, ids))
        await bell.wait()


async def _reap(remains: Remains, backends: Mapping[str, Backend]) -> None:
    _log.warning("ending what a dead node has left", workload=remains.workload_id)
    try:
        await find_backend(backends, remains.backend).reap(remains.handle)
    except Exception:
        # A backend's own failure; a second try would fail the same way.
        _log.exception("workload not reaped", workload=remains.workload_id)
