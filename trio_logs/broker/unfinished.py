"""Lines that have not ended: what the readers at the head of a log are shown of them.

The source leaves the rests of its streams with the topic, by reference. While a reader asks for
them, a pacing task shows them in rounds.

An unfinished line never overtakes lines: the source leaves the rests in the step that publishes the
lines before them. So while the store fails, both wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import trio

from ..rests import rest_text
from .audience import Audience
from .bell import Listener
from .screen import BLANK, Screen
from .tasks import Tasks

__all__ = ["PERIOD", "UnfinishedLines", "texts_of"]

PERIOD = 0.25
"""Seconds from one round to the next, at least."""


class UnfinishedLines:
    """The unfinished lines of one log.

    `rests` are the bytes after the last newline, by stream, as of the head. `screen` is what the
    newest round has shown, without the lines that have ended since.
    """

    def __init__(self, workload_id: str, audience: Audience, tasks: Tasks) -> None:
        # Bound: for each stream, what its splitter holds, which is the same object.
        self.rests: Mapping[str, bytes] = {}
        self.screen = BLANK
        self._workload_id = workload_id
        self._audience = audience
        self._tasks = tasks
        # Called when a reader begins to ask for unfinished lines.
        self.on_watch: Callable[[], object] = _ignore
        # The readers that ask for them.
        self._watchers: set[Listener] = set()
        self._pacing = trio.CancelScope()
        # Set while a round is due.
        self._due = trio.Event()
        # Whether the next round takes place even if all texts are the same.
        self._is_wanted = False
        # The earliest time of the next round, on Trio's clock.
        self._next_at = -math.inf

    def leave(self, rests: Mapping[str, bytes]) -> None:
        """The streams end in these rests now, behind all published lines."""
        if self._watchers and rests != self.rests:
            self._due.set()
        self.rests = rests

    def replace(self, streams: Iterable[str]) -> None:
        """Lines of these streams are published while `screen` has texts. Each line replaces the
        text of its stream."""
        self.screen = self.screen.without(streams)
        # A filter may hide the line; then only a round clears what the client shows.
        self.request()

    def request(self) -> None:
        """Have a round take place."""
        self._is_wanted = True
        self._due.set()

    def watch(self, listener: Listener) -> None:
        """Run rounds for this reader, until `unwatch`."""
        if not self._watchers and self._tasks.accepts:
            self._pacing = trio.CancelScope()
            name = f"unfinished lines of {self._workload_id}"
            self._tasks.start(self._pace, self._pacing, name=name)
        self._watchers.add(listener)
        self.on_watch()

    @property
    def are_watched(self) -> bool:
        """Whether a reader asks for unfinished lines."""
        return bool(self._watchers)

    def unwatch(self, listener: Listener) -> bool:
        """Run no more rounds for this reader; return whether it watched."""
        watched = listener in self._watchers
        self._watchers.discard(listener)
        if not self._watchers:
            self._pacing.cancel(reason="no reader asks for unfinished lines any more")
            self.screen = Screen(self.screen.round)
        return watched

    async def _pace(self, scope: trio.CancelScope) -> None:
        """Run rounds: the first change at once, later ones after a period."""
        with scope:
            while True:
                await self._due.wait()
                await trio.sleep_until(self._next_at)
                if self._begin():
                    for group in self._audience.showing:
                        while not await group.show(self.screen):
                            await group.all_sent()
                    await self._audience.ring(self._watchers)

    def _begin(self) -> bool:
        """Begin a round; False if there is nothing new to show."""
        self._due = trio.Event()
        # Also after a look that finds nothing new: changes that do not show cost no more.
        self._next_at = trio.current_time() + PERIOD
        is_wanted, self._is_wanted = self._is_wanted, False
        texts = texts_of(self.rests)
        if not is_wanted and texts == self.screen.texts:
            return False
        self.screen = Screen(self.screen.round + 1, texts)
        return True


def _ignore() -> None:
    """The source leaves the rests in any case."""


def texts_of(rests: Mapping[str, bytes]) -> dict[str, str]:
    """What the streams show now, by stream; streams that show nothing are left out."""
    texts = {stream: rest_text(rest) for stream, rest in rests.items()}
    return {stream: text for stream, text in texts.items() if text}
