"""What the service does for its store while it runs: retention, and a word when the store fails."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from .broker import BrokerStatistics
from .errors import StoreError
from .store import LogStore, Retention

__all__ = ["keep_trimmed", "watch_store"]

_log = structlog.get_logger("trio_logs.service")

TRIM_SECONDS = 10.0
"""Seconds between two checks of the history against its bounds."""

WATCH_SECONDS = 1.0
"""Seconds between two checks whether the store takes writes."""

FAILING_SECONDS = 2.0
"""Seconds that a write waits before the service's log says that the store fails."""


async def keep_trimmed(store: LogStore, retention: Retention) -> None:
    """Keep the history within its bounds until cancelled. A failing store only delays this."""
    failing = False
    while True:
        try:
            while removed := await store.trim(retention):
                _log.debug("history trimmed", batches=removed)
        except StoreError as error:
            if not failing:
                _log.warning("history not trimmed: trying again", error=str(error))
            failing = True
        else:
            failing = False
        await trio.sleep(TRIM_SECONDS)


async def watch_store(
    statistics: Callable[[], BrokerStatistics], wait: Callable[[], float]
) -> None:
    """Log one line when the store begins to fail, and one when it is back. `wait` returns how many
    seconds the oldest write has waited."""
    failing = False
    while True:
        await trio.sleep(WATCH_SECONDS)
        found = statistics()
        if failing and wait() == 0:
            failing = False
            _log.warning("the store is back")
        elif not failing and wait() > FAILING_SECONDS:
            failing = True
            _log.error(
                "the store takes no writes: make room on its disk, or repair it",
                error=found.store_error or "it does not answer",
                waiting_seconds=round(wait(), 1),
                logs=found.logs_failing,
            )
