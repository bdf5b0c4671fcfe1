"""The readers of a log: new lines ring their bells, or are written to their streams directly.

A stream that waits at the head has every line up to it. So a publisher can write the next chunk to
all such streams in its own step, and no task of a stream wakes. That wake-up costs many times as
much as the write.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol
from weakref import WeakValueDictionary

import trio

from ..records import Batch
from .counters import Counters

__all__ = ["POSITION_BYTES", "Audience", "Bell", "Group", "Listener", "Outlet"]

POSITION_BYTES = 4 * 1024 * 1024
"""Bytes of hidden lines after which a reader gets its position, so that a resume does not search
them again."""

AT_ONCE = 64
"""Streams written to, or listeners rung, in one step: about a millisecond."""


class Listener(Protocol):
    """A reader that waits for new lines or the end."""

    def ring(self) -> bool:
        """Wake the reader, without waiting; False if an earlier ring is still unanswered."""


class Outlet(Protocol):
    """A way to write to many streams at once, in one wire form.

    Streams with equal outlets are written to together. Both methods are quick, do not wait and
    raise nothing.
    """

    def render(self, batch: Batch) -> bytes | None:
        """The batch in the wire form of these streams; empty if it has no bytes for them. None if
        that takes too long for the publisher's step: then each reader does it by itself."""

    def position(self, line: int) -> bytes:
        """The wire form of a `Position`; may be empty."""

    def send_each(self, ports: Sequence[int], chunk: bytes) -> Sequence[int]:
        """Write the chunk, which is not empty, to each port. Return the ports that can't take it at
        the moment."""


class Bell:
    """Wakes a reader: a channel of one item, which is full while a ring waits to be heard. A reader
    of several logs gives the same bell to each of its subscriptions."""

    def __init__(self) -> None:
        # Bound: 1 item, of no size. When it is full, a ring is skipped.
        self._rings, self._heard = trio.open_memory_channel[None](1)

    def ring(self) -> bool:
        """Wake the reader; False if a ring is already waiting."""
        try:
            self._rings.send_nowait(None)
        except trio.WouldBlock:
            return False
        return True

    async def wait(self) -> None:
        """Wait for a ring. A cancelled wait loses no ring."""
        await self._heard.receive()

    def close(self) -> None:
        """Close both ends."""
        self._rings.close()
        self._heard.close()


