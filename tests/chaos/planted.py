"""A node with a bug that the campaign must find: `trio-logs` with parts that are patched.

The variable TRIO_LOGS_CHAOS_PLANT names the bug.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import trio

from tests.chaos.nodes import PLANT
from trio_logs.broker import feed, news
from trio_logs.broker.feed import Feed, Verdict
from trio_logs.broker.retries import until_done
from trio_logs.cli import main
from trio_logs.store.appending import addition
from trio_logs.store.postgres import appends, quick

__all__ = ["PLANTS"]


def append_without_epoch() -> None:
    """The store takes appends of any owner: it looks at neither the epoch nor the owner."""
    check = appends._addition

    def careless(append: Any, log: Any, _: object) -> Any:
        if log is None:
            return check(append, log, None)
        return check(replace(append, epoch=log.epoch), log, log.owner)

    _replace(appends, "_addition", careless)
    usual = quick._APPEND.replace("AND logs.epoch = given.epoch", "")
    careless_too = usual.replace("owner IS NULL OR", "TRUE OR")
    assert len({quick._APPEND, usual, careless_too}) == 3
    _replace(quick, "_APPEND", careless_too)


def read_before_watch() -> None:
    """A feed reads the head, and has the log watched after that."""

    async def run(self: Feed) -> Verdict | None:
        topic = self._topic
        topic.unfinished.on_watch = self.ring
        try:
            with self._news.heard_by(topic.workload_id, self), self._scope:
                verdict = await self._look()
                # A slow network between the two.
                await trio.sleep(0.1)
                await until_done(partial(self._news.watch, topic.workload_id))
                while verdict is None:
                    await self._asking.ask()
                    await self._looks.wait(feed.LOOK_SECONDS)
                    verdict = await self._look()
                return verdict
        finally:
            self._looks.close()
        return None

    _replace(Feed, "run", run)


def no_second_look() -> None:
    """Each third bell is lost, and a feed looks at the store when it hears one only."""
    ring, numbers = news.News._ring, itertools.count()

    def deaf(self: news.News, workload_id: str | None) -> None:
        if next(numbers) % 3:
            ring(self, workload_id)

    _replace(feed, "LOOK_SECONDS", math.inf)
    _replace(news.News, "_ring", deaf)


def retry_that_doubles() -> None:
    """The store takes records that it has already for new ones."""

    def doubling(state: Any, records: Any, *, expected: int, **options: Any) -> Any:
        if records and expected <= state.lines:
            moved: list[Any] = []
            following = state.lines + 1
            for record in records:
                values = [getattr(record, name) for name in record.__match_args__]
                moved.append(type(record)(following, *values[1:]))
                following = moved[-1].last + 1
            records, expected = moved, state.lines + 1
        return addition(state, records, expected=expected, **options)

    _replace(appends, "addition", doubling)


def _replace(owner: Any, name: str, value: Any) -> None:
    """A bug in something that is there no more would never be found."""
    assert hasattr(owner, name), f"{owner} has no {name}"
    setattr(owner, name, value)


PLANTS: dict[str, Callable[[], None]] = {
    "append-without-epoch": append_without_epoch,
    "read-before-watch": read_before_watch,
    "no-second-look": no_second_look,
    "retry-that-doubles": retry_that_doubles,
}

if __name__ == "__main__":
    PLANTS[os.environ.pop(PLANT)]()
    sys.argv[0] = "trio-logs"
    main()
