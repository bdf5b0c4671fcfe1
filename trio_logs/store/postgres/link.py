"""Whether the database answers."""

from __future__ import annotations

import time

import structlog

from .failures import is_away, is_out_of_files, one_line

__all__ = ["Link"]

_log = structlog.get_logger("trio_logs.store")


class Link:
    """Notes each answer and each failure, in Trio's thread, and logs when that changes. `outages`
    counts the times since the start that the database did not answer.

    `began` is when the call began, on the monotonic clock. Calls run at once, so one that began
    before the last change says nothing about what came after it.
    """

    def __init__(self) -> None:
        self.is_up = True
        self.outages = 0
        self._since = 0.0

    def answered(self, began: float) -> None:
        """A call has succeeded, or failed for a reason of its own."""
        if not self.is_up and began > self._since:
            away = round(self._change(), 1)
            _log.info("the database answers again", away_seconds=away)

    def failed(self, error: BaseException, began: float) -> None:
        """A call has failed with an error of `FAILURES`."""
        if is_out_of_files(error):
            # The call has asked the database nothing.
            return
        if not isinstance(error, Exception) or not is_away(error):
            self.answered(began)
            return
        if self.is_up and began > self._since:
            self._change()
            self.outages += 1
            _log.warning("the database does not answer: trying again", error=one_line(error))

    def _change(self) -> float:
        """It was up, and is away, or the reverse. Returns the seconds since the last change."""
        before, self._since = self._since, time.monotonic()
        self.is_up = not self.is_up
        return self._since - before
