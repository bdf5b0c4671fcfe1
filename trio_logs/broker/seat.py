"""The link between a reader and the topic that tells it of new lines."""

from __future__ import annotations

import math
from typing import Self

from ..records import Reset
from .bell import Bell
from .group import Group, Outlet
from .topic import Life, Topic
from .topics import Topics

__all__ = ["Seat"]


class Seat:
    """While its block runs, the topic of the log tells the reader of new lines. When the log gets
    another owner, another topic takes the place of this one, and the reader moves to it.

    `position` is that of the next line; None stands for new lines only.
    """

    def __init__(
        self, topics: Topics, workload_id: str, position: int | None, bell: Bell | None
    ) -> None:
        self._topics = topics
        self._workload_id = workload_id
        self._topic: Topic
        # The number of the next line, and of the first one that was asked for.
        self._cursor = self._first = position
        self._reset: Reset | None = None
        self._group: Group | None = None
        self._outlet: Outlet | None = None
        self._port = 0
        self._owns_bell = bell is None
        self._bell = Bell() if bell is None else bell

    def __enter__(self) -> Self:
        self._topic = topic = self._topics.acquire(self._workload_id)
        self._join(topic)
        if self._cursor is None and topic.life is not Life.UNKNOWN:
            self._cursor = self._first = topic.head + 1
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._leave(self._topic)
        if self._owns_bell:
            self._bell.close()

    def _join(self, topic: Topic) -> None:
        topic.audience.add(self)
        self._topics.attend(topic)

    def _leave(self, topic: Topic) -> None:
        topic.audience.discard(self)
        self._topics.attend(topic)
        self._topics.release(topic)

    def _follow(self, successor: Topic) -> None:
        """The log has another owner: go on with the topic that took the place of this one."""
        topic, self._topic = self._topic, successor
        self._topics.hold(successor)
        self._join(successor)
        if self._outlet is not None:
            self.write_to(self._outlet, self._port)
        if self._cursor is not None and topic.kept < self.position <= topic.head:
            self._reset = Reset(
                "beyond_head",
                f"the store has lost the lines after {topic.kept}, and others may have taken their"
                " place; the log follows from the first line asked for",
            )
        self._leave(topic)

    def ring(self) -> bool:
        return self._bell.ring()

    @property
    def topic(self) -> Topic:
        return self._topic

    @property
    def position(self) -> int:
        """The number of the last line that was delivered; valid once the log was looked up."""
        assert self._cursor is not None
        return self._cursor - 1

    def move(self, position: int) -> None:
        self._cursor = position

    def write_to(self, outlet: Outlet, port: int) -> None:
        """Have the publisher write new lines to this port while `receive` waits.

        If the port takes a write at once, the reader need not wake, which would cost many times as
        much. No two subscriptions may have the same port of equal outlets. Call it after `load`.
        """
        self._outlet, self._port = outlet, port
        self._group = self._topic.audience.group(outlet)

    @property
    def written_at(self) -> float:
        """When the publisher last wrote to the port, on Trio's clock; -inf if that is unknown."""
        group = self._group
        return -math.inf if group is None or self.position < self._topic.head else group.written_at

    async def _wait(self) -> None:
        """Wait for a ring, at the head as a member of the group."""
        if self._group is None or self._cursor != self._topic.head + 1:
            await self._bell.wait()
            return
        self._group.join(self._port, self, self._topic.head)
        try:
            await self._bell.wait()
        finally:
            self._cursor, _ = self._group.leave(self._port)
