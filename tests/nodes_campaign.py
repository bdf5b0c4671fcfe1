"""Random histories of several nodes over one shared store, each with a seed.

`python -m tests.nodes_campaign --seed N [--rough] [--plant NAME]` replays one.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import trio
import trio.testing

from tests.nodes_history import History
from tests.steps import shuffled
from trio_logs.broker import feed
from trio_logs.broker.feed import Feed, Verdict
from trio_logs.broker.retries import until_done
from trio_logs.broker.searches import Searches
from trio_logs.store.appending import addition
from trio_logs.store.memory import logs

__all__ = ["PLANTS", "run_seed"]


def run_seed(seed: int, *, is_rough: bool = False, plant: str | None = None) -> History:
    """Run one history; its `faults` tell what was wrong."""
    # The threads of searches, which histories do not need, end in real time.
    threads = patch.object(Searches, "open", lambda self: nullcontext())
    with PLANTS[plant](), threads, shuffled(seed):
        history = History(seed, is_rough=is_rough)
        clock = trio.testing.MockClock(autojump_threshold=0)
        trio.run(history.run, clock=clock)
    return history


@contextmanager
def without_the_epoch() -> Iterator[None]:
    """The store takes appends of any owner."""

    def careless(state: Any, *arguments: Any, epoch: int, **options: Any) -> Any:
        return addition(state, *arguments, epoch=state.epoch, **options)

    with patch.object(logs, "addition", careless):
        yield


@contextmanager
def read_before_watch() -> Iterator[None]:
    """A feed reads the head, and has the log watched after that."""

    async def run(self: Feed) -> Verdict | None:
        topic = self._topic
        with self._news.heard_by(topic.workload_id, self), self._scope:
            verdict = await self._look()
            await until_done(partial(self._news.watch, topic.workload_id))
            while verdict is None:
                await self._looks.wait(feed.LOOK_SECONDS)
                verdict = await self._look()
            return verdict
        return None

    with patch.object(Feed, "run", run):
        yield


@contextmanager
def no_second_look() -> Iterator[None]:
    """A feed looks at the store for news only."""
    with patch.object(feed, "LOOK_SECONDS", math.inf):
        yield


@contextmanager
def a_retry_that_doubles() -> Iterator[None]:
    """The store takes records that it has already for new ones."""

    def doubling(state: Any, records: Any, *, expected: int, **options: Any) -> Any:
        if records and expected <= state.lines:
            moved = []
            following = state.lines + 1
            for record in records:
                moved.append(type(record)(following, *_fields(record)[1:]))
                following = moved[-1].last + 1
            records, expected = moved, state.lines + 1
        return addition(state, records, expected=expected, **options)

    with patch.object(logs, "addition", doubling):
        yield


def _fields(record: Any) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in record.__match_args__)


PLANTS: dict[str | None, Callable[[], AbstractContextManager[None]]] = {
    None: nullcontext,
    "append without the epoch": without_the_epoch,
    "read before watch": read_before_watch,
    "no second look": no_second_look,
    "a retry that doubles": a_retry_that_doubles,
}
"""Faults that the campaign must find."""


def main() -> None:
    """Print what was found; exit 1 if a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.nodes_campaign", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many, each also rough")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--rough", action="store_true", help="with --seed: also failovers")
    parser.add_argument("--plant", choices=[name for name in PLANTS if name], help="a fault")
    options = parser.parse_args()
    if options.seed is not None:
        runs = [(options.seed, options.rough)]
    else:
        runs = [(seed, rough) for seed in range(options.seeds) for rough in (False, True)]
    start = time.monotonic()
    failed = moves = kills = failovers = resets = 0
    for seed, rough in runs:
        history = run_seed(seed, is_rough=rough, plant=options.plant)
        moves, kills = moves + history.moves, kills + history.kills
        failovers, resets = failovers + history.failovers, resets + history.resets
        if history.faults:
            failed += 1
            print(f"python -m tests.nodes_campaign --seed {seed}{' --rough' if rough else ''}")
            print("\n".join(f"    {fault}" for fault in history.faults[:6]))
    print(
        f"{len(runs)} histories, {failed} failed: {moves} moves, {kills} kills, {failovers}"
        f" failovers, {resets} resets, {time.monotonic() - start:.0f} s"
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
