"""The guard of a source: it watches the log in the shared store, also while nothing is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import trio

from ..errors import StoreError
from ..store import LogState, LogStore
from ..store.shared import ASKED_SECONDS
from .looks import Looks
from .news import News
from .retries import until_done
from .shown import encode
from .topic import Topic

__all__ = ["Guard"]

LOOK_SECONDS = 15.0
"""Seconds from one look at the store to the next, at most. A notification tells of a new owner at
once, but may be lost. An append finds the new owner, too, but the workload may write nothing."""

SHOW_SECONDS = 1.0
"""Seconds from one message about unfinished lines to the next, at least."""


class Guard:
    """Calls `fence` once another node owns the log. If a failover has lost lines, it has the source
    store them again. While another node asks for unfinished lines, it tells what they are."""

    def __init__(
        self,
        topic: Topic,
        store: LogStore,
        news: News,
        looks: Looks,
        fence: Callable[[], object],
    ) -> None:
        self._topic = topic
        self._store = store
        self._news = news
        self._fence = fence
        self._looks = looks
        # Until when another node asks, on Trio's clock; set anew with each question.
        self._asked_until = -math.inf
        self._asked = trio.Event()

    def ring(self) -> bool:
        return self._looks.ring()

    def asked(self) -> None:
        self._asked_until = trio.current_time() + ASKED_SECONDS
        self._asked.set()
        self._asked = trio.Event()

    def shown(self, content: bytes) -> None:
        """Ignored: this node owns the log, so it knows the unfinished lines itself."""

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            with self._news.heard_by(self._topic.workload_id, self):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._show)
                    await until_done(partial(self._news.watch, self._topic.workload_id))
                    while True:
                        await self._look()
                        await self._looks.wait(LOOK_SECONDS)
        finally:
            self._looks.close()

    async def _look(self) -> None:
        topic = self._topic
        self._looks.begin()
        # Lines that are stored during the look are not missing.
        known = topic.durable
        state = await until_done(partial(self._store.log, topic.workload_id))
        # A new log comes with its first append. One that has had an owner is deleted, or lost.
        state = state or LogState()
        if state.epoch != topic.state.epoch:
            self._fence()
        elif state.lines < known and topic.extender is not None:
            topic.extender.fall_behind(state.lines)
        self._looks.lines = state.lines
        self._looks.finish()

    async def _show(self) -> None:
        topic = self._topic
        while True:
            await self._asked.wait()
            told, asked = b"", None
            while trio.current_time() < self._asked_until:
                content = encode(topic.head, topic.unfinished.rests)
                # A node that has just asked may still show earlier texts: answer it in any case.
                is_new = asked is not self._asked
                if is_new or (topic.unfinished.rests and content != told):
                    told, asked = content, self._asked
                    with trio.move_on_after(SHOW_SECONDS), suppress(StoreError):
                        await self._news.show(topic.workload_id, content)
                await trio.sleep(SHOW_SECONDS)
