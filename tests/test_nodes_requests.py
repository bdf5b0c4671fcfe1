"""What clients ask of a pushed workload while its node dies, leaves or changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing

from tests.nodes_stage import Member, cluster
from tests.stage import Stage
from trio_logs.engine import EngineLimits
from trio_logs.errors import NodeLostError, StoreError
from trio_logs.records import Reason, Status, Workload, WorkloadSpec
from trio_logs.store.shared import PUSHED

Clock = trio.testing.MockClock

PUSH = WorkloadSpec((), backend=PUSHED)


async def pushed(member: Member) -> Workload:
    """A workload whose client pushes to the member."""
    workload, _ = await member.engine.submit(PUSH)
    await member.until(workload.id, Status.RUNNING)
    return workload


@pytest.mark.parametrize("end", ["dies", "leaves"])
async def test_a_stop_outlives_the_owner_of_a_push(autojump_clock: Clock, end: str) -> None:
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        workload = await pushed(a)
        a.store.switch.fail("requests")
        if end == "dies":
            a.kill()
        assert (await b.engine.stop(workload.id)).status is Status.RUNNING
        if end == "leaves":
            await a.leave()
        found = await b.until(workload.id, Status.STOPPED)
        assert found.reason is Reason.STOP_REQUESTED


async def test_a_stop_at_a_node_that_had_the_push(autojump_clock: Clock) -> None:
    """It has not heard yet that another node has taken the log."""
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        workload = await pushed(a)
        a.store.watch_logs(lambda workload_id: None)
        assert await b.engine.take_over(workload.id)
        assert a.engine.is_live(workload.id)
        await a.engine.stop(workload.id)
        with trio.fail_after(10):
            await b.until(workload.id, Status.STOPPED)


async def test_pushes_beyond_the_room_of_a_node_are_adopted_later(autojump_clock: Clock) -> None:
    async with cluster("a", "b", limits=EngineLimits(remote=4)) as made:
        a, b = made.members.values()
        left = [await pushed(a) for _ in range(4)]
        own = [await pushed(b) for _ in range(2)]
        a.kill()
        await trio.sleep(20)
        for workload in own:
            await b.engine.stop(workload.id)
        await trio.sleep(2)
        assert all(b.engine.is_live(workload.id) for workload in left)


async def test_a_node_that_moves_on_is_not_counted_as_buried(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        node = replace(a.nodes.own, counter=made.tables.nodes()[0].counter - 1)
        await b.nodes._bury(node)
        assert b.nodes.statistics().buried == 0
        assert await a.store.nodes() == made.tables.nodes()


async def test_a_buried_node_with_a_failed_submission_ends_as_one(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        a.store.switch.fail("create", after=True)
        a.store.switch.hang("withdraw", "beat")
        with pytest.raises(StoreError):
            await a.submit("go")
        await trio.sleep(30)
        assert {node.id for node in b.nodes.known} == {b.id}
        # The submission finds out first.
        a.store.switch.hang_again("withdraw")
        await trio.sleep(1)
        a.store.switch.recover()
        with trio.fail_after(10):
            await a.ended.wait()
        assert isinstance(a.error, NodeLostError)


async def test_a_backend_that_can_not_resize_ends_nothing(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    resized = trio.Event()

    async def resize(stage: Stage, workload_id: str, columns: int, rows: int) -> None:
        resized.set()
        raise OSError("the terminal is gone")

    monkeypatch.setattr(Stage, "resize", resize, raising=False)
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        workload = await a.submit("go", pty=True)
        await trio.testing.wait_all_tasks_blocked()
        owner, other = (a, b) if a.stage.running else (b, a)
        await other.engine.resize(workload.id, 100, 30)
        await resized.wait()
        await trio.sleep(2)
        assert not owner.ended.is_set()
