"""A node that dies at a step of what it does with others, and callers that are cancelled so.

`python -m tests.test_nodes_steps` takes each step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog
import trio

from tests.nodes_stage import Cluster, Member, cluster
from tests.steps import InvariantError, Steps, explore
from tests.test_nodes_push import inbox, push
from trio_logs.engine import EngineLimits
from trio_logs.errors import TrioLogsError
from trio_logs.records import Outcome, Reason, Status
from trio_logs.store import WorkloadQuery

ONE = EngineLimits(running=1)
OK = Outcome(Status.SUCCEEDED, 0, reason=Reason.EXITED)

Act = Callable[[Cluster, Member], Awaitable[Any]]


async def claim(made: Cluster, a: Member) -> None:
    b = made.members["b"]
    ids = [(await b.submit("flush")).id for _ in range(3)]
    for workload_id in ids:
        await a.engine.finished(workload_id)


async def take(made: Cluster, a: Member) -> None:
    b = made.members["b"]
    workload = await b.submit(backend="push")
    await push(b, workload.id, 0, b"one\n")
    await push(a, workload.id, 4, b"two\n")
    await push(b, workload.id, 8, b"three\n")


async def bury(made: Cluster, a: Member) -> None:
    """Both find the third node dead, at the same time."""
    c = made.members["c"]
    workload = await c.submit("go")
    while not c.stage.running:
        await trio.sleep(0.1)
    c.kill()
    await a.engine.finished(workload.id)


async def stop(made: Cluster, a: Member) -> None:
    b = made.members["b"]
    workloads = [await b.submit("until stop") for _ in range(3)]
    for workload in workloads:
        await a.engine.stop(workload.id, grace=0)
    for workload in workloads:
        await a.engine.finished(workload.id)


async def leave(made: Cluster, a: Member) -> None:
    b = made.members["b"]
    for _ in range(3):
        await b.submit("until stop")
    await push(a, (await a.submit(backend="push")).id, 0, b"one\n")
    await a.leave()


ACTS: dict[str, Act] = {
    "claim": claim,
    "take": take,
    "bury": bury,
    "stop": stop,
    "leave": leave,
}


CALLED = ["take", "stop", "claim"]


def dying(act: Act) -> Callable[[Steps], Awaitable[None]]:
    """The node that acts dies at a step; another one lives on."""

    async def scenario(steps: Steps) -> None:
        async with cluster("b", limits=ONE) as made:
            if act is bury:
                await made.start("c", ONE)
            with steps.armed():
                async with trio.open_nursery() as nursery:
                    dies = Cluster(nursery, made.tables)
                    await act(made, await dies.start("a", ONE))
                    nursery.cancel_scope.cancel()
            await check(made, made.members["b"], *made.members.values(), *dies.members.values())

    return scenario


def cancelled(act: Act) -> Callable[[Steps], Awaitable[None]]:
    """The caller is cancelled at a step; both nodes live on."""

    async def scenario(steps: Steps) -> None:
        async with cluster("a", "b", limits=ONE) as made:
            a, b = made.members.values()
            with steps.armed():
                await act(made, a)
            for member in (a, b):
                if member.error is not None:
                    raise InvariantError(f"{member.name}: {member.error!r}")
            await check(made, b, a, b)

    return scenario


async def check(made: Cluster, living: Member, *members: Member) -> None:
    """Each workload starts once at most, and ends once; no log is lost."""
    for member in members:
        member.stage.release.set()
    with trio.move_on_after(200):
        while True:
            found = await living.engine.list(WorkloadQuery())
            for each in found:
                if each.status.final:
                    continue
                if each.spec.backend == "push":
                    await finish(living, each.id)
                elif each.spec.command == ("until stop",):
                    await living.engine.stop(each.id)
            if all(each.status.final for each in found):
                break
            await trio.sleep(1)
    if not all(each.status.final for each in found):
        raise InvariantError(f"not ended: {found}")
    started = [each for member in members for each in member.stage.running]
    if len(started) != len(set(started)):
        raise InvariantError(f"started twice: {started}")
    for each in found:
        _, end = await living.lines(each.id)
        if end is None or end.outcome.status is not each.status:
            raise InvariantError(f"{each} has the end {end}")
    while living.engine.statistics().owned:
        await trio.sleep(1)
    if made.tables._owners:
        raise InvariantError(f"owned for ever: {made.tables._owners}")


async def finish(member: Member, workload_id: str) -> None:
    """As a client does that comes back."""
    try:
        box = await inbox(member, workload_id)
        await box.finish(OK, None)
    except (TrioLogsError, AssertionError):
        await trio.sleep(0.1)


@pytest.mark.parametrize("name", ACTS)
def test_a_node_that_dies_at_some_steps(name: str, record_figure: Any) -> None:
    record_figure(f"{name}: k = {explore(dying(ACTS[name]), stride=17)} steps, each 17th")


@pytest.mark.parametrize("name", CALLED)
def test_a_caller_that_is_cancelled_at_some_steps(name: str, record_figure: Any) -> None:
    record_figure(f"{name}: k = {explore(cancelled(ACTS[name]), stride=13)} steps, each 13th")


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    for each in ACTS:
        print(f"a node that dies, {each}: k = {explore(dying(ACTS[each]))} steps", flush=True)
    for each in CALLED:
        print(f"a caller, {each}: k = {explore(cancelled(ACTS[each]))} steps", flush=True)
