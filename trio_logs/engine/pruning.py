"""Deletes workloads beyond the bounds of retention."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import structlog
import trio

from ..errors import ConflictError, NotReadyError, StoreError, WorkloadNotFoundError
from ..store import Retention, WorkloadStore
from ..store.steadiness import Removal, records_to_prune
from .engine import Engine

__all__ = ["keep_pruned"]

_log = structlog.get_logger("trio_logs.engine")

PRUNE_SECONDS = 10
"""Seconds between two checks of the records against their bounds. Each second in between has a look
at how many workloads have ended."""

AT_ONCE = 100
"""Records that are looked for at a time, and ends of workloads after which to look at once."""


async def keep_pruned(engine: Engine, store: WorkloadStore, retention: Retention) -> None:
    """Keep the records within their bounds until cancelled. A failing store only delays this."""
    is_failing = False
    judge, remove = partial(records_to_prune, store), partial(_prune, engine, store)
    removal = Removal(retention, judge, remove, _say_doubt)
    while True:
        ended = _ended(engine)
        try:
            await removal.run()
            is_failing = False
        except (StoreError, NotReadyError) as error:
            if not is_failing:
                _log.warning("old workloads not deleted: trying again", error=str(error))
            is_failing = True
        for _ in range(PRUNE_SECONDS):
            await trio.sleep(1)
            if _ended(engine) >= ended + AT_ONCE:
                break


def _ended(engine: Engine) -> int:
    """How many workloads have ended since the start."""
    return sum(engine.statistics().finished.values())


async def _prune(engine: Engine, store: WorkloadStore, retention: Retention) -> int:
    """Delete some of the workloads beyond the bounds; return how many."""
    deleted = 0
    for workload_id in await store.expired(retention, AT_ONCE):
        # A client may have deleted it; or an embedder has closed its log, and it still runs.
        with suppress(WorkloadNotFoundError, ConflictError):
            await engine.delete(workload_id)
            deleted += 1
    if deleted:
        _log.info("old workloads deleted", count=deleted)
    return deleted


def _say_doubt() -> None:
    _log.warning(
        "more than a tenth of the workloads is too old at once: they stay until the clock has been"
        " steady for an hour"
    )
