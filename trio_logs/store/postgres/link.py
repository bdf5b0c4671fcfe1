"""Whether the database answers."""

from __future__ import annotations

import time

import structlog

from .failures import is_away

__all__ = ["Link"]

_log = structlog.get_logger("trio_logs.store")


class Link:
    """Notes each answer and each failure, in Trio's thread, and logs when that changes."""

    def __init__(self) -> None:
        self.is_up = True
        self.failures = 0
        self._since = 0.0

    def answered(self) -> None:
        """A call has succeeded, or failed for a reason of its own."""
        if not self.is_up:
            self.is_up = True
            seconds = round(time.monotonic() - self._since, 1)
            _log.info("the database answers again", away_seconds=seconds)

    def failed(self, error: BaseException) -> None:
        """A call has failed with an error of `FAILURES`."""
        if not isinstance(error, Exception) or not is_away(error):
            self.answered()
            return
        self.failures += 1
        if self.is_up:
            self.is_up = False
            self._since = time.monotonic()
            _log.warning("the database does not answer: trying again", error=str(error).strip())
