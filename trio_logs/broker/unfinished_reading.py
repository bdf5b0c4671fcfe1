"""A reading whose client also sees lines that have not ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self

import trio

from ..records import Batch, Detached, End, Gap, Stop, now
from .group import Outlet
from .pending import Found
from .reading import Reading
from .screen import BLANK, Screen
from .subscription import Subscription
from .topic import Topic
from .unfinished import texts_of

__all__ = ["UnfinishedReading", "UnfinishedSubscription"]


class UnfinishedSubscription(Subscription):
    """The subscription of a reading that asks for unfinished lines: `receive` also returns, without
    a record, when the reading has to take a round. Only the reading knows its filter.

    `screen` is what the client shows; None until the reader is at the head. `rests` are those of
    the last `load`. `watches`: the reader follows, so it takes rounds. `needs_rests`: it does not
    follow, and shows the rests behind its last line.
    """

    screen: Screen | None = None
    rests: Mapping[str, bytes] = {}
    watches = False
    needs_rests = False

    async def load(
        self, *, settled: bool = False, after: int | Literal["end"] | None = None
    ) -> int:
        await super().load(settled=settled, after=after)
        if self.needs_rests and self._topic.extender is not None:
            await self._topic.extender.show()
        # In one step: these rests are behind the head.
        self.rests = self._topic.unfinished.rests
        return self._topic.head

    def _follow(self, successor: Topic) -> None:
        before = self._topic.unfinished
        super()._follow(successor)
        if before.unwatch(self):
            successor.unfinished.watch(self)
        if self.screen is not None:
            # The client shows what it showed; the rounds of the successor have other numbers.
            self.screen = Screen(-1, self.screen.texts)

    def write_to(self, outlet: Outlet, port: int) -> None:
        self._outlet, self._port = outlet, port
        self._group = self._topic.audience.group(outlet, shows=True)

    @property
    def is_round_due(self) -> bool:
        topic = self._topic
        if not self.watches or self._cursor != topic.head + 1 or topic.end is not None:
            return False
        return self.screen is None or self.screen.round != topic.unfinished.screen.round

    async def _wait(self) -> None:
        group, screen, head = self._group, self.screen, self._topic.head
        at_head = self._cursor == head + 1
        if group is None or screen is None or not at_head or not group.accepts(screen):
            await self._bell.wait()
            return
        group.join(self._port, self, head, screen)
        try:
            await self._bell.wait()
        finally:
            self._cursor, self.screen = group.leave(self._port)


class UnfinishedReading(Reading):
    """A reading with lines that have not ended, as `Unfinished`: the filter and the stream of its
    selection apply to them, too.

    A reader that follows gets them at the head, four times a second at most. The text is cleared
    before the last record unless that is `Detached`. A reader that does not follow gets those right
    behind its last line.
    """

    _subscription: UnfinishedSubscription

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._subscription.watches = self._follow
        self._subscription.needs_rests = not self._follow
        # What a reader that does not follow has yet to get.
        self._rests: Mapping[str, bytes] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        if self._follow:
            self._subscription.topic.unfinished.watch(self._subscription)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._subscription.topic.unfinished.unwatch(self._subscription)
        super().__exit__(*exc_info)

    async def receive(self) -> Sequence[Found]:
        try:
            found = await super().receive()
        except trio.EndOfChannel:
            if cleared := self._clear():
                return cleared
            raise
        return self._noted(found)

    def ready(self) -> Sequence[Found]:
        if found := super().ready():
            return self._noted(found)
        target = self._target()
        if target is None or not self.selection.chooses_quickly(target.texts):
            return ()
        return self._show(target, self.selection.choose(target.texts))

    async def _begin(self) -> Sequence[Found]:
        found = await super()._begin()
        if not self._follow and self._stop_after is not None:
            # The unfinished line would get this number, and a time from now on.
            number, last, until = self._stop_after + 1, self.selection.last, self.selection.until
            is_late = (last is not None and number > last) or (until is not None and until < now())
            self._rests = (
                self._subscription.rests if self._start.first <= number and not is_late else {}
            )
        return found

    def _stop(self) -> Sequence[Found]:
        # `_next` delivers the rests first.
        return () if self._is_rest_due else super()._stop()

    async def _next(self) -> Sequence[Found]:
        if self._is_rest_due:
            await trio.lowlevel.checkpoint()
            texts = await self._choose(texts_of(self._rests))
            self._rests = {}
            return BLANK.changes(Screen(0, texts))
        if self._target() is None:
            return await super()._next()
        return await self._receive_round()

    async def _receive_round(self) -> Sequence[Found]:
        await trio.lowlevel.checkpoint()
        target = self._target()
        if target is None:
            return ()
        texts = await self._choose(target.texts)
        # Lines may have come meanwhile: the reader gets these first.
        return self._show(target, texts) if self._target() is target else ()

    @property
    def _is_rest_due(self) -> bool:
        pending, subscription, last = self._pending, self._subscription, self._stop_after
        if not self._rests or pending is None or last is None:
            return False
        is_over = subscription.is_over and subscription.head <= last
        lacks_lines = pending.next_line is not None or subscription.position < last
        return pending.picker.next is None and not lacks_lines and not is_over

    def _target(self) -> Screen | None:
        """The round that this reader has to take now, if there is one."""
        subscription = self._subscription
        if self._pending is None or self._pending or not subscription.is_round_due:
            return None
        lines = subscription.topic.unfinished
        if subscription.screen is None:
            # All readers get unfinished lines in rounds, so no reader gets more than four a second.
            subscription.screen = Screen(lines.screen.round)
            if lines.rests:
                lines.request()
            return None
        return lines.screen

    async def _choose(self, texts: Mapping[str, str]) -> Mapping[str, str]:
        if self.selection.chooses_quickly(texts):
            return self.selection.choose(texts)
        return await self._searches.call(partial(self.selection.choose, texts))

    def _show(self, target: Screen, texts: Mapping[str, str]) -> Sequence[Found]:
        before, after = self._subscription.screen or BLANK, Screen(target.round, texts)
        self._subscription.screen = after
        return before.changes(after)

    def _noted(self, found: Sequence[Found]) -> Sequence[Found]:
        """Note what the client shows after these records. Clear the rest before the last one."""
        screen = self._subscription.screen
        if screen is None or not screen.texts:
            return found
        streams = [record.stream for record in found if isinstance(record, Batch)]
        self._subscription.screen = screen.without(streams)
        match found[-1]:
            case Detached():
                # The client resumes, and goes on to show it.
                self._clear()
            case End() | Stop() | Gap(reason="deleted"):
                return [*found[:-1], *self._clear(), found[-1]]
        return found

    def _clear(self) -> Sequence[Found]:
        screen = self._subscription.screen or BLANK
        self._subscription.screen = Screen(screen.round)
        return screen.changes(BLANK)
