"""What the service does for its store while it runs: retention, and a word when the store fails."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import structlog
import trio

from .broker import BrokerStatistics
from .engine import newest_time
from .errors import StoreError
from .records import not_before
from .store import Retention, Store
from .store.steadiness import Removal, lines_to_trim

__all__ = ["keep_trimmed", "watch_store"]

_log = structlog.get_logger("trio_logs.service")

TRIM_SECONDS = 10
"""Seconds between two checks of the history against its bounds. Each second in between has a look
at its size."""

WATCH_SECONDS = 1.0
"""Seconds between two checks whether the store takes writes."""

FAILING_SECONDS = 2.0
"""Seconds that a write waits before the service's log says that the store fails."""


async def keep_trimmed(store: Store, retention: Retention) -> None:
    """Keep the history within its bounds until cancelled. A failing store only delays this."""
    failing = noted = False
    removal = Removal(retention, partial(lines_to_trim, store), partial(_trim, store), _say_doubt)
    with ExitStack() as stack:
        while True:
            try:
                if not noted:
                    # Before the first removal: the clock may have been set meanwhile.
                    stack.enter_context(not_before(await newest_time(store)))
                    noted = True
                await removal.run()
            except StoreError as error:
                if not failing:
                    _log.warning("history not trimmed: trying again", error=str(error))
                failing = True
            else:
                failing = False
            for _ in range(TRIM_SECONDS):
                await trio.sleep(1)
                if (
                    retention.max_bytes is not None
                    and store.statistics().bytes > retention.max_bytes
                ):
                    break


async def _trim(store: Store, bounds: Retention) -> int:
    if removed := await store.trim(bounds):
        _log.debug("history trimmed", batches=removed)
    return removed


def _say_doubt() -> None:
    _log.warning(
        "more than a tenth of the history is too old at once: it stays until the clock has been"
        " steady for an hour"
    )


async def watch_store(
    statistics: Callable[[], BrokerStatistics], wait: Callable[[], float], advice: str
) -> None:
    """Log one line when the store begins to fail, and one when it is back. `wait` returns how many
    seconds the oldest write has waited; `advice` says what to do."""
    failing = False
    while True:
        await trio.sleep(WATCH_SECONDS)
        found = statistics()
        # A store that works has nearly always a write under way.
        if failing and wait() < WATCH_SECONDS:
            failing = False
            _log.warning("the store is back")
        elif not failing and wait() > FAILING_SECONDS:
            failing = True
            _log.error(
                f"the store takes no writes: {advice}",
                error=found.store_error or "it does not answer",
                waiting_seconds=round(wait(), 1),
                logs=found.logs_failing,
            )
