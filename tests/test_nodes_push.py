"""Logs that clients push, and that move from node to node."""

from __future__ import annotations

from functools import partial
from typing import Self

import pytest
import structlog
import trio
import trio.testing

from tests.nodes_stage import Cluster, Member, cluster
from trio_logs.backends.inbox import Inbox
from trio_logs.backends.push import PushLimits
from trio_logs.errors import NotReadyError, OffsetError, StoreError
from trio_logs.records import Outcome, Reason, Status, now

Clock = trio.testing.MockClock
OK = Outcome(Status.SUCCEEDED, 0, reason=Reason.EXITED)


class Body:
    """The body of a request, which a refusal may leave unread."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._chunks:
            raise StopAsyncIteration
        return self._chunks.pop(0)


async def inbox(member: Member, workload_id: str) -> Inbox:
    """As the route finds it."""
    found = member.push.inbox(workload_id)
    if found is None or found.is_fenced:
        assert await member.engine.take_over(workload_id)
        found = member.push.inbox(workload_id)
    if found is None or found.is_fenced:
        raise NotReadyError("another node has taken it over already")
    return found


async def push(member: Member, workload_id: str, offset: int, *chunks: bytes) -> int:
    """As the route does."""
    try:
        return await (await inbox(member, workload_id)).receive(Body(*chunks), offset)
    except OffsetError:
        if await member.engine.owns(workload_id):
            raise
        raise NotReadyError("another node has it") from None


async def test_a_push_goes_on_at_another_node(autojump_clock: Clock) -> None:
    async with cluster("a", "b", "c") as made:
        a, b, c = made.members.values()
        workload = await a.submit(backend="push")
        assert (workload.status, workload.node) == (Status.RUNNING, a.id)
        found: list[tuple[list[str], object]] = []

        async def read(member: Member) -> None:
            found.append(await member.lines(workload.id))

        async with trio.open_nursery() as nursery:
            for member in (a, b, c):
                nursery.start_soon(read, member)
            assert await push(a, workload.id, 0, b"one\n", b"tw") == 4
            # The start of a line does not count, so the client sends it again.
            assert await push(b, workload.id, 4, b"two\n") == 8
            assert (await c.engine.get(workload.id)).node == b.id
            with pytest.raises(OffsetError) as caught:
                await push(b, workload.id, 9, b"x")
            assert caught.value.durable == 8
            # The node that had it lets go of it without an end.
            await trio.sleep(31)
            assert a.engine.statistics().owned == 0
            assert a.engine.statistics().fenced == 1
            assert await push(a, workload.id, 8, b"three\n") == 14
            await (await inbox(c, workload.id)).finish(OK, 14)
            ended = await a.engine.finished(workload.id)
        assert (ended.status, ended.lines, ended.bytes, ended.node) == (
            Status.SUCCEEDED,
            3,
            14,
            c.id,
        )
        assert [lines for lines, _ in found] == [["one", "two", "three"]] * 3
        assert len({str(end) for _, end in found}) == 1


async def test_a_push_that_comes_back_at_once(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        workload = await a.submit(backend="push")
        for turn in range(6):
            member = (a, b)[turn % 2]
            assert await push(member, workload.id, 5 * turn, b"line\n") == 5 * turn + 5
            assert (await b.engine.get(workload.id)).node == member.id
            await trio.testing.wait_all_tasks_blocked()
        # The earlier owner finds out in the end, though nobody sends it a byte.
        await trio.sleep(31)
        assert [member.engine.statistics().owned for member in (a, b)] == [0, 1]


async def test_a_takeover_with_an_unknown_result(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        workload = await a.submit(backend="push")
        b.store.switch.fail("take", after=True)
        with pytest.raises(StoreError):
            await push(b, workload.id, 0, b"one\n")
        b.store.switch.recover()
        # The node owns the log, and finds out by itself.
        await trio.sleep(2)
        first = b.push.inbox(workload.id)
        assert first is not None
        assert await push(b, workload.id, 0, b"one\n") == 4
        # It takes the log from itself.
        b.store.switch.fail("take", after=True)
        with pytest.raises(StoreError):
            await b.engine._sharing.claims._own(  # type: ignore[union-attr]
                "take", partial(b.store.take, workload.id, now())
            )
        b.store.switch.recover()
        await trio.sleep(2)
        assert b.push.inbox(workload.id) is not first
        assert b.engine.statistics().owned == 1
        assert await push(b, workload.id, 4, b"two\n") == 8
        await (await inbox(b, workload.id)).finish(OK, 8)
        assert (await b.engine.finished(workload.id)).status is Status.SUCCEEDED
        await until_let_go(made)


async def test_the_node_that_had_a_push_does_not_say_that_it_ended(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        workload = await a.submit(backend="push")
        old = await inbox(a, workload.id)
        # The bells of this node are lost.
        a.store.watch_logs(lambda _: None)
        await push(a, workload.id, 0, b"one\n")
        await push(b, workload.id, 4, b"two\n")
        # It must not send the client back to byte 4, either.
        with pytest.raises(NotReadyError, match="another node"):
            await push(a, workload.id, 8, b"three\n")
        with structlog.testing.capture_logs() as log:
            for _ in range(2):
                with pytest.raises(NotReadyError, match="another node"):
                    await old.receive(Body(b"two\n"), 4)
            await trio.testing.wait_all_tasks_blocked()
        assert [each["event"] for each in log] == ["workload fenced: another node owns it"]
        assert a.push.inbox(workload.id) is None
        assert await push(a, workload.id, 8, b"three\n") == 14
        assert (await b.engine.get(workload.id)).status is Status.RUNNING


async def test_a_push_survives_the_death_of_its_node(autojump_clock: Clock) -> None:
    async with cluster("b") as made:
        a = await made.start("a", push=PushLimits(patience=60))
        b = await made.start("c", push=PushLimits(patience=60))
        gone, goes_on = [await a.submit(backend="push") for _ in range(2)]
        await push(a, goes_on.id, 0, b"one\n")
        a.kill()
        await trio.sleep(40)
        assert await push(b, goes_on.id, 4, b"two\n") == 8
        await (await inbox(b, goes_on.id)).finish(OK, 8)
        assert (await b.lines(goes_on.id))[0] == ["one", "two"]
        assert (await b.engine.get(gone.id)).status is Status.RUNNING
        # A client that does not come back is noticed by one of the others.
        ended = await made.members["b"].engine.finished(gone.id)
        assert (ended.status, ended.reason) == (Status.LOST, Reason.CLIENT_LOST)


async def test_a_node_that_leaves_gives_its_pushes_away(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        workload = await a.submit(backend="push")
        await push(a, workload.id, 0, b"one\n")
        await a.leave()
        await trio.sleep(2)
        assert (await b.engine.get(workload.id)).node == b.id
        assert b.push.inbox(workload.id) is not None
        assert await push(b, workload.id, 4, b"two\n") == 8


async def test_any_node_stops_a_push(autojump_clock: Clock) -> None:
    async with cluster("a", "b") as made:
        a, b = made.members.values()
        first, second = [await a.submit(backend="push") for _ in range(2)]
        await b.engine.stop(first.id)
        assert (await b.engine.finished(first.id)).status is Status.STOPPED
        # No node has it.
        await a.leave()
        await b.engine.stop(second.id)
        assert (await b.engine.finished(second.id)).status is Status.STOPPED


async def test_many_takeovers_at_once_end_with_one_owner(autojump_clock: Clock) -> None:
    async with cluster("a", "b", "c") as made:
        workload = await made.members["a"].submit(backend="push")
        text = b"".join(b"line %d\n" % number for number in range(200))

        async def send(member: Member, pieces: int) -> None:
            done = 0
            while done < len(text):
                try:
                    done = await push(member, workload.id, done, text[done : done + pieces])
                except OffsetError as error:
                    done = error.durable
                except NotReadyError:
                    await trio.sleep(0.01)
                # A connection of the same client at one node cuts the other.
                await trio.sleep(0.001)

        async with trio.open_nursery() as nursery:
            for place, member in enumerate(made.members.values()):
                nursery.start_soon(send, member, 7 + place)
        await (await inbox(made.members["b"], workload.id)).finish(OK, len(text))
        lines, end = await made.members["c"].lines(workload.id)
        assert lines == text.decode().splitlines()
        assert end is not None
        await until_let_go(made)


async def until_let_go(made: Cluster) -> None:
    """Return once no node has a job."""
    while any(member.engine.statistics().owned for member in made.members.values()):
        await trio.sleep(1)
