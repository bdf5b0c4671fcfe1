"""The seven scenarios that the project started from, each a test of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import trio
import trio.testing

from tests.live import Live
from trio_logs import Batch, End, LogBroker, Subscription, open_broker

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]


async def collect(subscription: Subscription, into: list[str]) -> None:
    """Append the lines of a subscription, and `end`, until it ends."""
    async for record in subscription:
        match record:
            case Batch():
                into += [line.decode() for line in record.lines]
            case End(outcome=outcome):
                into.append(f"end {outcome.status}")


async def test_single_subscriber(autojump_clock: trio.testing.MockClock) -> None:
    received: list[str] = []
    async with open_broker() as broker, trio.open_nursery() as nursery:
        with broker.subscribe("w") as subscription:
            nursery.start_soon(collect, subscription, received)
            for number in range(3):
                await broker.publish("w", f"line {number}")
                await trio.testing.wait_all_tasks_blocked()
                assert received[-1] == f"line {number}"
            await broker.close("w")
            await trio.testing.wait_all_tasks_blocked()
    assert received == ["line 0", "line 1", "line 2", "end succeeded"]


async def test_multiple_subscribers(autojump_clock: trio.testing.MockClock) -> None:
    received: dict[int, list[str]] = {number: [] for number in range(10)}

    async def follow(broker: LogBroker, number: int) -> None:
        with broker.subscribe("w") as subscription:
            await collect(subscription, received[number])

    async with open_broker() as broker, trio.open_nursery() as nursery:
        for number in received:
            nursery.start_soon(follow, broker, number)
        await trio.testing.wait_all_tasks_blocked()
        assert broker.statistics().subscriptions == 10
        lines = [f"line {number}" for number in range(100)]
        for line in lines:
            await broker.publish("w", line)
        await broker.close("w")
    assert all(found == [*lines, "end succeeded"] for found in received.values())


async def test_close(autojump_clock: trio.testing.MockClock) -> None:
    received: list[str] = []
    async with open_broker() as broker, trio.open_nursery() as nursery:
        with broker.subscribe("w", 1) as subscription:
            with await broker.open("w") as log:
                await log.write("one\ntwo without its end")
                nursery.start_soon(collect, subscription, received)
                await trio.testing.wait_all_tasks_blocked()
                assert received == ["one"]
            end = await broker.close("w")
            assert (end.lines, end.bytes) == (2, len("one\ntwo without its end"))
            await trio.testing.wait_all_tasks_blocked()
        assert received == ["one", "two without its end", "end succeeded"]
        # Closing again changes nothing, and the log takes no more.
        assert await broker.close("w") == end
        assert broker.statistics().topics == 0


async def test_late_subscriber(autojump_clock: trio.testing.MockClock) -> None:
    received: dict[str, list[str]] = {"live only": [], "from 1": [], "from 2": []}

    async def follow(broker: LogBroker, name: str, position: int | None) -> None:
        with broker.subscribe("w", position) as subscription:
            await collect(subscription, received[name])

    async with open_broker() as broker, trio.open_nursery() as nursery:
        await broker.publish("w", "early")
        await broker.publish("w", "second")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(follow, broker, "live only", None)
        nursery.start_soon(follow, broker, "from 1", 1)
        nursery.start_soon(follow, broker, "from 2", 2)
        await trio.testing.wait_all_tasks_blocked()
        await broker.publish("w", "late")
        await broker.close("w")
    assert received == {
        "live only": ["late", "end succeeded"],
        "from 1": ["early", "second", "late", "end succeeded"],
        "from 2": ["second", "late", "end succeeded"],
    }


async def test_sse_endpoint(open_server: OpenServer) -> None:
    async with open_server() as live:
        workload = await live.submit("sh", "-c", "echo one; echo two; exit 3")
        stream = await live.follow(workload["logs_url"])
        async with stream.stream:
            body = await stream.read_all()
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-cache, no-store, no-transform"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["x-content-type-options"] == "nosniff"
        assert "connection" not in stream.headers
        assert body == (
            b": open\nretry: 2000\n\n"
            b"id: 1\ndata: one\n\n"
            b"id: 2\ndata: two\n\n"
            b"event: end\nid: end\n"
            b'data: {"status":"failed","reason":"exited","exit_code":3,"signal":null,'
            b'"error":"The command exited with 3.","lines":2,"bytes":8}\n\n'
        )


def open_fds() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def living_tasks() -> set[trio.lowlevel.Task]:
    """Every task of this run."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found, unseen = set(), [root]
    while unseen:
        task = unseen.pop()
        found.add(task)
        unseen += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


async def test_client_disconnect(open_server: OpenServer) -> None:
    """A reader that leaves takes everything with it: no task, channel, subscription or fd stays."""
    async with open_server() as live:
        workload = await live.submit("sh", "-c", "echo one; exec sleep 100")
        stream = await live.follow(workload["logs_url"])
        await stream.read_until(b"data: one")
        await stream.stream.aclose()
        await settled(live, 0)
        tasks, fds = living_tasks(), open_fds()
        for _ in range(20):
            stream = await live.follow(workload["logs_url"])
            await stream.read_until(b"data: one")
            assert live.service.broker.statistics().subscriptions == 1
            await stream.stream.aclose()
            await settled(live, 0)
            assert living_tasks() == tasks
            assert open_fds() == fds
        statistics = live.service.broker.statistics()
        assert (statistics.topics, statistics.subscriptions) == (1, 0)
        await live.client.post(f"/v1/workloads/{workload['id']}/stop")
        await live.finished(workload["id"])


async def settled(live: Live, subscriptions: int) -> None:
    """Wait until the server has seen that its readers left."""
    with trio.fail_after(5):
        while live.service.broker.statistics().subscriptions != subscriptions:
            await trio.sleep(0.001)
    await trio.testing.wait_all_tasks_blocked(0.02)


async def test_completed_workload(open_server: OpenServer) -> None:
    """A finished log is served from the store, whole, with its end, and then 204."""
    async with open_server() as live:
        workload = await live.submit("sh", "-c", "echo one; echo two")
        record = await live.finished(workload["id"])
        assert record["status"] == "succeeded"
        assert live.service.broker.statistics().topics == 0
        first, second, end = await live.events(workload["id"])
        assert first == ("message", "1", "one")
        assert second == ("message", "2", "two")
        assert end[:2] == ("end", "end")
        assert end[2]["lines"] == 2
        answer = await live.client.get(workload["logs_url"], headers={"Last-Event-ID": "end"})
        assert (answer.status_code, answer.content) == (204, b"")
        assert await live.events(workload["id"], last_event_id="1") == [second, end]
