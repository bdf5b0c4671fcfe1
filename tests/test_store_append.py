"""Appends, gaps, and epochs: both stores against the duties of `LogStore.append`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.stores import append, batch, running, workload
from trio_logs.errors import BehindError, FencedError, WorkloadNotFoundError
from trio_logs.records import Batch, End, Gap, Outcome, Status
from trio_logs.store import LogState, Retention, Store

MakeStore = Callable[[], Store]
OK = Outcome(Status.SUCCEEDED, 0)


async def test_a_gap_takes_the_place_of_its_lines(make_store: MakeStore) -> None:
    gap = Gap(3, 40, "store", 5)
    async with running(make_store()) as store:
        await append(store, "w", [batch(1, 2, time=1), gap])
        assert await store.log("w") == LogState(40, 14, time=5)
        await append(store, "w", [batch(41, 1, time=6)])
        assert await store.read("w", 20, 1) == [gap]
        found = await store.read("w", 1, 10**9)
        assert found == [batch(1, 2, time=1), gap, batch(41, 1, time=6)]
        assert isinstance(found[1], Gap)
        assert found[1].time == 5
        # Some of its lines may be as late as its declaration.
        assert await store.find("w", 5, 41) == 3
        assert await store.find("w", 6, 41) == 41
        held = store.statistics().bytes
        assert held == 14 + 8
        assert await store.trim(Retention(max_bytes=8)) == 1
        assert await store.trim(Retention(max_age=0)) == 2
        assert store.statistics().bytes == 0


async def test_an_append_that_is_repeated_adds_what_is_new(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        first = [batch(1, 3), Gap(4, 6, "store", 1), batch(7, 4)]
        for _ in range(2):
            await store.append("w", first, expected=1, epoch=0, size=30)
            assert await store.read("w", 1, 10**9) == first
            assert await store.log("w") == LogState(10, 30)
        await store.append("w", [batch(9, 4)], expected=9, epoch=0, size=50)
        assert await store.read("w", 11, 1) == [batch(11, 2)]
        await store.append("w", [Gap(11, 15, "store", 2)], expected=11, epoch=0, size=50)
        found = await store.read("w", 13, 1)
        assert found == [Gap(13, 15, "store")]
        # The log is ahead of this writer, so the log's own size stays.
        await store.append("w", [batch(11, 1)], expected=11, epoch=0, size=7)
        assert await store.log("w") == LogState(15, 50, time=2)
        assert store.statistics().bytes == sum(
            len(one.data) for one in await store.read("w", 1, 10**9) if isinstance(one, Batch)
        )
        for _ in range(2):
            await store.append("w", [], expected=16, epoch=0, size=50, outcome=OK, finished_at=3)
            assert await store.log("w") == LogState(15, 50, End(OK, 15, 50))


async def test_an_append_that_does_not_fit_is_refused(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        with pytest.raises(FencedError, match="lines 1 to 1 of the log are missing"):
            await store.append("w", [batch(2)], expected=2, epoch=0, size=1)
        with pytest.raises(FencedError):
            await store.append("w", [batch(1)], expected=1, epoch=1, size=7)
        assert await store.log("w") is None
        await store.append("w", [batch(1)], expected=1, epoch=0, size=7)
        # A shared database that has the log, but lacks lines, was replaced by an earlier state.
        with pytest.raises((FencedError, BehindError), match="lines 2 to 2 of the log are missing"):
            await store.append("w", [], expected=3, epoch=0, size=7, outcome=OK)
        with pytest.raises(ValueError, match="begin at line 3, not at 2"):
            await store.append("w", [batch(3)], expected=2, epoch=0, size=7)
        await store.append("w", [], expected=2, epoch=0, size=7, outcome=OK)
        failed = Outcome(Status.FAILED, 1)
        for outcome, records in ((None, []), (failed, []), (OK, [batch(2)]), (None, [batch(1)])):
            expected = records[0].first if records else 2
            with pytest.raises(FencedError, match="ended already"):
                await store.append(
                    "w", records, expected=expected, epoch=0, size=7, outcome=outcome
                )
        assert await store.log("w") == LogState(1, 7, End(OK, 1, 7))
        assert await store.read("w", 1, 10**9) == [batch(1)]


async def test_a_fenced_writer_is_refused(make_store: MakeStore) -> None:
    async with running(make_store()) as store:
        with pytest.raises(WorkloadNotFoundError, match="no log w"):
            await store.fence("w")
        await store.append("w", [batch(1)], expected=1, epoch=0, size=7)
        assert await store.fence("w") == 1
        assert await store.fence("w") == 2
        assert await store.log("w") == LogState(1, 7, epoch=2)
        for epoch in (0, 1, 3):
            with pytest.raises(FencedError, match="has epoch 2 now"):
                await store.append("w", [batch(2)], expected=2, epoch=epoch, size=14)
        await store.append("w", [batch(2)], expected=2, epoch=2, size=14, outcome=OK)
        assert await store.log("w") == LogState(2, 14, End(OK, 2, 14), epoch=2)
        await store.create(workload("created"))
        assert await store.fence("created") == 1
        assert await store.log("created") == LogState(epoch=1)
