"""Each operation, cancelled at each of its steps; and what that tool would notice."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import trio

from tests.campaign import RUNS, campaign
from tests.scenarios import (
    LINES,
    LOG,
    PROCESSES,
    SCENARIOS,
    Publish,
    Scenario,
    Subscribe,
    World,
    run_with_failing_backend,
    run_with_failing_store,
    scenario_run,
    shutdown_run,
)
from tests.steps import InvariantError, explore, run_once
from trio_logs.records import Batch
from trio_logs.store.memory import MemoryStore

SEEDS = range(10)

ON_DISK: dict[str, Any] = {
    **{
        name: scenario_run(SCENARIOS[name], sqlite=True)
        for name in ("submit", "stop", "finish", "push", "append", "retention")
    },
    **{name: scenario_run(kind, sqlite=True) for name, kind in PROCESSES.items()},
    "shutdown": shutdown_run(sqlite=True),
}


@pytest.mark.parametrize("name", RUNS)
def test_cancelled_at_each_step(name: str, record_figure: Any) -> None:
    steps, failed = campaign(name, SEEDS)
    record_figure(f"{name}: k = {steps} steps, {len(SEEDS)} seeds")
    assert not failed, "\n".join(
        f"python -m tests.campaign --scenario {name!r} --seed {seed}: {error}"
        for seed, error in failed
    )


@pytest.mark.parametrize("name", ON_DISK)
def test_cancelled_at_steps_with_sqlite(name: str, record_figure: Any) -> None:
    """In real time and with threads, so that steps are not the same each time; every third."""
    steps = explore(ON_DISK[name], virtual=False, stride=3)
    record_figure(f"{name} with SQLite: k = {steps} steps, each third")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_store_that_fails_at_each_call(
    after: bool, autojump_clock: trio.testing.MockClock, record_figure: Any
) -> None:
    call = 1
    while await run_with_failing_store(call, after=after):
        call += 1
    record_figure(f"store fails {'after' if after else 'before'}: {call - 1} calls")
    assert call > 10


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_backend_that_fails_at_each_call(
    after: bool, autojump_clock: trio.testing.MockClock, record_figure: Any
) -> None:
    call = 1
    while await run_with_failing_backend(call, after=after):
        call += 1
    record_figure(f"backend fails {'after' if after else 'before'}: {call - 1} calls")
    assert call == 7


UNDO: list[Callable[[], object]] = []
"""What makes good what was planted, once it was caught."""


class LeakTask(Scenario):
    async def run(self, world: World) -> None:
        world.nursery.start_soon(trio.sleep, 1000)


class LeakSubscription(Subscribe):
    async def run(self, world: World) -> None:
        subscription = world.broker.subscribe(LOG, 1)
        subscription.__enter__()
        UNDO.append(lambda: subscription.__exit__(None, None, None))
        await trio.lowlevel.checkpoint()
        UNDO.pop()()


class LeakDescriptor(Scenario):
    async def run(self, world: World) -> None:
        left = os.open("/dev/zero", os.O_RDONLY)
        UNDO.append(lambda: os.close(left))
        await trio.lowlevel.checkpoint()
        UNDO.pop()()


class SwallowCancelled(Subscribe):
    """It goes on although it was cancelled, and so stores what it should not have."""

    async def run(self, world: World) -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await world.broker.publish(LOG, "more")

    async def check(self, world: World) -> None:
        end = await world.broker.close(LOG)
        if end.lines != 5:
            raise InvariantError(f"{end.lines} lines")


class TwiceStore(MemoryStore):
    """It keeps the second line twice, under two numbers."""

    async def append(self, workload_id: str, records: Sequence[Batch], **options: Any) -> None:
        await super().append(workload_id, records, **options)
        for batch in records:
            if LINES[1].encode() in batch.data:
                self._logs[workload_id].records.append(replace(batch, first=batch.last + 1))


@pytest.mark.parametrize("kind", [LeakTask, LeakSubscription, LeakDescriptor, SwallowCancelled])
def test_the_tool_catches_what_is_planted(kind: type[Scenario]) -> None:
    with pytest.raises(InvariantError):
        explore(scenario_run(kind))
    while UNDO:
        UNDO.pop()()


def test_the_tool_catches_a_store_that_keeps_a_line_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.scenarios.MemoryStore", TwiceStore)
    with pytest.raises(InvariantError, match=r"written: .*line 2.*line 2"):
        explore(scenario_run(Publish))


def test_a_seed_repeats_itself() -> None:
    orders = {
        seed: [run_once(RUNS["finish"], 10_000, seed=seed).order for _ in range(2)]
        for seed in range(5)
    }
    assert all(once == again for once, again in orders.values())
    assert any(once != orders[0][0] for once, _ in orders.values()), "nothing is shuffled"
