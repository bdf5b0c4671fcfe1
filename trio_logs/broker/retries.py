"""Calls of a shared store, repeated while it is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from ..errors import StoreError

__all__ = ["until_done"]

T = TypeVar("T")

CALL_SECONDS = 10.0
"""A call that takes longer is given up, and repeated."""

FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds before a failed call is repeated: the first delay, and the bound of doubling."""


async def until_done(call: Callable[[], Awaitable[T]]) -> T:
    """The result of a call that may be repeated, however long the store is away. A call whose
    caller was cancelled meanwhile raises Cancelled, also if it has a result."""
    delay = FIRST_DELAY
    while True:
        try:
            with trio.move_on_after(CALL_SECONDS):
                result = await call()
                await trio.lowlevel.checkpoint_if_cancelled()
                return result
        except StoreError:
            pass
        await trio.sleep(delay)
        delay = min(2 * delay, LONGEST_DELAY)
