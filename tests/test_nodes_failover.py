"""Ends that a failover to a database which is behind has lost."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.nodes_stage import Cluster, Member, cluster
from tests.shared_stores import forget_end
from trio_logs.records import Reason, Status
from trio_logs.store.shared import Owned

Clock = trio.testing.MockClock


async def ended(made: Cluster, member: Member) -> Owned:
    """A workload that has written a line and has ended, as it was while it ran."""
    workload = await member.submit("in turns", "write")
    await member.stage.started.wait()
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


@pytest.mark.parametrize("left", [0, 1])
async def test_the_owner_stores_the_end_again(autojump_clock: Clock, left: int) -> None:
    """It does not run the workload again. Readers are told of lines that are lost."""
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        await b.leave()
        owned = await ended(made, a)
        forget_end(made.tables, owned, a.id, left)
        await outage(a)
        c = await made.start("c")
        found, end = await c.lines(owned.workload.id)
        assert found == (["line"] if left else ["gap store"])
        record = await c.engine.get(owned.workload.id)
        assert (record.status, record.lines, record.bytes) == (Status.SUCCEEDED, 1, 5)
        assert end is not None
        assert (end.lines, end.bytes) == (1, 5)
        assert a.stage.running == [owned.workload.id]
        assert made.tables.owned(a.id) == []


async def test_an_end_that_is_not_known_any_more(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.engine.ends.KEPT", 0)
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
        a.store.switch.fail("beat")
        await trio.sleep(3)
        a.store.come_back()
        await trio.sleep(3)
        assert (await a.engine.get(owned.workload.id)).status is Status.SUCCEEDED
