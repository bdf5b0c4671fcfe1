"""What an embedder does to the log or the record of a workload ends that workload, not the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.stage import Parts, Stage, engine
from trio_logs import LogBroker, Outcome, Status, WorkloadSpec
from trio_logs.engine import Engine, EngineLimits
from trio_logs.errors import ConflictError
from trio_logs.records import Reason
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore

ONE = EngineLimits(running=1)

LOST = Outcome(Status.LOST, error="by an embedder")


async def assert_goes_on(parts: Parts) -> None:
    """The engine runs the next workload."""
    parts.stage.release.set()
    after = await parts.submit("wait")
    with trio.fail_after(10):
        assert (await parts.engine.finished(after.id)).status == "succeeded"
    assert parts.engine.statistics().running == 0


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "db")


async def test_a_log_that_is_closed_before_its_workload_starts(store: Any) -> None:
    async with engine(ONE, store) as parts:
        await parts.submit("wait")
        closed, stopped = [await parts.submit("wait") for _ in range(2)]
        for workload in (closed, stopped):
            await parts.broker.close(workload.id, LOST)
        assert (await parts.engine.stop(stopped.id)).status == "lost"
        parts.stage.release.set()
        with trio.fail_after(10):
            # The first end stands, in the record and in the log.
            for workload in (closed, stopped):
                record = await parts.engine.finished(workload.id)
                assert (record.status, record.error) == ("lost", LOST.error)
                assert (await parts.lines(workload.id))[1].outcome == LOST
        assert closed.id not in parts.stage.running
        assert parts.engine.statistics().finished[Status.LOST] == 2
        await assert_goes_on(parts)


@pytest.mark.parametrize("command", ["write", "flush", "until stop", "raise"])
async def test_a_log_that_is_closed_while_its_workload_runs(command: str, store: Any) -> None:
    async with engine(ONE, store) as parts:
        workload = await parts.submit(*in_turns(command))
        await parts.stage.started.wait()
        await parts.broker.close(workload.id, LOST)
        with pytest.raises(ConflictError, match="still runs"):
            await parts.engine.delete(workload.id)
        assert parts.engine.is_live(workload.id)
        parts.stage.turn.set()
        await parts.engine.stop(workload.id)
        with trio.fail_after(10):
            record = await parts.engine.finished(workload.id)
        assert (record.status, record.error) == ("lost", LOST.error)
        await parts.engine.delete(workload.id)
        await assert_goes_on(parts)


def in_turns(command: str) -> tuple[str, ...]:
    return ("in turns", command)


async def test_a_log_that_is_closed_with_what_is_no_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with engine(ONE) as parts:
        workload = await parts.submit("until stop")
        await trio.testing.wait_all_tasks_blocked()
        await parts.broker.close(workload.id, Outcome(Status.RUNNING))
        await parts.engine.stop(workload.id)
        await parts.engine.finished(workload.id)
        await assert_goes_on(parts)


async def test_a_workload_that_is_deleted_in_the_store_before_it_starts(store: Any) -> None:
    async with engine(ONE, store) as parts:
        await parts.submit("wait")
        deleted = await parts.submit("wait")
        await store.delete(deleted.id)
        parts.stage.release.set()
        with trio.fail_after(10):
            _, end = await parts.lines(deleted.id)
        assert end.outcome == Outcome(
            Status.FAILED,
            error="The workload was deleted before it started.",
            reason=Reason.NOT_STARTED,
        )
        assert deleted.id not in parts.stage.running
        await assert_goes_on(parts)


async def test_lines_that_come_before_the_workload_starts(store: Any) -> None:
    async with engine(ONE, store) as parts:
        await parts.submit("wait")
        queued = await parts.submit("raise")
        await parts.broker.publish(queued.id, "early")
        parts.stage.release.set()
        with trio.fail_after(10):
            lines, end = await parts.lines(queued.id)
        assert lines == [
            "stdout: early",
            "stdout: before",
            "system: RuntimeError: the backend broke",
        ]
        assert end.lines == (await parts.engine.finished(queued.id)).lines == 3
        await assert_goes_on(parts)


async def test_a_broker_that_ends_before_the_engine(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    broker, stage = LogBroker(store), Stage()
    made = Engine(store, broker, {"stage": stage}, ONE)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        async with trio.open_nursery() as ending:
            await ending.start(broker.run)
            spec = WorkloadSpec(("until stop",), backend="stage")
            running, _ = await made.submit(spec)
            queued, _ = await made.submit(spec)
            await trio.testing.wait_all_tasks_blocked()
            ending.cancel_scope.cancel()
        await made.stop(running.id)
        # Their records are left to the next start.
        assert (await made.finished(running.id)).status == "running"
        assert not (await made.finished(queued.id)).status.final
        assert made.statistics().running == 0
        nursery.cancel_scope.cancel()
