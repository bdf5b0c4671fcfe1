"""The limit on open streams."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any

from ..errors import BusyError
from ..server import ASGIApp
from .routes import RouteTable

__all__ = ["SLOT", "StreamSlot", "StreamSlots", "with_slots"]

SLOT = "trio_logs.slot"
"""The ASGI extension that holds the `StreamSlot` of a request whose route takes one."""


class StreamSlots:
    """Counts streams, from the check of the limit on. A count of subscriptions would be too late:
    of many requests that arrive at once, none has subscribed when the next one is checked."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0


class StreamSlot:
    """The slot that one request may take, and what else is counted until the request ends. The
    request's wrapper releases it."""

    def __init__(self, slots: StreamSlots) -> None:
        self._slots = slots
        self._held = ExitStack()
        self._is_taken = False

    def take(self) -> None:
        """Count this request as a stream. Raises BusyError if all slots are taken."""
        if self._is_taken:
            return
        if self._slots.taken >= self._slots.limit:
            raise BusyError(f"{self._slots.limit} streams are open: try again later")
        self._slots.taken += 1
        self._is_taken = True

    def hold(self, counted: AbstractContextManager[object]) -> None:
        """Enter the context manager, and leave it when the request ends."""
        self._held.enter_context(counted)

    def release(self) -> None:
        """Give the slot back, if it was taken."""
        if self._is_taken:
            self._slots.taken -= 1
            self._is_taken = False
        self._held.close()


def with_slots(app: ASGIApp, table: RouteTable, slots: StreamSlots) -> ASGIApp:
    """The app, with a `StreamSlot` in the scope of requests whose route takes one.

    If the client disconnects, the answer of a view that took a slot may never begin. So the slot
    belongs to the request, and is released here, however the request ends.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        route = table.of_scope(scope)
        if route is None or not route.takes_slot:
            await app(scope, receive, send)
            return
        slot = StreamSlot(slots)
        scope["extensions"] = {**scope.get("extensions", {}), SLOT: slot}
        try:
            await app(scope, receive, send)
        finally:
            slot.release()

    return wrapped
