"""Calls of a store that may fail or hang: bounded in time, or repeated until they succeed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog
import trio

from ..errors import StoreError

__all__ = ["StoreCalls"]

_log = structlog.get_logger("trio_logs.engine")

T = TypeVar("T")

FIRST_RETRY = 0.1
LAST_RETRY = 5.0
"""Seconds before a failed call is repeated: the first time, and the most after doubling."""


class StoreCalls:
    """`patience`: seconds that a client waits for a store that hangs.

    `what` completes the sentence "the store could not ...", and names the workload if there is one.
    The log has one line when the first call is repeated, and one when no call is repeated any more.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._repeating = 0

    async def once(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """The result of the call. Raises StoreError if the call does, or after `patience`.

        After a StoreError, the call may have taken effect.
        """
        with trio.move_on_after(self.patience):
            return await call()
        raise StoreError(
            f"the store could not {what} within {self.patience:g} s: try again when it answers"
        )

    async def until_done(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """The result of the call, which is repeated after each StoreError.

        The wait has no bound: the caller must be cancellable.
        """
        try:
            return await call()
        except StoreError as error:
            self._begin(what, error)
        try:
            pause = FIRST_RETRY
            while True:
                await trio.sleep(pause)
                with suppress(StoreError):
                    return await call()
                pause = min(pause * 2, LAST_RETRY)
        finally:
            self._end()

    def _begin(self, what: str, error: StoreError) -> None:
        if not self._repeating:
            _log.warning("store failed: trying again", call=what, error=str(error))
        self._repeating += 1

    def _end(self) -> None:
        self._repeating -= 1
        if not self._repeating:
            _log.info("no call of the store is repeated any more")
