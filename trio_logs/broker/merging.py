"""Several logs as one sequence of records: history in the order of arrival, then what comes."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Literal, Self

import trio

from ..records import Batch, Detached, Position, now
from .bell import Bell
from .history import READ_BYTES
from .iteration import OneByOne
from .merge_turns import MergeTurns
from .part import Part
from .places import Item, LogPlace, PartRecord
from .reading import UNTIL_SLACK
from .stages import StagedReading

__all__ = ["Merging"]

HELD_BYTES = 1024 * 1024
"""Bytes of rows that all logs of one reader hold together until their turns come, besides the row
that is next. Larger rows are read twice: first for their times alone."""


class Merging(OneByOne[Item]):
    """Reads several logs. Use it as a context manager.

    The first records are a `Position` for each log that has not ended: the number before its next
    line due. The lines that were stored when the reading began are merged by the time of their
    arrival. Batches stay whole; logs with equal times come in the order of `places`. Then new lines
    come as they arrive. The last record of a log is its `End`, or `Gone`. `Detached` ends all logs.
    Without `follow`, each log ends at the last line known when the reading began.

    `read` makes the reading of one log, which rings the bell.
    """

    def __init__(
        self,
        places: Sequence[LogPlace],
        read: Callable[[LogPlace, Bell], StagedReading],
        turns: MergeTurns,
        *,
        follow: bool = True,
    ) -> None:
        super().__init__()
        self.bell = Bell()
        room = max(1, min(READ_BYTES, HELD_BYTES // max(1, len(places))))
        self._parts = [Part(place, read(place, self.bell), room=room) for place in places]
        self._turn = turns.turn(self._drop)
        self._follow = follow
        # When it follows no longer, on Trio's clock: all lines that are asked for are known then.
        self.until = _time_of_end(places)
        self._located = 0
        self._is_begun = False
        self._in_history = True
        self._is_detached = False
        # Logs whose next record is known: its time, and the log's place.
        self._next: list[tuple[int, int]] = []
        self._unknown = [index for index, place in enumerate(places) if not place.ended]
        # What is due to the caller. Bound: READ_BYTES, and one read more.
        self._due: list[Item] = []
        self._due_bytes = 0
        self._first_turn = 0
        # Whether logs that need the store have the next turn.
        self._store_is_due = False

    def __enter__(self) -> Self:
        for part in self._parts:
            part.open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._turn.end()
        for part in self._parts:
            part.close()
        self.bell.close()

    def _drop(self) -> None:
        for part in self._parts:
            part.drop()

    @property
    def is_over(self) -> bool:
        """Whether no record can follow."""
        if self._due:
            return False
        if self._is_detached:
            return True
        return self._is_begun and all(
            part.ended or (part.caught_up and not self._follows) for part in self._parts
        )

    @property
    def _follows(self) -> bool:
        return self._follow and trio.current_time() < self.until

    def places(self) -> Sequence[int | Literal["end"]] | None:
        """The number before the next line due of each log, or "end"; None until all logs are
        located, and while records are due to the caller."""
        if self._due or self._located < len(self._parts):
            return None
        return [part.place for part in self._parts]

    async def receive(self) -> Sequence[Item]:
        """Wait for the next records, at least one. Raises trio.EndOfChannel after the last one,
        and StoreError. A call that is cancelled or raises loses nothing: call again."""
        while True:
            if items := await self.poll():
                return items
            if self.is_over:
                raise trio.EndOfChannel
            with trio.move_on_at(self.until):
                await self.bell.wait()

    async def poll(self) -> Sequence[Item]:
        """The next records, about 64 KiB of them; empty if no log has any now. Then wait for the
        bell, or until the time `until`, before the next call. Raises and is cancelled as `receive`.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._in_history:
            await self._merge()
        if not (self._due or self._in_history or self._is_detached):
            await self._look()
        await trio.lowlevel.cancel_shielded_checkpoint()
        due, self._due, self._due_bytes = self._due, [], 0
        return due

    async def _merge(self) -> None:
        """Collect the next records of the history, in order."""
        while self._located < len(self._parts):
            await self._parts[self._located].locate()
            self._located += 1
        while not self._is_detached:
            # What is due does not wait for a read, which may have to search.
            if self._due_bytes >= READ_BYTES:
                return
            if self._unknown:
                await self._find_next(self._unknown[-1])
                self._unknown.pop()
            elif not self._is_begun:
                self._is_begun = True
                for index, part in enumerate(self._parts):
                    if (line := part.place) != "end":
                        self._due.append((index, Position(line)))
                return
            elif not self._next:
                self._turn.end()
                self._in_history = False
                return
            else:
                await self._merge_next()

    async def _find_next(self, index: int) -> None:
        """Find when the next record of a log arrived."""
        part = self._parts[index]
        await self._turn.take()
        await part.look()
        part.trim()
        self._know(index)

    async def _merge_next(self) -> None:
        """Take the next record of all."""
        time, index = self._next[0]
        part = self._parts[index]
        if not part.held:
            await self._turn.take()
            await part.look()
        heapq.heappop(self._next)
        if part.time == time:
            self._deliver(index, part.take())
        # If not, retention has removed the record meanwhile.
        if part.time is not None:
            self._know(index)
        elif not part.ended:
            self._unknown.append(index)

    def _know(self, index: int) -> None:
        time = self._parts[index].time
        if time is not None:
            heapq.heappush(self._next, (time, index))

    async def _look(self) -> None:
        """Collect what the logs have now: in turns, from memory and from the store."""
        if not self._store_is_due:
            self._collect()
        if self._due:
            # A read may have to search, and these lines do not wait for it.
            self._store_is_due = True
            return
        self._store_is_due = False
        follows = self._follows
        for index, part in self._in_turn():
            if part.ended:
                continue
            if part.follows and (part.is_behind or not follows):
                part.begin_stage(follow=False)
            if part.follows:
                self._deliver(index, await part.receive_round())
            else:
                await part.look()
                self._deliver(index, part.take_all())
                if part.caught_up and not part.ended and follows:
                    part.begin_stage(follow=True)
                    self._deliver(index, part.ready())
            if self._due:
                # Another log that is far behind has the next turn.
                self._first_turn = index + 1
                return

    def _in_turn(self) -> Iterator[tuple[int, Part]]:
        """All logs, from the one whose turn it is on."""
        both = list(enumerate(self._parts))
        yield from both[self._first_turn :]
        yield from both[: self._first_turn]

    def _collect(self) -> None:
        for index, part in self._in_turn():
            if self._due_bytes >= READ_BYTES or self._is_detached:
                break
            self._deliver(index, part.ready())
            # A busy log may fill each turn: the next turn begins with the log after it.
            self._first_turn = index + 1

    def _deliver(self, index: int, records: Sequence[PartRecord]) -> None:
        for record in records:
            self._due.append((index, record))
            if isinstance(record, Batch):
                self._due_bytes += record.weight
            elif isinstance(record, Detached):
                self._is_detached = True


def _time_of_end(places: Sequence[LogPlace]) -> float:
    """When no line can come any more that one of the selections asks for, on Trio's clock."""
    latest = max((place.selection.until or math.inf for place in places), default=math.inf)
    left = (latest - now()) / 1_000_000 + UNTIL_SLACK
    return trio.current_time() + max(0.0, left)
