"""The removal of deleted logs, which no reader finds any more."""

from __future__ import annotations

import structlog
import trio

from ...errors import StoreError
from .database import Database
from .logs import Logs

__all__ = ["Sweeping"]

_log = structlog.get_logger("trio_logs.store")

RETRY = 0.1, 60.0
"""Seconds from a failed removal to the next try: the first delay, and the bound of doubling."""


class Sweeping:
    """Removes deleted logs in pieces: a long log would hold up the commits of all others."""

    def __init__(self, database: Database, logs: Logs) -> None:
        self._database = database
        self._logs = logs
        self._deleted = trio.Event()

    def begin(self) -> None:
        """A log was deleted."""
        self._deleted.set()

    async def run(self) -> None:
        """Remove what is deleted, until cancelled. Start it once the database is open."""
        if self._logs.has_deleted:
            # The service ended before it had removed all deleted logs.
            self._deleted.set()
        delay, longest = RETRY
        while True:
            await self._deleted.wait()
            # Reset it before the write: a deletion may follow in the same transaction.
            self._deleted = trio.Event()
            try:
                while await self._database.write(self._logs.sweep, frees=True):
                    delay = RETRY[0]
            except StoreError as error:
                _log.warning("deleted logs not removed yet", error=str(error), retry_in=delay)
                await trio.sleep(delay)
                delay = min(2 * delay, longest)
                self._deleted.set()
