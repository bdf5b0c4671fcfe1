"""The guard of a source: a look at who owns its log, also while nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import trio

from ..store import LogStore
from .bell import Bell
from .news import News
from .retries import until_done
from .topic import Topic

__all__ = ["guard"]

LOOK_SECONDS = 15.0
"""Seconds from one look at the store to the next, at most. Each append is such a look, too, and
news tells of a new owner at once, but it may be lost."""


async def guard(topic: Topic, store: LogStore, news: News, fence: Callable[[], object]) -> None:
    """Call `fence` once another node owns the log. If a failover has lost lines, have the source
    store them again. Runs until cancelled."""
    bell = Bell()
    with news.heard_by(topic.workload_id, bell):
        await until_done(partial(news.watch, topic.workload_id))
        while True:
            # Lines that are stored during the look are not missing.
            known = topic.durable
            state = await until_done(partial(store.log, topic.workload_id))
            # A new log comes with its first append.
            if state is not None and state.epoch != topic.state.epoch:
                fence()
            elif state is not None and state.lines < known and topic.extender is not None:
                topic.extender.fall_behind(state.lines)
            with trio.move_on_after(LOOK_SECONDS):
                await bell.wait()
