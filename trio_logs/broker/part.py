"""One log of several that are read together: its place, and its next records."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

import trio

from ..errors import WorkloadNotFoundError
from ..records import Batch, End, Gap, Position
from .history import READ_BYTES
from .places import Gone, LogPlace, PartRecord
from .stages import StagedReading

__all__ = ["Part"]


class Part:
    """One of several logs. It is read in stages: what is stored at first, then new lines as memory
    gets them, and again what is stored when the reader has fallen behind.

    `time` is when the next record arrived, in microseconds since the Unix epoch, or None if that is
    unknown. It is 0 for a record without lines, which follows the record before it at once. `room`:
    bytes that may be held of records whose turn has not come.
    """

    def __init__(self, place: LogPlace, reading: StagedReading, *, room: int) -> None:
        self.time: int | None = None
        # Bound: one row, and `room` bytes of rows after it.
        self.held: deque[PartRecord] = deque()
        self.ended = place.ended
        # Whether nothing is left of this stage.
        self.caught_up = place.ended
        self.follows = False
        self._is_located = place.ended
        self._start = place.after if isinstance(place.after, int) else 0
        self._room = room
        self._reading = reading
        reading.read_at_once(room)

    def open(self) -> None:
        """Hold the log in memory from now on."""
        if not self.ended:
            self._reading.__enter__()

    def close(self) -> None:
        """Let go of the log."""
        self._end()

    @property
    def place(self) -> int | Literal["end"]:
        """The number before the next line due, or "end"; before `locate`, where it was to start."""
        if self.ended:
            return "end"
        if self.held and isinstance(self.held[0], Batch | Gap):
            return self.held[0].first - 1
        position = self._reading.position
        return self._start if position is None else position

    async def locate(self) -> None:
        """Find the first line that is asked for. Raises StoreError. It may be called again."""
        if self._is_located:
            return
        try:
            self._accept(await self._reading.locate())
        except WorkloadNotFoundError:
            self._accept([Gone()])
        self._is_located = True

    async def look(self) -> None:
        """Find the next record of this stage, unless it is held; if there is none, the log has
        `caught_up`. Raises StoreError. A cancelled call loses nothing."""
        while not self.held and not self.caught_up:
            try:
                self._accept(await self._reading.receive())
            except trio.EndOfChannel:
                self.caught_up = True
        self._look_at_first()

    def _look_at_first(self) -> None:
        self.time = None
        if self.held:
            first = self.held[0]
            self.time = first.time if isinstance(first, Batch) else 0

    def _accept(self, records: Sequence[PartRecord]) -> None:
        for record in records:
            # The caller asks for the place when it needs it.
            if not isinstance(record, Position):
                self.held.append(record)
            if isinstance(record, Gap) and record.reason == "deleted":
                self.held.append(Gone())

    def take(self) -> list[PartRecord]:
        """Hand out the next record, and the records without lines right behind it."""
        taken = [self.held.popleft()]
        while self.held and not isinstance(self.held[0], Batch):
            taken.append(self.held.popleft())
        self._look_at_first()
        self._note_end(taken)
        return taken

    def take_all(self) -> list[PartRecord]:
        """Hand out all records that are held."""
        taken = [*self.held]
        self.held.clear()
        self._note_end(taken)
        return taken

    def _note_end(self, taken: Sequence[PartRecord]) -> None:
        if taken and isinstance(taken[-1], End | Gone):
            self._end()

    def _end(self) -> None:
        self.time = None
        self.held.clear()
        if not self.ended:
            self.ended = self.caught_up = True
            self._reading.__exit__(None, None, None)

    def trim(self) -> None:
        """Hold no more than there is room for; `time` stays known."""
        self._let_go(self._room)

    def drop(self) -> None:
        """Let go of all rows, as another reader needs the room; `time` stays known."""
        self._let_go(0)

    def _let_go(self, room: int) -> None:
        for kept, record in enumerate(self.held):
            if isinstance(record, Batch):
                room -= record.weight
                if room < 0:
                    dropped = [self.held.pop() for _ in range(len(self.held) - kept)]
                    self._reading.rewind(record.first, dropped)
                    return

    def begin_stage(self, *, follow: bool) -> None:
        """Go on, with what is stored now, or with what memory gets. All records were taken."""
        self.follows = follow
        self.caught_up = False
        # Nothing is held for later any more.
        self._reading.read_at_once(READ_BYTES)
        self._reading.go_on(follow=follow)

    async def receive_round(self) -> Sequence[PartRecord]:
        """The unfinished lines that are due and that `ready` leaves out; perhaps none."""
        return await self._reading.receive_round() if self._reading.has_round else ()

    def ready(self) -> Sequence[PartRecord]:
        """The next records that memory has, if this stage follows."""
        if not self.follows or self.ended:
            return ()
        self._accept(self._reading.ready())
        return self.take_all()

    @property
    def is_behind(self) -> bool:
        """Whether the log has lines that are neither held nor were handed out."""
        return not self.ended and self._reading.is_behind
