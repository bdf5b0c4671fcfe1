"""A reading in stages, for a reader of several logs: each stage ends at the head of its start."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import Unfinished
from .bell import Bell
from .pending import Found
from .places import LogPlace
from .searches import Searches
from .topics import Topics
from .unfinished_reading import UnfinishedReading, UnfinishedSubscription

__all__ = ["StagedReading"]


class StagedReading(UnfinishedReading):
    """Ends at the last line known when it was located, and goes on from there when it is told to.

    Call `locate` first. While a stage follows, call `ready` only: `receive` would wait for this log
    alone. The selection must have neither `last` nor `limit`.

    With `unfinished`, it has lines that have not ended: those at the head while a stage follows, or
    if the reader `follows` at no time, those behind the last line.
    """

    def __init__(
        self,
        topics: Topics,
        searches: Searches,
        place: LogPlace,
        bell: Bell,
        *,
        follows: bool,
        unfinished: bool,
    ) -> None:
        subscription = UnfinishedSubscription(
            topics, place.workload_id, place.first, must_exist=True, bell=bell
        )
        super().__init__(
            subscription, topics.store, searches, place.selection, after=place.after, follow=False
        )
        self._shows_live = unfinished and follows
        self._shows_last = subscription.needs_rests = unfinished and not follows

    def read_at_once(self, max_bytes: int) -> None:
        """Have `receive` and `ready` return about so many bytes on the wire; at least a record."""
        self._subscription.max_bytes = max_bytes

    async def locate(self) -> Sequence[Found]:
        """Find the first line that is asked for. Returns the records that come before all lines,
        perhaps none. Raises StoreError, and WorkloadNotFoundError if there is no such log. A call
        that is cancelled or raises may be repeated; one that has returned may not."""
        found = await self._begin()
        if not self._shows_last:
            self._rests = {}
        return found

    @property
    def position(self) -> int | None:
        position = super().position
        if position is None or self._stop_after is None:
            return position
        # Memory may have given later lines with the last ones; this stage has dropped them.
        return min(position, self._stop_after)

    @property
    def is_behind(self) -> bool:
        """Whether the log has lines after the last one that was delivered or hidden, or lacks lines
        that were delivered."""
        return self._subscription.is_reset or self.position != self._subscription.head

    def go_on(self, *, follow: bool) -> None:
        """Begin the next stage: up to the last line known now, or, with `follow`, as lines come."""
        self.rewind(self._following, ())
        self._follow = follow
        self._watch(follows=follow and self._shows_live)
        self._stop_after = None
        self._begin_stage(self._subscription.head)
        # Whoever calls `ready` keeps the time of `until`.
        self._ends_early = not follow

    def rewind(self, line: int, records: Sequence[object]) -> None:
        """Go back to a line. `records` were delivered from there on; the caller has dropped
        them."""
        assert self._pending is not None
        self._subscription.rewind(line, records)
        if any(isinstance(record, Unfinished) for record in records):
            self._rests = self._subscription.rests
        self._pending.drop()
        self._done = False

    def _watch(self, *, follows: bool) -> None:
        subscription = self._subscription
        if follows and not subscription.watches:
            # The end of the stage before has cleared what the client showed.
            subscription.screen = None
            subscription.topic.unfinished.watch(subscription)
        # Behind the head, no round is due.
        subscription.watches = follows

    @property
    def has_round(self) -> bool:
        """Whether unfinished lines are due that `ready` leaves out, since their filter is slow."""
        return self._target() is not None

    async def receive_round(self) -> Sequence[Found]:
        """The unfinished lines that are due; empty if there are none by now."""
        return await self._receive_round()

    @property
    def _following(self) -> int:
        assert self.position is not None
        return self.position + 1
