"""Nodes that share a store: who runs what, which node answers, and what a node's death leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import trio
import trio.lowlevel
import trio.testing

from tests.nodes_stage import Cluster, Member, cluster
from trio_logs.engine import EngineLimits
from trio_logs.errors import BusyError, ConflictError, NodeLostError
from trio_logs.records import Reason, Status
from trio_logs.store import WorkloadQuery
from trio_logs.store.shared import Owned

Clock = trio.testing.MockClock


def running(made: Cluster) -> Counter[str]:
    """How often each workload was started, at any node."""
    return Counter(each for member in made.members.values() for each in member.stage.running)


async def test_a_thousand_workloads_start_once_each(autojump_clock: Clock) -> None:
    async with cluster("a", "b", "c", limits=EngineLimits(running=7)) as made:
        members = list(made.members.values())
        for member in members:
            member.stage.release.set()
        ids = []
        for number in range(1000):
            workload = await members[number % 3].submit("go")
            ids.append(workload.id)
        for workload_id in ids:
            found = await members[0].until(workload_id, Status.SUCCEEDED)
            assert found.node in {member.id for member in members}
        assert running(made) == Counter(ids)
        assert all(len(member.stage.running) > 100 for member in members)


async def test_the_oldest_start_first_and_no_more_than_there_is_room_for(
    autojump_clock: Clock,
) -> None:
    async with cluster("a", "b", limits=EngineLimits(running=2)) as made:
        a, b = made.members.values()
        ids = [(await a.submit("go")).id for _ in range(6)]
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(running(made)) == ids[:4]
        assert (len(a.stage.running), len(b.stage.running)) == (2, 2)
        found = await b.engine.count(WorkloadQuery())
        assert (found[Status.QUEUED], found[Status.RUNNING]) == (2, 4)
        b.stage.release.set()
        for workload_id in ids[4:]:
            await a.until(workload_id, Status.SUCCEEDED)
        assert sorted(running(made)) == ids
        assert len(a.stage.running) == 2


async def test_the_bound_counts_the_bytes_that_wait_in_the_store(autojump_clock: Clock) -> None:
    limits = EngineLimits(running=1, queued_bytes=15_000)
    async with cluster("a", "b", limits=limits) as made:
        a, b = made.members.values()
        for _ in range(2):
            await a.submit("go")
        await trio.testing.wait_all_tasks_blocked()
        await a.submit("go", "x" * 10_000)
        with pytest.raises(BusyError, match="15000 is the limit"):
            await a.submit("go", "x" * 10_000)
        await trio.sleep(1.5)
        with pytest.raises(BusyError, match="15000 is the limit"):
            await b.submit("go", "x" * 10_000)
        b.stage.release.set()
        while b.engine.statistics().queued:
            await trio.sleep(1)
        await b.submit("go", "x" * 10_000)


async def test_the_bound_counts_what_waits_in_the_store(autojump_clock: Clock) -> None:
    async with cluster("a", "b", limits=EngineLimits(running=1, queued=2)) as made:
        a, b = made.members.values()
        for _ in range(2):
            await a.submit("go")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2):
            await a.submit("go")
        await trio.sleep(1.5)
        with pytest.raises(BusyError):
            await b.submit("go")
        with pytest.raises(BusyError):
            await a.submit("go")
        b.stage.release.set()
        await trio.lowlevel.checkpoint()
        while (await a.engine.count(WorkloadQuery()))[Status.QUEUED]:
            await trio.sleep(0.01)
        # Within the same second: the store is asked again.
        await a.submit("go")


async def owner_and_other(made: Cluster, workload_id: str) -> tuple[Member, Member]:
    await trio.testing.wait_all_tasks_blocked()
    [owner] = [each for each in made.members.values() if workload_id in each.stage.running]
    other = next(each for each in made.members.values() if each is not owner)
    return owner, other


async def test_any_node_stops_a_running_workload(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        a = made.members["a"]
        workload = await a.submit("until stop")
        owner, other = await owner_and_other(made, workload.id)
        answer = await other.engine.stop(workload.id, grace=5)
        assert answer.status is Status.RUNNING
        ended = await other.engine.finished(workload.id)
        assert (ended.status, ended.reason) == (Status.STOPPED, Reason.STOP_REQUESTED)
        assert ended.node == owner.id
        lines, end = await owner.lines(workload.id)
        assert lines == ["stopping"]
        assert end is not None
        assert end.outcome.status is Status.STOPPED
        # Later ones change nothing.
        assert (await other.engine.stop(workload.id)).status is Status.STOPPED


async def test_a_stop_whose_bell_is_lost_comes_with_the_beat(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        workload = await made.members["a"].submit("until stop")
        owner, other = await owner_and_other(made, workload.id)
        owner.store.watch_work(lambda: None)
        began = trio.current_time()
        await other.engine.stop(workload.id)
        assert (await other.engine.finished(workload.id)).status is Status.STOPPED
        assert trio.current_time() - began <= 1.1


async def test_any_node_stops_a_queued_workload(autojump_clock: Clock) -> None:
    async with cluster("a", "b", limits=EngineLimits(running=1)) as made:
        a, b = made.members.values()
        first = [await a.submit("go") for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked()
        waiting = await a.submit("go")
        assert (await b.engine.stop(waiting.id)).status is Status.QUEUED
        ended = await a.engine.finished(waiting.id)
        assert (ended.status, ended.started_at) == (Status.STOPPED, None)
        for member in (a, b):
            member.stage.release.set()
        for workload in first:
            await a.until(workload.id, Status.SUCCEEDED)
        assert waiting.id not in running(made)


async def test_one_key_makes_one_workload_at_all_nodes(autojump_clock: Clock) -> None:
    async with cluster("a", "b", "c") as made:
        found = []

        async def submit(member: Member) -> None:
            found.append(await member.submit("go", key="once"))

        async with trio.open_nursery() as nursery:
            for member in (*made.members.values(), *made.members.values()):
                nursery.start_soon(submit, member)
        assert len({workload.id for workload in found}) == 1
        await trio.testing.wait_all_tasks_blocked()
        assert running(made) == Counter([found[0].id])


async def test_any_node_deletes_and_reruns(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        workload = await made.members["a"].submit("write")
        owner, other = await owner_and_other(made, workload.id)
        await other.engine.finished(workload.id)
        again, created = await other.engine.rerun(workload.id)
        assert created
        assert again.rerun_of == workload.id
        await owner.engine.finished(again.id)
        await other.engine.delete(workload.id)
        with pytest.raises(ConflictError, match="no terminal"):
            await other.engine.resize(again.id, 80, 24)


async def test_a_dead_node_is_buried_and_its_workloads_are_lost(autojump_clock: Clock) -> None:
    async with cluster("a", "b", "c") as made:
        a = made.members["a"]
        workload = await a.submit("flush")
        held = await a.submit("go")
        owner, other = await owner_and_other(made, held.id)
        owner.kill()
        began = trio.current_time()
        ended = await other.until(held.id, Status.LOST)
        assert (ended.reason, ended.node) == (Reason.SERVER_LOST, owner.id)
        assert trio.current_time() - began < 7
        assert workload.id != held.id
        await trio.sleep(2)
        ids = (
            {node.id for node in await other.engine_nodes()}
            if 0
            else {node.id for node in other.nodes.known}
        )
        assert owner.id not in ids
        assert sum(each.nodes.statistics().buried for each in made.members.values()) >= 1


async def test_a_node_that_was_taken_for_dead_ends(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        a = made.members["a"]
        held = await a.submit("go")
        owner, other = await owner_and_other(made, held.id)
        # It is cut off alone.
        owner.store.go_away()
        await other.until(held.id, Status.LOST)
        owner.store.come_back()
        await owner.ended.wait()
        assert isinstance(owner.error, NodeLostError)
        assert "took" in str(owner.error)


async def test_nobody_is_judged_while_the_store_is_away(autojump_clock: Clock) -> None:
    async with cluster("a", "b", "c") as made:
        members = list(made.members.values())
        workload = await members[0].submit("go")
        await trio.sleep(3.3)
        for member in members:
            member.store.go_away()
        await trio.sleep(20)
        # They come back one after the other.
        for member in members:
            member.store.come_back()
            await trio.sleep(4)
        await trio.sleep(60)
        assert [member.error for member in members] == [None] * 3
        assert sum(member.nodes.statistics().buried for member in members) == 0
        assert {member.nodes.statistics().outages for member in members} == {1}
        for member in members:
            member.stage.release.set()
        assert (await members[1].engine.finished(workload.id)).status is Status.SUCCEEDED


async def test_what_a_claim_with_an_unknown_result_has_claimed_runs(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        await b.leave()
        a.store.switch.fail("claim", after=True)
        workload = await a.submit("go")
        await trio.sleep(2)
        assert a.stage.running == [workload.id]
        a.stage.release.set()
        assert (await a.engine.finished(workload.id)).status is Status.SUCCEEDED
        await trio.sleep(100)
        assert a.stage.running == [workload.id]


async def test_what_ends_during_a_comparison_is_not_run_again(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        await b.leave()
        held = await a.submit("go")
        await trio.testing.wait_all_tasks_blocked()
        # The answer of the store is late.
        owned = a.store.owned
        answered, goes_on = trio.Event(), trio.Event()

        async def late() -> Sequence[Owned]:
            found = await owned()
            answered.set()
            await goes_on.wait()
            return found

        a.store.owned = late  # type: ignore[method-assign]
        a.store.switch.fail("claim", after=True)
        await a.submit("go")
        await answered.wait()
        a.stage.release.set()
        await a.until(held.id, Status.SUCCEEDED)
        a.store.switch.recover()
        goes_on.set()
        await trio.sleep(100)
        assert running(made)[held.id] == 1
        assert a.engine.statistics().owned == 0


async def test_early_beats_do_not_count(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        b.store.switch.hang("beat")
        await trio.sleep(2)
        for number in range(20):
            a.nodes.listen_at(f"http://{number}")
            await trio.sleep(0.01)
        assert a.nodes.statistics().buried == 0
        await trio.sleep(5)
        assert a.nodes.statistics().buried == 1


async def test_what_a_dead_node_left_is_reaped_by_one_of_its_host(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        workload = await made.members["a"].submit("go")
        owner, other = await owner_and_other(made, workload.id)
        owner.kill()
        await other.until(workload.id, Status.LOST)
        await trio.sleep(3)
        assert other.stage.reaped == []
        again = await made.start(owner.name)
        await trio.sleep(1)
        assert again.stage.reaped == [f"handle of {workload.id}"]
        assert await again.store.remains(again.nodes.own.host) == []


async def test_a_beat_that_comes_after_the_node_has_left(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        a = made.members["a"]
        # The end of this node takes a while after that.
        leave = a.store.leave

        async def slow() -> None:
            await leave()
            await trio.sleep(5)

        a.store.leave = slow  # type: ignore[method-assign]
        await a.leave()
        assert a.error is None


@pytest.mark.parametrize("answers", [True, False])
async def test_a_shutdown_after_a_claim_with_an_unknown_result(
    answers: bool, autojump_clock: Clock
) -> None:
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        b.engine.hold()
        a.store.switch.fail("claim", after=True)
        a.store.switch.fail("owned")
        workload = await a.submit("go")
        await a.until(workload.id, Status.RUNNING)
        if answers:
            a.store.switch.recover()
            await a.leave()
            ended = await b.until(workload.id, Status.STOPPED)
            assert ended.reason == Reason.SHUTDOWN
        else:
            await a.leave()
            await b.until(workload.id, Status.LOST)
        assert running(made) == Counter()


@pytest.mark.parametrize("answers", [True, False])
async def test_a_shutdown_while_a_claimed_workload_starts(
    answers: bool, autojump_clock: Clock
) -> None:
    async with cluster("a", "b", limits=EngineLimits(running=1)) as made:
        a, b = made.members.values()
        held = await b.submit("go")
        await trio.testing.wait_all_tasks_blocked()
        starter, other = (a, b) if held.id in b.stage.running else (b, a)
        starter.store.switch.hang("log")
        workload = await other.submit("go")
        await starter.until(workload.id, Status.RUNNING)
        starter.stop.set()
        await trio.sleep(0.5)
        if answers:
            starter.store.switch.recover()
            ended = await other.until(workload.id, Status.STOPPED)
            assert ended.reason == Reason.SHUTDOWN
        else:
            # It does not leave: the others have to end what it owns.
            await other.until(workload.id, Status.LOST)
        await starter.ended.wait()
        assert starter.error is None
        assert workload.id not in running(made)


async def test_a_node_that_leaves_is_gone_at_once(autojump_clock: Clock) -> None:
    async with cluster("a", "b", limits=EngineLimits(running=1)) as made:
        a, b = made.members.values()
        first = [await a.submit("until stop") for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked()
        waiting = await a.submit("go")
        began = trio.current_time()
        await a.leave()
        ended = [await b.engine.get(each.id) for each in first]
        assert sorted(each.status for each in ended) == [Status.RUNNING, Status.STOPPED]
        assert {each.reason for each in ended} == {None, Reason.SHUTDOWN}
        assert trio.current_time() - began < 1
        await trio.sleep(1.1)
        assert [node.id for node in b.nodes.known] == [b.id]
        # What waited goes on waiting, for another node.
        assert (await b.engine.get(waiting.id)).status is Status.QUEUED
        [other] = [each for each in first if each.id in b.stage.running]
        await b.engine.stop(other.id)
        b.stage.release.set()
        assert (await b.engine.finished(waiting.id)).status is Status.SUCCEEDED
