"""Streams that wait at the head of a log, and that a publisher writes to directly.

A stream that waits at the head has every line up to it. So a publisher can write the next chunk to
all such streams in its own step, and no task of a stream wakes. That wake-up costs many times as
much as the write.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import trio

from ..records import Batch, Position, Unfinished
from .bell import Listener, Listeners
from .counters import Counters
from .screen import BLANK, Screen

__all__ = ["POSITION_BYTES", "Group", "Outlet"]

POSITION_BYTES = 4 * 1024 * 1024
"""Bytes of hidden lines after which a reader gets its position, so that a resume does not search
them again."""

AT_ONCE = 64
"""Streams written to in one step: about a millisecond."""


class Outlet(Protocol):
    """A way to write to many streams at once, in one wire form.

    Streams with equal outlets are written to together. All methods are quick, do not wait and
    raise nothing.
    """

    def render(self, batch: Batch) -> bytes | None:
        """The batch in the wire form of these streams; empty if it has no bytes for them. None if
        that takes too long for the publisher's step: then each reader does it by itself."""

    def choose(self, texts: Mapping[str, str]) -> Mapping[str, str] | None:
        """Those of the unfinished lines, by stream, that these streams show; None as above."""

    def control(self, record: Position | Unfinished) -> bytes:
        """The wire form of the record; may be empty."""

    def send_each(self, ports: Sequence[int], chunk: bytes) -> Sequence[int]:
        """Write the chunk, which is not empty, to each port. Return the ports that can't take it at
        the moment."""


