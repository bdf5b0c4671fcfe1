"""A wall clock that steps while retention is at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
import trio

from tests.live import PATIENCE, open_live
from tests.stores import append, batch, running, workload
from trio_logs.engine import keep_pruned
from trio_logs.records import Outcome, Status, now
from trio_logs.records.clock import SteadyClock
from trio_logs.settings import Settings
from trio_logs.store import Retention, WorkloadQuery
from trio_logs.store.sqlite import SQLiteStore
from trio_logs.upkeep import keep_trimmed

DAY = 86_400
BOUND = Retention(max_age=DAY, max_record_age=DAY)
OLD = 5
ALL = 60


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], int]]:
    """Counts the entries of the log that have some words, while retention removes 1 at a time.

    After the first removal, the clock of the process steps forth by 40 days. After the third one,
    it has run on for long enough to be believed.
    """
    monkeypatch.setattr("trio_logs.store.sqlite.removal.TRIM_ROWS", 1)
    monkeypatch.setattr("trio_logs.engine.pruning.AT_ONCE", 1)
    monkeypatch.setattr("trio_logs.records.times._clock", SteadyClock())
    with structlog.testing.capture_logs() as logged:

        def count(words: str) -> int:
            return sum(words in entry["event"] for entry in logged)

        def removed() -> int:
            return count("history trimmed") + count("old workloads deleted")

        def wall(shown: Callable[[], int] = time.time_ns) -> int:
            return shown() + passed() + (removed() >= 1) * 40 * DAY * 10**9

        def passed() -> int:
            return (removed() >= 3) * 61 * 10**9

        def elapsed(clock: int, shown: Callable[[int], int] = time.clock_gettime_ns) -> int:
            return shown(clock) + passed()

        monkeypatch.setattr(time, "time_ns", wall)
        monkeypatch.setattr(time, "clock_gettime_ns", elapsed)
        yield count


async def test_a_long_trim_is_judged_again(tmp_path: Path, told: Callable[[str], int]) -> None:
    moment = now()
    async with running(SQLiteStore(tmp_path / "x.db")) as store, trio.open_nursery() as nursery:
        for number in range(ALL):
            written = moment - (2 * DAY * 1_000_000 if number < OLD else 0)
            await append(store, f"{number:02}", [batch(1, time=written)])
        nursery.start_soon(keep_trimmed, store, BOUND)
        with trio.fail_after(PATIENCE):
            while not told("a tenth of the history"):
                assert told("history trimmed") <= OLD
                await trio.sleep(0.001)
        assert 3 <= store.statistics().batches_trimmed <= OLD
        for number in range(OLD, ALL):
            assert len(await store.read(f"{number:02}", 1, 1)) == 1
        nursery.cancel_scope.cancel()


async def test_a_long_deletion_of_workloads_is_judged_again(
    tmp_path: Path, told: Callable[[str], int]
) -> None:
    moment = now()
    async with open_live(Settings(data=tmp_path / "data")) as live, trio.open_nursery() as nursery:
        store = live.service.store
        for number in range(ALL):
            ended = moment - (2 * DAY * 1_000_000 if number < OLD else 0)
            await store.create(workload(f"{number:02}", created_at=ended))
            end = Outcome(Status.SUCCEEDED, 0)
            await append(store, f"{number:02}", [], outcome=end, finished_at=ended)
        nursery.start_soon(keep_pruned, live.service.engine, store, BOUND)
        with trio.fail_after(PATIENCE):
            while not told("a tenth of the workloads"):
                assert told("old workloads deleted") <= OLD
                await trio.sleep(0.001)
        assert 3 <= told("old workloads deleted") <= OLD
        left = {each.id for each in await store.workloads(WorkloadQuery(limit=ALL))}
        assert left >= {f"{number:02}" for number in range(OLD, ALL)}
        nursery.cancel_scope.cancel()
