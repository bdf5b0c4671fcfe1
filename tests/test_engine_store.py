"""The engine while its store fails or hangs: what callers are told, and what happens afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from tests.failing_parts import FailingBroker, FailingStore
from tests.stage import Parts, Stage, engine
from trio_logs import Status, Workload, WorkloadSpec
from trio_logs.engine import EngineLimits
from trio_logs.errors import BusyError, ConflictError, StoreError, WorkloadNotFoundError
from trio_logs.records import Reason
from trio_logs.service import open_service
from trio_logs.settings import Settings
from trio_logs.store import WorkloadQuery
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore

PATIENCE = 30.0

Break = Callable[[FailingStore], object]

WAIT = WorkloadSpec(("wait",), backend="stage")


def failing(*names: str, after: bool = False) -> Break:
    return lambda store: store.switch.fail(*names, after=after)


def hanging(*names: str) -> Break:
    return lambda store: store.switch.hang(*names)


SUBMISSIONS = {
    "create fails": failing("create"),
    "create takes effect and fails": failing("create", after=True),
    "create hangs": hanging("create"),
    "find_key fails": failing("find_key"),
    "find_key hangs": hanging("find_key"),
}


@pytest.mark.parametrize("how", SUBMISSIONS)
@pytest.mark.parametrize("key", [None, "key"])
async def test_a_submission_that_fails_leaves_nothing(
    how: str, key: str | None, autojump_clock: trio.testing.MockClock
) -> None:
    store = FailingStore(MemoryStore())
    async with engine(EngineLimits(running=1, queued=1), store) as parts:
        first = await parts.submit("wait")
        SUBMISSIONS[how](store)
        start = trio.current_time()
        if key is None and "find_key" in how:
            assert await parts.submit("wait", key=key)  # needs no key
            return
        with pytest.raises(StoreError):
            await parts.submit("wait", key=key)
        assert trio.current_time() - start == pytest.approx(PATIENCE if "hangs" in how else 0)
        store.switch.recover()
        # There is one place in the queue: the failed submission does not hold it.
        second, created = await parts.engine.submit(WAIT, key)
        assert created
        with pytest.raises(BusyError):
            await parts.submit("wait")
        await parts.engine._admission.until_settled()
        await trio.testing.wait_all_tasks_blocked()
        assert len(parts.engine._admission._keys) == 0
        left = [workload.id for workload, _ in await store.unfinished()]
        assert left == [first.id, second.id]
        parts.stage.release.set()
        await parts.engine.finished(second.id)
        assert parts.stage.running == left
        if key is not None:
            assert (await parts.engine.submit(WAIT, key))[1] is False


async def test_a_failed_submission_is_deleted_once_the_store_is_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = FailingStore(MemoryStore())
    async with engine(store=store) as parts:
        store.switch.fail("create", after=True)
        store.switch.fail("delete")
        for key in (None, "key"):
            with pytest.raises(StoreError):
                await parts.submit("wait", key=key)
        await trio.sleep(100)
        assert parts.engine._admission.unsettled == 2
        # A submission with the key can't know yet that the first one is gone.
        with pytest.raises(StoreError):
            await parts.submit("wait", key="key")
        store.switch.recover()
        await parts.engine._admission.until_settled()
        assert await store.unfinished() == []
        assert parts.stage.running == []
    async with engine(store=store) as parts:
        await trio.testing.wait_all_tasks_blocked()
        assert parts.stage.running == []


async def test_a_failed_submission_is_submitted_with_another_body(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An answer other than 200 or 201 does not use the key up."""
    store = FailingStore(MemoryStore())
    async with engine(store=store) as parts:
        store.switch.fail("create", after=True)
        with pytest.raises(StoreError):
            await parts.submit("wait", key="key")
        store.switch.recover()
        second = await parts.submit("wait", "other", key="key")
        assert [workload for workload, _ in await store.unfinished()] == [
            await parts.engine.get(second.id)
        ]


async def test_failed_submissions_to_settle_are_bounded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = FailingStore(MemoryStore())
    async with engine(store=store) as parts:
        parts.engine._admission._max_unsettled = 3
        store.switch.fail("create", "delete")
        for _ in range(5):
            with pytest.raises(StoreError):
                await parts.submit("wait")
        assert parts.engine._admission.unsettled == 3
        store.switch.recover()
        await parts.engine._admission.until_settled()
        await parts.submit("wait")


async def test_one_key_at_once_makes_one_workload(tmp_path: Path) -> None:
    async with engine(store=SQLiteStore(tmp_path / "db")) as parts:
        made: list[tuple[str, bool]] = []

        async def submit() -> None:
            workload, created = await parts.engine.submit(WAIT, "key")
            made.append((workload.id, created))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(submit)
        assert len({workload_id for workload_id, _ in made}) == 1
        assert sum(created for _, created in made) == 1
        assert len(parts.engine._admission._keys) == 0
        assert len(await parts.store.unfinished()) == 1


