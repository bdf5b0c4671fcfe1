"""`GET /v1/events`, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.failing_parts import FailingStore
from tests.live import Live, RawStream, open_live, parse_events
from trio_logs.engine import EngineLimits
from trio_logs.records import WorkloadSpec
from trio_logs.settings import Settings
from trio_logs.store.memory import MemoryStore

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

OPENING = b": open\nretry: 2000\n\n"


async def follow(live: Live, after: str | None = None, *headers: str) -> RawStream:
    if after is not None:
        headers = (f"Last-Event-ID: {after}", *headers)
    raw = await live.follow("/v1/events", *headers)
    assert raw.status == 200
    return raw


async def first_position(raw: RawStream) -> str:
    """The id of the first frame after the opening."""
    await raw.read_until(b"\nid: ")
    opening, _, rest = raw.body.partition(b"id: ")
    assert opening == OPENING
    return rest.partition(b"\n\n")[0].decode()


async def until(raw: RawStream, count: int) -> list[tuple[str, str, Any]]:
    """So many events that are no progress."""
    while True:
        found = [each for each in parse_events(raw.body) if each[0] != "progress"]
        if len(found) >= count:
            return found
        await raw.read_until(raw.body + b"")
        with trio.fail_after(30):
            await raw.read_chunk()


async def test_a_list_and_the_events_from_its_position(open_server: OpenServer) -> None:
    async with open_server() as live:
        first = await live.submit("true")
        await live.finished(first["id"])
        listed = (await live.client.get("/v1/workloads")).json()
        assert listed["position"] == "3"
        second = await live.submit("echo", "hello", name="later")
        record = await live.finished(second["id"])
        await live.client.delete(f"/v1/workloads/{first['id']}")
        raw = await follow(live, listed["position"])
        async with raw.stream:
            found = await until(raw, 2)
            assert await first_position(raw) == "3"
            # Behind, it may get a workload once. What it gets last is what there is now.
            assert [each for each in found if each[0] == "workload"][-1] == (
                *("workload", "6", record),
            )
            assert found[-1] == ("deleted", "7", {"id": first["id"]})
            third = await live.submit("false")
            while not any(each[2].get("status") == "failed" for each in found):
                found = await until(raw, len(found) + 1)
            states = [each[2]["status"] for each in found if each[2]["id"] == third["id"]]
            assert states == ["queued", "running", "failed"]
            assert found[-1][2] == (await live.client.get(f"/v1/workloads/{third['id']}")).json()
            ids = [int(each[1]) for each in found]
            assert ids == sorted(set(ids))
            assert (await live.client.get("/v1/workloads")).json()["position"] == found[-1][1]


async def test_the_bytes_of_the_stream(open_server: OpenServer) -> None:
    async with open_server(heartbeat=0.2) as live:
        raw = await follow(live)
        async with raw.stream:
            assert raw.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert raw.headers["cache-control"] == "no-cache, no-store, no-transform"
            assert raw.headers["x-accel-buffering"] == "no"
            assert raw.headers["x-content-type-options"] == "nosniff"
            assert "connection" not in raw.headers
            assert await first_position(raw) == "0"
            await raw.read_until(b"\n\n: keep-alive\n\n")
            assert raw.body.startswith(OPENING + b"id: 0\n\n: keep-alive\n\n")
            workload = await live.submit("true")
            await raw.read_until(b"succeeded")
            _, _, rest = raw.body.partition(b"event: workload\n")
            frame = rest.partition(b"\n\n")[0]
            record = json.dumps(workload, separators=(",", ":"), ensure_ascii=False)
            assert frame == f"id: 1\ndata: {record}".encode()
            await live.client.delete(f"/v1/workloads/{workload['id']}")
            deleted = b'event: deleted\nid: 4\ndata: {"id":"%b"}\n\n' % workload["id"].encode()
            await raw.read_until(deleted)


async def test_ndjson(open_server: OpenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_logs.engine.change_feed.TICK_SECONDS", 0.05)
    async with open_server(heartbeat=0.2) as live:
        raw = await follow(live, None, "Accept: application/x-ndjson")
        async with raw.stream:
            assert raw.headers["content-type"] == "application/x-ndjson"
            await raw.read_until(b'{"event":"heartbeat"}\n')
            workload = await live.submit("sh", "-c", "echo hello; sleep 100", env={"X": "1"})
            await raw.read_until(b'"progress"')
            await live.client.post(f"/v1/workloads/{workload['id']}/stop", json={"grace": 0})
            await raw.read_until(b"stopped")
            await live.client.delete(f"/v1/workloads/{workload['id']}")
            await raw.read_until(b'"deleted"')
            live.service.drain()
            await raw.read_all()
    objects = [json.loads(line) for line in raw.body.splitlines()]
    objects = [each for each in objects if each["event"] != "heartbeat"]
    progress = {"event": "progress", "id": workload["id"], "lines": 1, "bytes": 6}
    assert objects.count(progress) == 1
    objects.remove(progress)
    assert objects[0] == {"event": "position", "id": "0"}
    assert objects[1] == {"event": "workload", "position": "1", **workload}
    assert [each["position"] for each in objects[1:-1]] == ["1", "2", "3", "4"]
    assert objects[-2] == {"event": "deleted", "position": "4", "id": workload["id"]}
    shutdown = objects[-1]
    assert (shutdown["event"], shutdown["reason"], shutdown["retry"]) == (
        *("shutdown", "draining", 3000),
    )


async def test_progress(open_server: OpenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_logs.engine.change_feed.TICK_SECONDS", 0.05)
    async with open_server() as live:
        # An embedder's log is no workload.
        with await live.service.broker.open("embedded") as log:
            await log.write("x\n")
        raw = await follow(live)
        async with raw.stream:
            # One write: the lines come together.
            script = r"printf 'one\ntwo\n'; sleep 100"
            workload = await live.submit("sh", "-c", script)
            data = b'"id":"%b","lines":2,"bytes":8' % workload["id"].encode()
            await raw.read_until(b"event: progress\ndata: {%b}\n\n" % data)
            assert [each[0] for each in parse_events(raw.body)] == [
                *("workload", "workload", "progress")
            ]


@pytest.mark.parametrize(
    ("after", "headers", "first"),
    [("2", (), 3), ("3", (), None), ("", (), None), ("000", (), 1), (None, ("X: y",), None)],
)
async def test_resume(
    open_server: OpenServer, after: str | None, headers: tuple[str, ...], first: int | None
) -> None:
    async with open_server() as live:
        await live.finished((await live.submit("true"))["id"])
        raw = await follow(live, after, *headers)
        async with raw.stream:
            assert await first_position(raw) == ("3" if first is None else str(int(after or 0)))
            await live.submit("true")
            found = await until(raw, 1)
            assert int(found[0][1]) == (first or 4)


async def test_the_header_wins(open_server: OpenServer) -> None:
    async with open_server() as live:
        await live.finished((await live.submit("true"))["id"])
        raw = await live.follow("/v1/events?last_event_id=1", "Last-Event-ID: 2")
        async with raw.stream:
            assert await first_position(raw) == "2"
        raw = await live.follow("/v1/events?last_event_id=1")
        async with raw.stream:
            assert await first_position(raw) == "1"


@pytest.mark.parametrize("after", ["4", "99999999999999999999999999"])
async def test_a_position_ahead_of_the_store(open_server: OpenServer, after: str) -> None:
    async with open_server() as live:
        await live.finished((await live.submit("true"))["id"])
        raw = await follow(live, after)
        async with raw.stream:
            await raw.read_until(b"id: 3\n\n")
            [(name, event_id, data)] = parse_events(raw.body)
            assert (name, event_id, data["reason"]) == ("reset", "", "beyond_head")
            assert data.keys() == {"reason", "detail"}
            assert raw.body.endswith(b"}\n\nid: 3\n\n")
            await live.submit("true")
            assert [each[1] for each in await until(raw, 2)][1] == "4"


async def test_a_position_older_than_what_is_kept(
    open_server: OpenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.store.sqlite.positions.KEPT_DELETIONS", 1)
    async with open_server() as live:
        for _ in range(2):
            workload = await live.submit("true")
            await live.finished(workload["id"])
            await live.client.delete(f"/v1/workloads/{workload['id']}")
    async with open_server() as live:
        raw = await follow(live, "3")
        async with raw.stream:
            await raw.read_until(b"id: 8\n\n")
            [(name, _, data)] = parse_events(raw.body)
            assert (name, data["reason"]) == ("reset", "too_old")
        raw = await follow(live, "4")
        async with raw.stream:
            assert await until(raw, 1) == [("deleted", "8", {"id": workload["id"]})]


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("?last_event_id=x", {}, 400),
        ("?last_event_id=-1", {}, 400),
        ("?last_event_id=end", {}, 400),
        ("?last_event_id=%C2%B2", {}, 400),
        ("?last_event_id=1&last_event_id=1", {}, 400),
        ("?follow=true", {}, 400),
        ("", {"Last-Event-ID": "1.2"}, 400),
        ("?last_event_id=x", {"Last-Event-ID": "1"}, 400),
        ("", {"Accept": "text/plain"}, 406),
        ("", {"Accept": "application/json"}, 406),
        ("", {"Authorization": "Bearer no"}, 401),
    ],
)
async def test_refusals(
    open_server: OpenServer, query: str, headers: dict[str, str], status: int
) -> None:
    async with open_server() as live:
        answer = await live.client.get(f"/v1/events{query}", headers=headers)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert live.service.statistics().engine.event_readers == 0


async def test_head_and_media_types(open_server: OpenServer) -> None:
    async with open_server() as live:
        for accept, kind in (
            ("*/*", "text/event-stream; charset=utf-8"),
            ("application/x-ndjson, */*;q=0.1", "application/x-ndjson"),
            ("text/plain, text/event-stream;charset=utf-8", "text/event-stream; charset=utf-8"),
        ):
            answer = await live.client.head("/v1/events", headers={"Accept": accept})
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["content-type"] == kind
            assert answer.headers["cache-control"] == "no-cache, no-store, no-transform"
        assert live.service.statistics().engine.event_readers == 0


async def test_it_takes_a_slot_and_gives_it_back(open_server: OpenServer) -> None:
    async with open_server(max_streams=1) as live:
        raw = await follow(live)
        async with raw.stream:
            await first_position(raw)
            assert live.service.statistics().engine.event_readers == 1
            assert (await live.client.get("/v1/events")).status_code == 429
        with trio.fail_after(30):
            while live.service.statistics().engine.event_readers:
                await live.client.get("/healthz")
            while (await live.client.head("/v1/events")).status_code != 200:
                pass
        again = await live.follow("/v1/events")
        async with again.stream:
            assert again.status in (200, 429)


async def test_a_shutdown_ends_the_stream_and_it_resumes(open_server: OpenServer) -> None:
    async with open_server() as live:
        raw = await follow(live)
        async with raw.stream:
            workload = await live.submit("sleep", "100")
            await until(raw, 2)
            live.service.drain()
            await raw.read_all()
        assert raw.ended
    *_, last = parse_events(raw.body)
    assert (last[0], last[1], last[2]["reason"]) == ("shutdown", "", "draining")
    assert b"event: shutdown\nretry: 3000\n" in raw.body
    async with open_server() as live:
        raw = await follow(live, "2")
        async with raw.stream:
            [(name, event_id, record)] = await until(raw, 1)
            assert (name, event_id) == ("workload", "3")
            assert (record["id"], record["reason"]) == (workload["id"], "shutdown")
        live.service.drain()
        answer = await live.client.get("/v1/events")
        assert (answer.status_code, answer.json()["reason"]) == (503, "draining")


async def test_a_failing_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 where the answer needs the store at its start, and a cut where it needs it later. A
    reader at the head goes on, and submissions do."""
    monkeypatch.setattr("trio_logs.engine.change_window.MAX_CHANGES", 1)
    store: Any = FailingStore(MemoryStore())
    async with open_live(Settings(data=tmp_path), store=store) as live:
        await live.finished((await live.submit("true"))["id"])
        raw = await follow(live)
        async with raw.stream:
            assert await first_position(raw) == "3"
            store.switch.fail("changes")
            answer = await live.client.get("/v1/events", headers={"Last-Event-ID": "1"})
            assert (answer.status_code, answer.json()["reason"]) == (503, "store")
            # At the head, and one change behind, memory is enough.
            for position in ("2", "3"):
                other = await follow(live, position)
                await other.stream.aclose()
            # Several changes in one step leave the reader behind the window.
            feed = live.service.engine.changes
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(live.service.engine.submit, WorkloadSpec(("true",)))
            assert feed.published > 3
            with pytest.raises(EOFError):
                await raw.read_all()
            assert not raw.ended
            assert b"event: shutdown" not in raw.body
            assert (await live.client.get("/readyz")).status_code == 200
            store.switch.recover()
        last = [each[1] for each in parse_events(raw.body) if each[1]]
        again = await follow(live, last[-1] if last else "3")
        async with again.stream:
            await until(again, 1)


