"""Ends that a failover to a database which is behind has lost."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import trio
import trio.testing

from tests.nodes_stage import Cluster, Member, cluster
from tests.shared_stores import forget_end, forget_log
from trio_logs.errors import StoreError
from trio_logs.records import Reason, Status, WorkloadSpec
from trio_logs.store import WorkloadQuery
from trio_logs.store.shared import PUSHED, Owned

Clock = trio.testing.MockClock


async def ended(made: Cluster, member: Member, reading: ExitStack | None = None) -> Owned:
    """A workload that has written a line and has ended, as it was while it ran. A reader that has
    read nothing keeps its log in memory until `reading` is closed."""
    workload = await member.submit("in turns", "write")
    await member.stage.started.wait()
    if reading is not None:
        reading.enter_context(member.broker.subscribe(workload.id, 1))
    [owned] = made.tables.owned(member.id)
    member.stage.turn.set()
    member.stage.release.set()
    await member.until(workload.id, Status.SUCCEEDED)
    return owned


async def outage(member: Member) -> None:
    """The store of the member is away for some seconds."""
    member.store.go_away()
    await trio.sleep(3)
    member.store.come_back()
    await trio.sleep(3)


@pytest.mark.parametrize(
    ("left", "is_held", "expected"),
    [(1, False, "line"), (0, True, "line"), (0, False, "gap store")],
)
async def test_the_owner_stores_the_end_again(
    autojump_clock: Clock, left: int, is_held: bool, expected: str
) -> None:
    """It does not run the workload again. Lines that the database has lost come from its memory, or
    become a gap."""
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        await b.leave()
        with ExitStack() as reading:
            owned = await ended(made, a, reading if is_held else None)
            forget_end(made.tables, owned, a.id, left)
            await outage(a)
        c = await made.start("c")
        found, end = await c.lines(owned.workload.id)
        assert found == [expected]
        record = await c.engine.get(owned.workload.id)
        assert (record.status, record.lines, record.bytes) == (Status.SUCCEEDED, 1, 5)
        assert end is not None
        assert (end.lines, end.bytes) == (1, 5)
        assert a.stage.running == [owned.workload.id]
        assert made.tables.owned(a.id) == []


async def test_an_end_that_is_not_known_any_more(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.engine.jobs.Past.end", lambda past, owned: None)
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        await b.leave()
        owned = await ended(made, a)
        forget_end(made.tables, owned, a.id, 1)
        await outage(a)
        record = await a.engine.get(owned.workload.id)
        assert (record.status, record.reason) == (Status.LOST, Reason.SERVER_LOST)
        assert record.error is not None
        assert "failover" in record.error
        assert a.stage.running == [owned.workload.id]


async def test_the_owner_looks_after_each_outage(autojump_clock: Clock) -> None:
    """Also if it has no room to claim anything, so that no claim has failed."""
    async with cluster("a") as made:
        [a] = made.members.values()
        owned = await ended(made, a)
        forget_end(made.tables, owned, a.id, 1)
        a.store.outages += 1
        await trio.sleep(3)
        assert (await a.engine.get(owned.workload.id)).status is Status.SUCCEEDED


async def test_a_claim_that_takes_effect_after_a_comparison(autojump_clock: Clock) -> None:
    """As a commit that hangs for longer than its connection."""
    async with cluster("a") as made:
        [a] = made.members.values()
        a.store.switch.fail("claim")
        workload = await a.submit("go")
        await trio.sleep(5)
        made.tables.claim(a.id, 1, workload.created_at, a.store)
        await trio.sleep(40)
        assert a.stage.running == [workload.id]


@pytest.mark.parametrize("call", ["withdraw", "delete"])
async def test_a_submission_that_failed_is_deleted_whatever_fails_meanwhile(
    autojump_clock: Clock, call: str
) -> None:
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        b.store.switch.fail("claim")
        a.store.switch.fail("claim")
        a.store.switch.fail("create", after=True)
        a.store.switch.fail(call, after=call == "withdraw")
        with pytest.raises(StoreError):
            await a.submit("go")
        await trio.sleep(1)
        a.store.switch.recover()
        await a.leave()
        assert made.tables.owned(a.id) == []
        assert list(await b.engine.list(WorkloadQuery())) == []


async def test_a_burial_that_hangs_delays_no_beat(autojump_clock: Clock) -> None:
    async with cluster("a", "b", "c") as made:
        a, b, c = made.members.values()
        a.store.switch.hang("bury")
        b.store.switch.hang("bury")
        c.kill()
        await trio.sleep(60)
        a.store.switch.recover()
        await trio.sleep(20)
        assert not a.ended.is_set()
        assert not b.ended.is_set()
        assert {node.id for node in a.nodes.known} == {a.id, b.id}


async def test_what_was_read_before_a_failover_is_read_again(autojump_clock: Clock) -> None:
    async with cluster("a") as made:
        [a] = made.members.values()
        owned = await ended(made, a)
        b = await made.start("b")
        for member in (a, b):
            assert (await member.lines(owned.workload.id))[0] == ["line"]
        forget_end(made.tables, owned, a.id, 0)
        await outage(a)
        for member in (a, b):
            # The connection that tells news is back.
            member.store.tell_log(None)
            assert (await member.lines(owned.workload.id))[0] == ["gap store"]


async def test_readers_of_a_log_that_a_failover_has_lost(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made, trio.open_nursery() as nursery:
        a, b = made.members.values()
        workload, _ = await a.engine.submit(WorkloadSpec((), backend=PUSHED))
        await a.until(workload.id, Status.RUNNING)
        with trio.fail_after(60):
            for member in (a, b):
                nursery.start_soon(member.lines, workload.id)
            await trio.testing.wait_all_tasks_blocked()
            forget_log(made.tables, workload.id)