class Group:
    """Streams that wait at the head, with the same outlet.

    Members are at the head, so publishing reads only their port numbers. Touching 1,000 reader
    objects would cost cache misses worth half a system call each.

    With `shows`, the members ask for unfinished lines, which come in rounds. All clients show the
    same then, so one chunk fits all.
    """

    def __init__(self, listeners: Listeners, outlet: Outlet, *, shows: bool = False) -> None:
        self.shows = shows
        self._listeners = listeners
        self._outlet = outlet
        self._members: dict[int, Listener] = {}
        # The next line of each member that is in none of the sets below, and what its client shows.
        self._next = 1
        self._screen = BLANK
        # While a round is sent: the members that lack it, and what their clients show.
        self._due: set[int] = set()
        self._screen_of_due = BLANK
        self._round = b""
        # While lines are sent: the members that still lack them, the number of the first one, and
        # what their clients show. A member that also lacks a round gets the round first.
        self._behind: set[int] = set()
        self._first = 0
        self._screen_of_behind = BLANK
        # Set once all members have the lines, for a round that waits for that.
        self._sent: trio.Event | None = None
        # Bytes of hidden lines since the last chunk.
        self._hidden = 0
        # When lines or a position were last written, on Trio's clock.
        self.written_at = -math.inf
        # Members whose ports did not take a write: the first line that each lacks, and what its
        # client shows.
        self._refused: dict[int, tuple[int, Screen]] = {}

    def accepts(self, screen: Screen) -> bool:
        """Whether a reader at the head whose client shows this can join."""
        if not self.shows:
            return True
        is_busy = self._due or self._behind
        return not is_busy and (not self._members or screen == self._screen)

    def join(self, port: int, listener: Listener, head: int, screen: Screen = BLANK) -> None:
        """Add a reader that has every line up to the head. It must wait for its bell now, and
        leave when it wakes, however it wakes. The group must accept what its client shows."""
        self._members[port] = listener
        self._next = head + 1
        self._screen = screen
        self._listeners.hush(listener)

    def leave(self, port: int) -> tuple[int, Screen]:
        """Remove a member; return the number of the first line that it lacks, and what its client
        shows."""
        self._listeners.listen(self._members.pop(port))
        place = self._place(port)
        self._due.discard(port)
        self._behind.discard(port)
        self._refused.pop(port, None)
        return place

    def _place(self, port: int) -> tuple[int, Screen]:
        if port in self._refused:
            return self._refused[port]
        is_behind = port in self._behind
        line = self._first if is_behind else self._next
        if port in self._due:
            return line, self._screen_of_due
        return line, self._screen_of_behind if is_behind else self._screen

    def release(self) -> None:
        """Write nothing more to the members: each goes on by itself."""
        for port in self._members:
            if port not in self._refused:
                line, screen = self._place(port)
                self._due.discard(port)
                self._refuse(port, line, screen)

    def begin(self, published: Sequence[Batch]) -> None:
        """The head moves past these batches, in the same step."""
        self._first = published[0].first
        self._next = published[-1].last + 1
        self._screen_of_behind = self._screen
        self._behind.update(self._members)
        # A refused member was rung, but its task has not run yet: it reads the lines by itself.
        self._behind.difference_update(self._refused)

    async def send(self, published: Sequence[Batch], counters: Counters) -> None:
        """Write the batches to the members; ring the members whose ports can't take them now."""
        if self._due:
            await self._send_round()
        if self._behind:
            await self._send_lines(published, counters)
        if self._sent is not None:
            self._sent.set()

    async def _send_lines(self, published: Sequence[Batch], counters: Counters) -> None:
        chunks = []
        # What the clients show before each batch.
        screens = []
        screen = self._screen_of_behind
        for batch in published:
            screens.append(screen)
            chunk = self._outlet.render(batch)
            if chunk and screen.texts:
                screen = screen.without([batch.stream])
            chunks.append(self._or_position(chunk, batch))
        self._screen = screen
        if any(chunks):
            self.written_at = trio.current_time()
        if None in chunks:
            for port in tuple(self._behind):
                self._refuse(port, self._first, self._screen_of_behind)
        while self._behind:
            # A member that leaves before its turn is no longer in the set.
            count = min(AT_ONCE, len(self._behind))
            ports = [self._behind.pop() for _ in range(count)]
            for batch, chunk, screen in zip(published, chunks, screens, strict=True):
                if chunk:  # An empty chunk would be the terminal chunk, which ends the answer.
                    for port in self._outlet.send_each(tuple(ports), chunk):
                        ports.remove(port)
                        self._refuse(port, batch.first, screen)
                counters.lines_delivered += batch.count * len(ports)
                counters.bytes_delivered += len(batch.data) * len(ports)
                counters.batches_pushed += len(ports)
            await trio.lowlevel.checkpoint()

    def _or_position(self, chunk: bytes | None, batch: Batch) -> bytes | None:
        """What to write for a batch. After 4 MiB of hidden lines, that is the position."""
        if chunk == b"":
            self._hidden += len(batch.data)
            if self._hidden >= POSITION_BYTES:
                chunk = self._outlet.control(Position(batch.last))
        if chunk != b"":
            self._hidden = 0
        return chunk

    async def show(self, target: Screen) -> bool:
        """Have all clients show this. False, without doing it, while members lack lines: wait for
        `all_sent`, and call it again with what is to be shown then."""
        if self._behind:
            return False
        self._begin_round(target)
        await self._send_round()
        return True

    async def all_sent(self) -> None:
        """Wait until no member lacks lines."""
        if self._behind:
            if self._sent is None or self._sent.is_set():
                self._sent = trio.Event()
            await self._sent.wait()

    def _begin_round(self, target: Screen) -> None:
        if not self._members:
            return
        texts = self._outlet.choose(target.texts)
        if texts is None:
            for port in self._members:
                if port not in self._refused:
                    self._refuse(port, self._next, self._screen)
            return
        self._screen_of_due, self._screen = self._screen, Screen(target.round, texts)
        changes = self._screen_of_due.changes(self._screen)
        self._round = b"".join([self._outlet.control(line) for line in changes])
        if self._round:
            self._due.update(self._members)
            self._due.difference_update(self._refused)

    async def _send_round(self) -> None:
        while self._due:
            ports = [self._due.pop() for _ in range(min(AT_ONCE, len(self._due)))]
            for port in self._outlet.send_each(tuple(ports), self._round):
                line = self._first if port in self._behind else self._next
                self._refuse(port, line, self._screen_of_due)
            await trio.lowlevel.checkpoint()

    def _refuse(self, port: int, line: int, screen: Screen) -> None:
        """A port did not take a write, so its member goes on from here by itself."""
        self._behind.discard(port)
        self._refused[port] = line, screen
        self._members[port].ring()
