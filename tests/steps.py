"""Cancel a scenario at its first step, at its second, and so on, and look at what is left.

A step is one step of the scheduler, of whatever task, while the scenario runs: so the cancellation
arrives at each moment at which it can make a difference. What surrounds the scenario goes on.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
import trio.testing
from trio._core import _run as scheduler

__all__ = ["InvariantError", "Steps", "explore", "footprint", "run_once", "shuffled"]

MAX_STEPS = 20_000


class InvariantError(AssertionError):
    """An invariant that does not hold after a cancellation."""


class Steps(trio.abc.Instrument):
    """Counts steps while a scope is armed, and cancels it before step `cancel_at`."""

    def __init__(self, cancel_at: int) -> None:
        self.cancel_at = cancel_at
        self.count = 0
        self.order: list[str] = []
        self.fired = False
        self.is_installed = False
        self._scope: trio.CancelScope | None = None

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Run the scenario in here."""
        with trio.CancelScope() as self._scope:
            try:
                yield
            finally:
                self._scope = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._scope is None:
            return
        self.count += 1
        self.order.append(task.name.partition(" ")[0])  # without ids
        if self.count == self.cancel_at:
            self.fired = True
            self._scope.cancel(reason=f"step {self.count}")

    def after_run(self) -> None:
        # Trio drops an instrument that raises, and says so only in a log.
        self.is_installed = True


@dataclass
class Footprint:
    """What a run may not leave behind: descriptors by what they are, and child processes."""

    descriptors: Counter[str] = field(default_factory=Counter)
    children: set[int] = field(default_factory=set)


def footprint() -> Footprint:
    """What there is now."""
    found = Footprint()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue  # the listing's own
        # Numbers differ from one socket or pipe to the next.
        found.descriptors[target.partition(":[")[0]] += 1
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            found.children |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


@contextmanager
def shuffled(seed: int | None) -> Iterator[None]:
    """Have the scheduler shuffle the tasks that are ready by that seed, repeatably."""
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r
    if seed is not None:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
        scheduler._r = random.Random(seed)
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r = before  # type: ignore[misc]


def run_once(
    scenario: Callable[[Steps], Awaitable[Any]],
    cancel_at: int,
    *,
    seed: int | None = None,
    virtual: bool = True,
) -> Steps:
    """One run. The scenario sets itself up, runs under `Steps.armed`, and checks what is left.

    Raises InvariantError, with the step and the seed, if anything is wrong.
    """
    steps = Steps(cancel_at)
    before = footprint()
    clock = trio.testing.MockClock(autojump_threshold=0) if virtual else None
    try:
        with shuffled(seed):
            trio.run(scenario, steps, clock=clock, instruments=[steps])
        compare(before, steps)
    except Exception as error:
        raise InvariantError(f"cancelled at step {cancel_at}, seed {seed}: {error!r}") from error
    return steps


def compare(before: Footprint, steps: Steps) -> None:
    """What only shows once the run is over."""
    if not steps.is_installed:
        raise InvariantError("the instrument was dropped")
    if footprint() != before:
        raise InvariantError(f"left behind: {footprint()}, before: {before}")


def explore(
    scenario: Callable[[Steps], Awaitable[Any]], *, virtual: bool = True, stride: int = 1
) -> int:
    """Cancel at step 1, 1 + stride, … until a run completes; return how many steps that took."""
    for cancel_at in range(1, MAX_STEPS, stride):
        steps = run_once(scenario, cancel_at, virtual=virtual)
        if not steps.fired:
            return steps.count
    raise InvariantError(f"not over after {MAX_STEPS} steps")
