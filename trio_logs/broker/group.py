"""Readers who wait at the head of one log, and are sent to all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from ..records import Batch
from .counters import Counters

if TYPE_CHECKING:
    from .subscription import Subscription
    from .topic import Topic

__all__ = ["Group", "Render", "SendEach"]

Render = Callable[[Batch], Any]

SendEach = Callable[[Sequence[int], Any], Sequence[int]]

TARGETS_AT_ONCE = 64
"""Targets that are sent to in one step: about a millisecond."""


class Group:
    """Its members have all lines up to the head, so nothing is kept for each, nor looked at when a
    line comes: of a thousand readers that wait, no object is in the caches of the CPU, and to fetch
    some of each would cost half as much as the system call."""

    def __init__(
        self, topic: Topic, render: Render, send_each: SendEach, counters: Counters
    ) -> None:
        self._topic = topic
        self._render = render
        self._send_each = send_each
        self._counters = counters
        self._members: dict[int, Subscription] = {}
        # While lines are sent: the members who do not have them yet, and the first of these lines.
        self._behind: set[int] = set()
        self._first = 0

    def add(self, target: int, member: Subscription) -> None:
        """Take in a reader that has all lines up to the head."""
        self._members[target] = member
        self._topic.listening.discard(member)

    def discard(self, target: int) -> None:
        """Let go of a member, if it is one still, with the line where it goes on."""
        if target in self._behind:
            self._behind.remove(target)
            self._release(target, self._first)
        elif target in self._members:
            self._release(target, self._topic.head + 1)

    def _release(self, target: int, position: int) -> None:
        member = self._members.pop(target)
        member.move(position)
        self._topic.listening.add(member)

    def begin(self, published: Sequence[Batch]) -> None:
        """The head moves past these, in the same step."""
        self._first = published[0].first
        self._behind.update(self._members)

    async def send(self, published: Sequence[Batch]) -> None:
        """Send them to the members. Who can't be sent to now is a member no more, but listens."""
        bodies = [self._render(batch) for batch in published] if self._behind else []
        while self._behind:
            # Those who leave before it is their turn are no more among them.
            count = min(TARGETS_AT_ONCE, len(self._behind))
            targets = [self._behind.pop() for _ in range(count)]
            for batch, body in zip(published, bodies, strict=True):
                for target in self._send_each(tuple(targets), body):
                    targets.remove(target)
                    self._release(target, batch.first)
                self._counters.lines_delivered += batch.count * len(targets)
                self._counters.bytes_delivered += len(batch.data) * len(targets)
                self._counters.batches_pushed += len(targets)
            await trio.lowlevel.checkpoint()