async def test_a_slow_reader_gets_the_newest_of_each(
    open_server: OpenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes nothing while more changes come than the window holds."""
    monkeypatch.setattr("trio_logs.engine.change_window.MAX_CHANGES", 5)
    async with open_server(engine=EngineLimits(running=1)) as live:
        await live.submit("sleep", "1000")
        raw = await follow(live, "0")
        async with raw.stream:
            await until(raw, 2)
            # They wait in the queue: each of them changes once.
            spec = WorkloadSpec(("x" * 20_000,))
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(live.service.engine.submit, spec)
            await live.submit("true", name="last")
            await raw.read_until(b'"name":"last"')
    found = [each for each in parse_events(raw.body) if each[0] == "workload"]
    assert [int(each[1]) for each in found] == list(range(1, 54))
    assert len({each[2]["id"] for each in found}) == 52


async def test_the_position_of_a_list_is_from_before_it(tmp_path: Path) -> None:
    store: Any = FailingStore(MemoryStore())
    async with open_live(Settings(data=tmp_path), store=store) as live:
        await live.service.engine.submit(WorkloadSpec(("true",), backend="push"))
        before = live.service.engine.changes.position
        pages: list[dict[str, Any]] = []

        async def page() -> None:
            pages.append((await live.client.get("/v1/workloads")).json())

        async with trio.open_nursery() as nursery:
            # The service looks for the newest time at its start.
            await wait_all_tasks_blocked()
            called = store.switch.calls.count("workloads")
            store.switch.hang("workloads")
            nursery.start_soon(page)
            await store.switch.until_called("workloads", called + 1)
            await live.service.engine.submit(WorkloadSpec(("true",), backend="push"))
            store.switch.recover()
        assert pages[0]["position"] == str(before)


async def test_many_readers_share_each_form(open_server: OpenServer) -> None:
    async with open_server() as live:
        streams = [await follow(live) for _ in range(5)]
        for raw in streams:
            await first_position(raw)
        await live.finished((await live.submit("echo", "é\u2028\r"))["id"])
        bodies = []
        for raw in streams:
            found = await until(raw, 3)
            bodies.append(found)
            await raw.stream.aclose()
        assert all(body == bodies[0] for body in bodies)
        assert bodies[0][0][2]["command"] == ["echo", "é\u2028\r"]
