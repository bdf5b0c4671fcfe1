"""Readers that merge histories take turns."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_logs.broker.merge_turns import MergeStatistics, MergeTurn, MergeTurns


class Reader:
    """A reader that counts how often it let go of its rows."""

    def __init__(self, turns: MergeTurns) -> None:
        self.drops = 0
        self.turn: MergeTurn = turns.turn(self._drop)

    def _drop(self) -> None:
        self.drops += 1


async def test_only_so_many_hold_rows(autojump_clock: trio.testing.MockClock) -> None:
    turns = MergeTurns(2, 1.0)
    first, second, third = [Reader(turns) for _ in range(3)]
    for reader in (first, second, first):
        await reader.turn.take()
    assert trio.current_time() == 0
    # The oldest turn goes to the third once it has lasted long enough, whatever its reader does.
    await third.turn.take()
    assert trio.current_time() == pytest.approx(1)
    assert (first.drops, second.drops, third.drops) == (1, 0, 0)
    assert turns.statistics() == MergeStatistics(2, 0)
    first.turn.end()
    assert turns.statistics() == MergeStatistics(2, 0)


async def test_the_end_of_a_turn_lets_the_next_one_in(
    autojump_clock: trio.testing.MockClock,
) -> None:
    turns = MergeTurns(1, 100.0)
    holder = Reader(turns)
    await holder.turn.take()
    order: list[str] = []

    async def take(name: str) -> None:
        reader = Reader(turns)
        await reader.turn.take()
        order.append(name)
        reader.turn.end()

    async with trio.open_nursery() as nursery:
        for number, name in enumerate("abc", 1):
            nursery.start_soon(take, name)
            await trio.testing.wait_all_tasks_blocked()
            assert turns.statistics() == MergeStatistics(1, number)
        holder.turn.end()
    assert order == ["a", "b", "c"]
    assert trio.current_time() == 0
    assert turns.statistics() == MergeStatistics(0, 0)


async def test_a_wait_that_is_cancelled_keeps_its_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Such as by a heartbeat."""
    turns = MergeTurns(1, 100.0)
    holder, early, late = [Reader(turns) for _ in range(3)]
    await holder.turn.take()
    order: list[Reader] = []

    async def take(reader: Reader) -> None:
        await reader.turn.take()
        order.append(reader)
        reader.turn.end()

    with trio.move_on_after(1):
        await take(early)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, late)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(take, early)
        await trio.testing.wait_all_tasks_blocked()
        holder.turn.end()
    assert order == [early, late]


async def test_a_turn_that_came_with_a_cancellation_can_be_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    turns = MergeTurns(1, 1.0)
    holder, cancelled, other = [Reader(turns) for _ in range(3)]
    await holder.turn.take()
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:

            async def give() -> None:
                scope.cancel()
                holder.turn.end()

            nursery.start_soon(give)
            await cancelled.turn.take()
        assert scope.cancelled_caught
    # Its reader does nothing, as if its client took nothing.
    with trio.fail_after(100):
        await other.turn.take()
    assert trio.current_time() == pytest.approx(1)
    assert cancelled.drops == 1
    for reader in (cancelled, other):
        reader.turn.end()
    assert turns.statistics() == MergeStatistics(0, 0)


async def test_a_reader_that_leaves_the_queue_takes_no_turn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    turns = MergeTurns(1, 1.0)
    holder, left, other = [Reader(turns) for _ in range(3)]
    await holder.turn.take()
    with trio.move_on_after(0.5):
        await left.turn.take()
    left.turn.end()
    await other.turn.take()
    assert trio.current_time() == pytest.approx(1)
    assert (holder.drops, turns.statistics()) == (1, MergeStatistics(1, 0))
