"""How the readers of a log are woken."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Protocol

import trio

from .counters import Counters

__all__ = ["Bell", "Listener", "Listeners"]

AT_ONCE = 64
"""Listeners rung in one step: about a millisecond."""


class Listener(Protocol):
    """A reader that waits for new lines or the end."""

    def ring(self) -> bool:
        """Wake the reader, without waiting; False if an earlier ring is still unanswered."""


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


class Listeners:
    """The readers of one log, and those of them to ring for news."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._everyone: set[Listener] = set()
        # All but the members of groups.
        self._listening: set[Listener] = set()

    def __len__(self) -> int:
        return len(self._everyone)

    def add(self, listener: Listener) -> None:
        """Tell this reader of news from now on."""
        self._everyone.add(listener)
        self._listening.add(listener)

    def discard(self, listener: Listener) -> None:
        """Stop telling this reader."""
        self._everyone.discard(listener)
        self._listening.discard(listener)

    def hush(self, listener: Listener) -> None:
        """The listener joined a group, so it is not rung for news."""
        self._listening.discard(listener)

    def listen(self, listener: Listener) -> None:
        """The listener left its group."""
        if listener in self._everyone:
            self._listening.add(listener)

    async def ring(self, chosen: Iterable[Listener] | None = None) -> None:
        """Ring all readers but the members of groups; with `chosen`, only those of them."""
        await self._ring(self._listening if chosen is None else chosen, self._listening)

    async def ring_everyone(self) -> None:
        """Ring every reader, members of groups too."""
        await self._ring(self._everyone, self._everyone)

    def ring_all(self) -> None:
        """Ring every reader in one step."""
        for listener in self._everyone:
            listener.ring()

    async def _ring(self, chosen: Iterable[Listener], among: AbstractSet[Listener]) -> None:
        # A reader that arrives meanwhile looks by itself before it waits.
        for count, listener in enumerate(tuple(chosen), 1):
            # A reader that left meanwhile is no longer in the set.
            if listener in among and not listener.ring():
                self._counters.rings_skipped += 1
            if count % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