async def test_keyed_submissions_are_committed_together(
    tmp_path: Path, record_figure: Callable[[str], None]
) -> None:
    commits: dict[bool, int] = {}
    for keyed in (False, True):
        store = SQLiteStore(tmp_path / f"{keyed}.db")
        # One place, which is taken: what is counted are submissions only.
        async with engine(EngineLimits(running=1), store) as parts:
            await parts.submit("wait")
            with trio.fail_after(10):
                await parts.stage.started.wait()
            before = store.statistics().commits.count
            async with trio.open_nursery() as nursery:
                for number in range(300):
                    key = f"key {number}" if keyed else None
                    nursery.start_soon(parts.engine.submit, WAIT, key)
            commits[keyed] = store.statistics().commits.count - before
            assert len(await store.unfinished()) == 301
    record_figure(f"300 submissions: {commits[False]} commits, with keys {commits[True]}")
    assert commits[True] < 100


READS: dict[str, Callable[[Parts, str], Awaitable[object]]] = {
    "workload": lambda parts, workload_id: parts.engine.get(workload_id),
    "workloads": lambda parts, _: parts.engine.list(WorkloadQuery()),
    "delete": lambda parts, workload_id: parts.engine.delete(workload_id),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("hangs", [False, True])
async def test_what_needs_the_store_fails_in_time(
    name: str, hangs: bool, autojump_clock: trio.testing.MockClock
) -> None:
    store = FailingStore(MemoryStore())
    async with engine(store=store) as parts:
        workload = await parts.submit("return", "0")
        finished = await parts.engine.finished(workload.id)
        (hanging if hangs else failing)(name)(store)
        start = trio.current_time()
        with pytest.raises(StoreError):
            await READS[name](parts, workload.id)
        assert trio.current_time() - start == pytest.approx(PATIENCE if hangs else 0)
        store.switch.recover()
        if name == "delete" and hangs:
            # The store has the deletion, and carries it out late.
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(WorkloadNotFoundError):
                await parts.engine.get(workload.id)
        else:
            assert await parts.engine.get(workload.id) == finished
            await READS[name](parts, workload.id)


STARTS: dict[str, Callable[[FailingStore, FailingBroker], object]] = {
    "open fails": lambda store, broker: broker.switch.fail("open"),
    "open hangs": lambda store, broker: broker.switch.hang("open"),
    "start fails": lambda store, broker: store.switch.fail("start"),
    "start takes effect and fails": lambda store, broker: store.switch.fail("start", after=True),
    "start hangs": lambda store, broker: store.switch.hang("start"),
}


def failing_parts() -> tuple[FailingStore, FailingBroker]:
    store = FailingStore(MemoryStore())
    return store, FailingBroker(store)


@pytest.mark.parametrize("how", STARTS)
async def test_a_start_waits_for_the_store(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    store, broker = failing_parts()
    async with engine(EngineLimits(running=2), store, broker) as parts:
        STARTS[how](store, broker)
        workload = await parts.submit("wait")
        stopped = await parts.submit("wait")
        await trio.sleep(1000)
        assert parts.stage.running == []
        assert parts.engine.statistics().running == 2
        # No more attempts than one in 5 s, each of two jobs.
        assert len(store.switch.calls) + len(broker.switch.calls) < 450
        await parts.engine.stop(stopped.id)
        end = await parts.engine.finished(stopped.id)
        assert (end.status, end.error) == ("stopped", "The workload was stopped before it started.")
        store.switch.recover()
        broker.switch.recover()
        parts.stage.release.set()
        assert (await parts.engine.finished(workload.id)).status == "succeeded"
        assert parts.stage.running == [workload.id]


@pytest.mark.parametrize("how", ["open fails", "start hangs"])
async def test_a_shutdown_leaves_what_waits_for_the_store(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    store, broker = failing_parts()
    async with engine(EngineLimits(running=1), store, broker) as parts:
        STARTS[how](store, broker)
        workload = await parts.submit("wait")
        await trio.sleep(10)
        start = trio.current_time()
        assert await parts.engine.shutdown() == 0
        # The store may be about to mark the workload as running.
        assert trio.current_time() - start == pytest.approx(1 if "start" in how else 0)
        assert parts.stage.running == []
    store.switch.recover()
    async with engine(store=store) as parts:
        await trio.testing.wait_all_tasks_blocked()
        assert parts.stage.running == [workload.id]


async def test_a_shutdown_ends_what_the_store_has_just_marked_as_running(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = FailingStore(MemoryStore())
    async with engine(store=store) as parts:
        # The second half of the start: the record says already that the workload runs.
        store.switch.hang("workload")
        workload = await parts.submit("wait")
        await trio.testing.wait_all_tasks_blocked()
        parts.engine.drain()
        await trio.sleep(0.5)
        store.switch.recover()
        assert await parts.engine.shutdown() == 0
        assert parts.stage.running == []
        _, end = await parts.lines(workload.id)
        assert (end.outcome.status, end.outcome.reason) == ("stopped", Reason.SHUTDOWN)


async def test_a_push_is_admitted_though_it_can_not_begin(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store, broker = failing_parts()
    async with engine(store=store, broker=broker) as parts:
        parts.stage.outlives_server = True
        broker.switch.fail("open")
        start = trio.current_time()
        workload = await parts.submit("wait")
        assert trio.current_time() - start == pytest.approx(PATIENCE)
        assert workload.status == "queued"
        broker.switch.recover()
        await trio.sleep(6)
        assert parts.stage.running == [workload.id]
    broker = FailingBroker(store)
    broker.switch.fail("open")
    start = trio.current_time()
    async with engine(store=store, broker=broker) as parts:
        # `engine` made a new stage: what runs elsewhere was lost with the old one.
        assert trio.current_time() - start <= 10


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_handle_that_can_not_be_kept_does_not_hold_up_its_workload(
    hangs: bool, autojump_clock: trio.testing.MockClock
) -> None:
    store = FailingStore(MemoryStore())
    (hanging if hangs else failing)("remember")(store)
    async with engine(store=store) as parts:
        workload = await parts.submit("remember twice")
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(PATIENCE - 1)
        assert parts.stage.remembered == []
        await trio.sleep(2 * PATIENCE)
        assert parts.stage.remembered == ["first", "second"]
        store.switch.recover()
        await trio.sleep(6)
        assert [handle for _, handle in await store.unfinished()] == ["second"]
        store.switch.fail("remember")
        parts.stage.release.set()
        assert (await parts.engine.finished(workload.id)).status == "succeeded"
        await trio.testing.wait_all_tasks_blocked()


async def test_a_handle_that_can_not_be_stored_fails_its_workload(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with engine() as parts:
        workload = await parts.submit("remember what is not Unicode")
        _, end = await parts.lines(workload.id)
        assert end.outcome.status == "failed"
        assert (end.outcome.error or "").startswith("UnicodeEncodeError")


async def test_a_commit_during_a_shutdown_is_for_the_next_start(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = FailingStore(MemoryStore())
    async with engine(store=store) as parts:
        made: list[Workload] = []

        async def submit() -> None:
            made.append(await parts.submit("wait"))

        async with trio.open_nursery() as nursery:
            store.switch.hang("create")
            nursery.start_soon(submit)
            await trio.testing.wait_all_tasks_blocked()
            assert await parts.engine.shutdown() == 0
            store.switch.recover()
        assert not parts.engine.is_live(made[0].id)
        assert parts.engine.statistics().queued == 0
    async with engine(store=store) as parts:
        await trio.testing.wait_all_tasks_blocked()
        assert parts.stage.running == [made[0].id]


async def test_an_end_waits_for_the_store(autojump_clock: trio.testing.MockClock) -> None:
    store, broker = failing_parts()
    async with engine(EngineLimits(running=1), store, broker) as parts:
        workload = await parts.submit("until stop")
        queued = await parts.submit("until stop")
        await trio.testing.wait_all_tasks_blocked()
        broker.switch.fail("close")
        await parts.engine.stop(workload.id)
        await parts.engine.stop(queued.id)
        await trio.sleep(100)
        for each in (workload, queued):
            assert parts.engine.is_live(each.id)
            assert not (await parts.engine.stop(each.id)).status.final
            with pytest.raises(ConflictError):
                await parts.engine.delete(each.id)
        # A stop is answered even if the record can't be read.
        store.switch.fail("workload")
        assert (await parts.engine.stop(workload.id)).status == "running"
        store.switch.recover()
        broker.switch.recover()
        lines, end = await parts.lines(workload.id)
        assert lines == ["stdout: stopping"]
        assert end.outcome.reason == Reason.STOP_REQUESTED
        assert (await parts.engine.finished(workload.id)).status == "stopped"
        assert (await parts.engine.finished(queued.id)).status == "stopped"
        assert parts.engine.statistics().finished[Status.STOPPED] == 2
        assert parts.engine.statistics().running == 0


async def test_a_shutdown_gives_ends_up(autojump_clock: trio.testing.MockClock) -> None:
    store, broker = failing_parts()
    async with engine(store=store, broker=broker) as parts:
        lost = await parts.submit("until stop")
        await trio.testing.wait_all_tasks_blocked()
        broker.switch.fail("close")
        start = trio.current_time()
        assert await parts.engine.shutdown() == 1
        assert trio.current_time() - start == pytest.approx(10)
        assert (await parts.engine.get(lost.id)).status == "running"
    async with engine(store=store) as parts:
        lines, end = await parts.lines(lost.id)
        assert lines == ["stdout: stopping"]
        assert (end.outcome.status, end.outcome.reason) == ("lost", Reason.SERVER_LOST)


async def test_a_start_that_can_not_read_the_store_fails(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = FailingStore(MemoryStore())
    for breaks in (failing("unfinished"), hanging("unfinished")):
        breaks(store)
        with pytest.RaisesGroup(pytest.RaisesExc(StoreError), flatten_subgroups=True):
            async with engine(store=store):
                pass
        store.switch.recover()


@pytest.mark.parametrize("how", ["close fails", "close hangs"])
async def test_recovery_does_not_wait_for_ever(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    store, broker = failing_parts()
    async with engine(EngineLimits(running=1), store) as parts:
        lost, queued = [await parts.submit("wait") for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked()
    (broker.switch.fail if how == "close fails" else broker.switch.hang)("close")
    start = trio.current_time()
    async with engine(store=store, broker=broker) as parts:
        assert trio.current_time() - start == pytest.approx(10)
        assert parts.stage.reaped == [f"handle of {lost.id}"]
        await trio.testing.wait_all_tasks_blocked()
        assert parts.stage.running == [queued.id]
        assert parts.engine.is_live(lost.id)
        assert (await parts.engine.stop(lost.id)).status == "running"
        broker.switch.recover()
        assert (await parts.engine.finished(lost.id)).status == "lost"
        assert (await parts.lines(lost.id))[1].outcome.reason == Reason.SERVER_LOST
        assert parts.engine.statistics().finished[Status.LOST] == 1


async def test_an_outage_is_logged_once(autojump_clock: trio.testing.MockClock) -> None:
    store, broker = failing_parts()
    async with engine(store=store, broker=broker) as parts:
        with structlog.testing.capture_logs() as logged:
            broker.switch.fail("open")
            for _ in range(10):
                await parts.submit("return", "0")
            await trio.sleep(100)
            broker.switch.recover()
            await trio.sleep(10)
        assert [entry["log_level"] for entry in logged] == ["warning", "info"]


async def test_a_service_that_loses_ends_says_so(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.service.LogBroker", FailingBroker)
    stage = Stage()
    with (
        structlog.testing.capture_logs() as logged,
        pytest.raises(StoreError, match="1 ends of workloads and 0 lines are lost"),
    ):
        async with open_service(
            Settings(data=tmp_path), store=MemoryStore(), backends={"stage": stage}
        ) as service:
            await service.engine.submit(WorkloadSpec(("until stop",), backend="stage"))
            await trio.testing.wait_all_tasks_blocked()
            assert isinstance(service.broker, FailingBroker)
            service.broker.switch.fail("close")
    errors = [entry for entry in logged if entry["log_level"] == "error"]
    assert [(entry["ends_lost"], entry["lines_lost"]) for entry in errors] == [(1, 0)]


async def test_retention_survives_a_failing_store(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    store: Any = FailingStore(MemoryStore())
    store.switch.fail("trim")
    with structlog.testing.capture_logs() as logged:
        async with open_service(Settings(data=tmp_path), store=store, backends={}):
            await trio.sleep(100)
            assert len(store.switch.calls) > 5
            store.switch.recover()
            await trio.sleep(20)
            store.switch.fail("trim")
            await trio.sleep(100)
    assert [entry["event"] for entry in logged] == ["history not trimmed: trying again"] * 2


async def test_an_outage_of_sqlite_from_submission_to_end(tmp_path: Path) -> None:
    """Each call of the engine fails for a while, in real time; each workload runs once."""
    store = FailingStore(SQLiteStore(tmp_path / "db"))
    broker = FailingBroker(store)
    async with engine(EngineLimits(running=2), store, broker, patience=0.2) as parts:
        store.switch.fail("create", after=True)
        for key in ("key", None):
            with pytest.raises(StoreError):
                await parts.submit("wait", key=key)
        store.switch.recover()
        store.switch.fail("start", after=True)
        store.switch.hang("remember")
        ids = [(await parts.submit("wait", key=key)).id for key in ("key", None)]
        with trio.fail_after(10):
            await store.switch.until_called("start", 4)
        assert parts.stage.running == []
        store.switch.recover()
        store.switch.hang("remember")
        broker.switch.fail("close")
        parts.stage.release.set()
        with trio.fail_after(10):
            await broker.switch.until_called("close", 4)
        assert {(await parts.engine.get(each)).status for each in ids} == {"running"}
        broker.switch.recover()
        with trio.fail_after(10):
            assert [(await parts.engine.finished(each)).status for each in ids] == ["succeeded"] * 2
        assert sorted(parts.stage.running) == ids
        assert await store.unfinished() == []
        assert len(await parts.engine.list(WorkloadQuery())) == 2