class Group:
    """Streams that wait at the head, with the same outlet.

    Members are at the head, so publishing reads only their port numbers. Touching 1,000 reader
    objects would cost cache misses worth half a system call each.
    """

    def __init__(self, audience: Audience, outlet: Outlet) -> None:
        self._audience = audience
        self._outlet = outlet
        self._members: dict[int, Listener] = {}
        # The next line of each member that is neither in `_behind` nor in `_refused`.
        self._next = 1
        # While lines are sent: the members that still lack them, and the number of the first one.
        self._behind: set[int] = set()
        self._first = 0
        # Bytes of hidden lines since the last chunk.
        self._hidden = 0
        # When a chunk was last written, on Trio's clock.
        self.written_at = -math.inf
        # Members whose ports did not take a write, and the first line that each lacks.
        self._refused: dict[int, int] = {}

    def join(self, port: int, listener: Listener, head: int) -> None:
        """Add a reader that has every line up to the head. It must wait for its bell now, and
        leave when it wakes, however it wakes."""
        self._members[port] = listener
        self._next = head + 1
        self._audience.hush(listener)

    def leave(self, port: int) -> int:
        """Remove a member; return the number of the first line that it lacks."""
        self._audience.listen(self._members.pop(port))
        if port in self._behind:
            self._behind.remove(port)
            return self._first
        return self._refused.pop(port, self._next)

    def begin(self, published: Sequence[Batch]) -> None:
        """The head moves past these batches, in the same step."""
        self._first = published[0].first
        self._next = published[-1].last + 1
        self._behind.update(self._members)
        # A refused member was rung, but its task has not run yet: it reads the lines by itself.
        self._behind.difference_update(self._refused)

    def _chunk(self, batch: Batch) -> bytes | None:
        """What to write for a batch. After 4 MiB of hidden lines, that is the position."""
        chunk = self._outlet.render(batch)
        if chunk == b"":
            self._hidden += len(batch.data)
            if self._hidden >= POSITION_BYTES:
                chunk = self._outlet.position(batch.last)
        if chunk != b"":
            self._hidden = 0
        return chunk

    def _refuse_all(self) -> None:
        """Have the members read the batches by themselves."""
        for port in self._behind:
            self._refused[port] = self._first
            self._members[port].ring()
        self._behind.clear()

    async def send(self, published: Sequence[Batch], counters: Counters) -> None:
        """Write the batches to the members; ring the members whose ports can't take them now."""
        if not self._behind:
            return
        chunks = [self._chunk(batch) for batch in published]
        if any(chunks):
            self.written_at = trio.current_time()
        if None in chunks:
            self._refuse_all()
        while self._behind:
            # A member that leaves before its turn is no longer in the set.
            count = min(AT_ONCE, len(self._behind))
            ports = [self._behind.pop() for _ in range(count)]
            for batch, chunk in zip(published, chunks, strict=True):
                if chunk:  # An empty chunk would be the terminal chunk, which ends the answer.
                    for port in self._outlet.send_each(tuple(ports), chunk):
                        ports.remove(port)
                        self._refused[port] = batch.first
                        self._members[port].ring()
                counters.lines_delivered += batch.count * len(ports)
                counters.bytes_delivered += len(batch.data) * len(ports)
                counters.batches_pushed += len(ports)
            await trio.lowlevel.checkpoint()


class Audience:
    """The readers of one log."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._everyone: set[Listener] = set()
        # The readers to ring for new lines: all but the members of groups.
        self._listening: set[Listener] = set()
        # A group lives as long as a reader refers to it.
        self._groups: WeakValueDictionary[Outlet, Group] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._everyone)

    def add(self, listener: Listener) -> None:
        """Tell this reader of new lines from now on."""
        self._everyone.add(listener)
        self._listening.add(listener)

    def discard(self, listener: Listener) -> None:
        """Stop telling this reader."""
        self._everyone.discard(listener)
        self._listening.discard(listener)

    def group(self, outlet: Outlet) -> Group:
        """The group of the streams with this outlet. Keep the group while you may join it."""
        group = self._groups.get(outlet)
        if group is None:
            group = self._groups[outlet] = Group(self, outlet)
        return group

    def hush(self, listener: Listener) -> None:
        """The listener joined a group, so it is not rung for lines."""
        self._listening.discard(listener)

    def listen(self, listener: Listener) -> None:
        """The listener left its group."""
        if listener in self._everyone:
            self._listening.add(listener)

    def begin(self, published: Sequence[Batch]) -> None:
        """The head moves past these batches, in the same step."""
        for group in self._groups.values():
            group.begin(published)

    async def tell(self, published: Sequence[Batch]) -> None:
        """Write the batches to the streams that wait at the head, and ring all other readers."""
        for group in tuple(self._groups.values()):
            await group.send(published, self._counters)
        await self._ring(self._listening)

    async def tell_all(self) -> None:
        """Ring every reader, members of groups too: the log has ended."""
        await self._ring(self._everyone)

    def ring_all(self) -> None:
        """Ring every reader in one step."""
        for listener in self._everyone:
            listener.ring()

    async def _ring(self, listeners: set[Listener]) -> None:
        # A reader that arrives meanwhile looks by itself before it waits.
        for count, listener in enumerate(tuple(listeners), 1):
            # A reader that left meanwhile is no longer in the set.
            if listener in listeners and not listener.ring():
                self._counters.rings_skipped += 1
            if count % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
