"""Several logs in one stream, over real sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from tests.failing_parts import FailingStore
from tests.follower import eventually
from tests.live import PATIENCE, Live, RawStream, open_live
from trio_logs import LogWriter, function
from trio_logs.broker import BrokerLimits, MergeStatistics
from trio_logs.settings import Settings
from trio_logs.store import Retention
from trio_logs.store.sqlite import SQLiteStore

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

CHANGES = ("workload", "deleted")
NDJSON = {"Accept": "application/x-ndjson"}


@function("several.print")
async def print_lines(log: LogWriter, *lines: str) -> None:
    await log.writelines(lines)


@function("several.hold")
async def hold(log: LogWriter, *lines: str) -> None:
    await log.writelines(lines)
    await trio.sleep_forever()


async def printed(live: Live, *lines: str) -> str:
    """The id of a workload that has printed these lines and ended."""
    record = await live.submit("several.print", *lines, backend="function")
    await live.finished(record["id"])
    return str(record["id"])


async def held(live: Live, *lines: str, **fields: Any) -> str:
    """The id of a workload that has printed these lines and runs."""
    record = await live.submit("several.hold", *lines, backend="function", **fields)
    with trio.fail_after(PATIENCE), live.service.broker.subscribe(record["id"], 1) as log:
        count = 0
        while count < len(lines):
            count += sum(each.count for each in await log.receive())  # type: ignore[union-attr]
    return str(record["id"])


async def held_unread(live: Live, *lines: str) -> str:
    """As `held`, but no reader has had the lines, so that memory need not have them."""
    record = await live.submit("several.hold", *lines, backend="function")
    with trio.fail_after(PATIENCE):
        while (await live.client.get(f"/v1/workloads/{record['id']}")).json()["lines"] < len(lines):
            await trio.sleep(0.01)
    return str(record["id"])


async def stop(live: Live, *ids: str) -> None:
    for each in ids:
        await live.client.post(f"/v1/workloads/{each}/stop", json={"grace": 0})


def url(*ids: str, **parameters: object) -> str:
    query = [*(f"workload={each}" for each in ids), *(f"{k}={v}" for k, v in parameters.items())]
    return f"/v1/logs?{'&'.join(query)}"


async def objects(live: Live, path: str, **headers: str) -> list[dict[str, Any]]:
    """The objects of a whole answer."""
    with trio.fail_after(PATIENCE):
        answer = await live.client.get(path, headers={**NDJSON, **headers})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def short(ids: list[str], items: list[dict[str, Any]]) -> list[str]:
    """Objects in a few letters; the logs are called a, b, c and so on."""
    shown = []
    for each in items:
        name = "abcdefg"[ids.index(each["workload"])] if "workload" in each else ""
        match each.get("event"):
            case None:
                shown.append(f"{name}{each['seq']}")
            case "position":
                shown.append(each["id"])
            case "gap":
                shown.append(f"{name} gap {each['from']}-{each['to']}")
            case event:
                shown.append(f"{name} {event}".strip())
    return shown


async def test_history_in_order_of_arrival_to_the_ends(open_server: OpenServer) -> None:
    async with open_server() as live:
        ids = [await printed(live, "one", "two"), await printed(live, "three")]
        found = await objects(live, url(*reversed(ids)))
        ids = ids[::-1]
        assert short(ids, found) == [
            *["0.0.0", "b1", "b2", "b end", "0.0.end", "a1", "a end", "0.end.end"]
        ]
        line, end = found[1], found[3]
        assert line.keys() == {"workload", "seq", "time", "stream", "text"}
        assert (line["text"], line["stream"]) == ("one", "stdout")
        alone = (await live.client.get(f"/v1/workloads/{ids[1]}/logs", headers=NDJSON)).text
        of_one = [json.loads(each) for each in alone.splitlines()]
        assert [{**each, "workload": ids[1]} for each in of_one] == [found[1], found[2], end]


async def test_the_event_stream(open_server: OpenServer) -> None:
    async with open_server() as live:
        a = await printed(live, "hello")
        answer = await live.client.get(url(a, "unknown"))
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache, no-store, no-transform"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "connection" not in answer.headers
        frames = answer.text.split("\n\n")
        assert frames[0] == ": open\nretry: 2000"
        assert frames[1] == "id: 0.0.0"
        assert frames[2] == 'event: gone\ndata: {"workload":"unknown"}'
        assert frames[3] == "id: 0.0.end"
        line = re.fullmatch(r"data: (\{.*\})", frames[4])
        assert line is not None
        assert json.loads(line[1])["seq"] == 1
        assert frames[5].startswith(f'event: end\ndata: {{"workload":"{a}","status":"succeeded"')
        assert frames[6:] == ["id: 0.end.end", ""]


async def test_head_and_statuses(open_server: OpenServer) -> None:
    async with open_server() as live:
        a, b = await printed(live, "x"), await held(live, "x")
        for path, status in (
            (url(a), 200),
            (url(a, "unknown"), 200),
            (url("unknown"), 404),
            (url("unknown", "other", "more", "still", events="true"), 404),
            (url(a, last_event_id="0.end"), 204),
            (url(a, "unknown", last_event_id="0.end.end"), 204),
            (url(a, b, last_event_id="0.end.1"), 200),
            (url(a, b, last_event_id="0.end.end"), 200),
            (url(a, last_event_id="3.end", events="true"), 200),
            (url(a, last_event_id="end"), 400),
            (url(a, last_event_id="3.end"), 400),
            (url(a, a), 400),
            (url(), 400),
            (url(events="true"), 200),
        ):
            head = await live.client.head(path)
            assert (head.status_code, head.content) == (status, b""), path
            assert head.headers.get("content-type") == {
                200: "text/event-stream; charset=utf-8",
                204: None,
            }.get(status, "application/problem+json")
        assert (await live.client.get(url(a), headers={"Accept": "text/plain"})).status_code == 406
        problem = (await live.client.get(url("unknown", "other"))).json()
        assert problem["detail"] == "there is no workload 'unknown', 'other'"
        async with httpx2.AsyncClient(base_url=live.url) as stranger:
            assert (await stranger.get(url(a))).status_code == 401
        twice = [("Last-Event-ID", "0.1"), ("Last-Event-ID", "0.1")]
        assert (await live.client.get(url(a), headers=twice)).status_code == 400
        await stop(live, b)


async def test_a_stream_counts_as_one(open_server: OpenServer) -> None:
    async with open_server(max_streams=1) as live:
        ids = [await held(live, "x"), await held(live, "x")]
        raw = await live.follow(url(*ids))
        async with raw.stream:
            await raw.read_until(b"id: 0.")
            assert live.service.broker.statistics().subscriptions == 2
            refused = await live.client.get(url(*ids))
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        # The server has noticed the disconnect once the subscriptions are gone.
        await eventually(lambda: live.service.broker.statistics().subscriptions == 0)
        await stop(live, *ids)
        assert len(await objects(live, url(*ids))) > 4


async def test_parameters_are_those_of_each_log(open_server: OpenServer) -> None:
    async with open_server() as live:
        ids = [await printed(live, "one", "two", "three"), await printed(live, "four", "five")]

        async def seen(*logs: str, **parameters: object) -> list[str]:
            return short(ids, await objects(live, url(*logs, **parameters)))

        assert await seen(*ids, tail=1) == [
            *["0.2.1", "a3", "a end", "0.end.1", "b2", "b end", "0.end.end"]
        ]
        assert (await seen(*ids, tail=0))[0] == "0.3.2"
        assert await seen(f"{ids[0]}.2", ids[1], tail=0) == [
            # An end without a line before it does not wait for other logs.
            *["0.2.2", "b end", "0.2.end", "a3", "a end", "0.end.end"]
        ]
        assert await seen(*ids, stream="stderr") == [
            *["0.3.2", "a end", "0.end.2", "b end", "0.end.end"]
        ]
        assert (await seen(*ids, since="2000-01-01T00:00:00Z"))[1:4] == ["a1", "a2", "a3"]
        future = await seen(*ids, since="2100-01-01T00:00:00Z")
        assert future == ["0.3.2", "a end", "0.end.2", "b end", "0.end.end"]


async def test_without_follow_it_ends_where_the_logs_are(open_server: OpenServer) -> None:
    async with open_server() as live:
        ids = [await held(live, "one"), await printed(live, "two")]
        for more in ({}, {"events": 0}):
            found = await objects(live, url(*ids, follow="false", **more))
            logs = [each for each in found if each.get("event") not in ("workload", "progress")]
            shown = [re.sub(r"^\d+\.", "E.", each) for each in short(ids, logs)]
            assert shown[:4] == ["E.0.0", "a1", "b1", "b end"]
            assert shown[-1] == "E.1.end"
        await stop(live, ids[0])


async def read_objects(raw: RawStream, mark: str) -> list[dict[str, Any]]:
    """The objects so far, once one has this text."""
    await raw.read_until(mark.encode())
    whole, _, _ = raw.body.rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()]


async def test_lines_come_as_they_come_and_positions_follow(open_server: OpenServer) -> None:
    async with open_server() as live:
        ids = [await held(live, "one"), await held(live, "two")]
        raw = await live.follow(url(*ids), "Accept: application/x-ndjson")
        async with raw.stream:
            await raw.read_until(b'"two"')
            await live.service.broker.publish(ids[1], "live")
            found = await read_objects(raw, '"id":"0.1.2"')
            assert [each for each in short(ids, found) if "." not in each] == ["a1", "b1", "b2"]
            await stop(live, *ids)
            await raw.read_all()
        last = raw.body.splitlines()[-1]
        assert json.loads(last) == {"event": "position", "id": "0.end.end"}


async def test_a_position_comes_after_64_kib(open_server: OpenServer) -> None:
    async with open_server() as live:
        a = await printed(live, *(f"{number} " + "x" * 1000 for number in range(500)))
        found = await objects(live, url(a))
        at = [number for number, each in enumerate(found) if each.get("event") == "position"]
        for start, end in pairwise(at):
            lines = found[start + 1 : end]
            assert sum(len(json.dumps(each)) for each in lines) < 3 * 64 * 1024
            seqs = [each["seq"] for each in lines if "seq" in each]
            if found[end]["id"] != "0.end":
                assert found[end]["id"] == f"0.{seqs[-1]}"
        assert len(at) > 5


async def test_a_quiet_stream_has_heartbeats_with_positions(open_server: OpenServer) -> None:
    async with open_server(heartbeat=0.05) as live:
        a = await held(live, "one")
        raw = await live.follow(url(a))
        async with raw.stream:
            await raw.read_until(b": keep-alive\n\nid: 0.1\n\n")
        raw = await live.follow(url(a, stream="stderr", follow="true"))
        async with raw.stream:
            # Lines that a selection hides count, too.
            await raw.read_until(b"id: 0.1\n\n")
            await live.service.broker.publish(a, "hidden")
            await raw.read_until(b": keep-alive\n\nid: 0.2\n\n")
        raw = await live.follow(url(a), "Accept: application/x-ndjson")
        async with raw.stream:
            await raw.read_until(b'{"event":"heartbeat"}\n{"event":"position","id":"0.2"}\n')
        await stop(live, a)


async def test_resume_by_any_position(open_server: OpenServer) -> None:
    async with open_server() as live:
        ids = [await printed(live, "1", "2", "3"), await printed(live, "4"), "unknown"]
        whole = await objects(live, url(*ids))
        lines = [(each["workload"], each["seq"]) for each in whole if "seq" in each]
        positions = [each["id"] for each in whole if each.get("event") == "position"]
        assert positions == ["0.0.0.0", "0.0.0.end", "0.end.0.end", "0.end.end.end"]
        for position in positions[:-1]:
            before = whole[: [each.get("id") for each in whole].index(position)]
            after = await objects(live, url(*ids), **{"Last-Event-ID": position})
            had = [(each["workload"], each["seq"]) for each in before if "seq" in each]
            assert had + [(each["workload"], each["seq"]) for each in after if "seq" in each] == (
                lines
            )
            ended = sum("workload" in each and "seq" not in each for each in [*before, *after])
            assert ended == 3
            assert after[0]["id"] == position
        middle = await objects(live, url(*ids, last_event_id="0.2.end.end"))
        assert short(ids, middle) == ["0.2.end.end", "a3", "a end", "0.end.end.end"]


async def test_positions_that_a_log_never_had_are_reset(open_server: OpenServer) -> None:
    async with open_server() as live:
        a, b = await printed(live, "1"), await held(live, "2")
        raw = await live.follow(
            url(a, b), "Accept: application/x-ndjson", "Last-Event-ID: 0.17.end"
        )
        async with raw.stream:
            found = await read_objects(raw, '"2"')
            resets = {
                each["workload"]: each["reason"] for each in found if each.get("event") == "reset"
            }
            assert resets == {a: "beyond_head", b: "not_ended"}
            assert found[0]["id"] == "0.0.0"
        await stop(live, b)


async def test_gaps_name_their_log(open_server: OpenServer) -> None:
    """The log was trimmed: it begins with a gap."""
    async with open_server() as live:
        a = await printed(live, "1", "2")
        b = await printed(live, "3")
        while await live.service.store.trim(Retention(max_bytes=0)):
            pass
        found = await objects(live, url(a, b))
        assert short([a, b], found)[0] == "0.0.0"
        assert {each for each in short([a, b], found) if "gap" in each} == {
            "a gap 1-2",
            "b gap 1-1",
        }


async def test_a_shutdown_is_told_once(open_server: OpenServer) -> None:
    async with open_server() as live:
        ids = [await held(live, "one"), await held(live, "two")]
        events = await live.follow(url(*ids, events="true"))
        plain = await live.follow(url(*ids), "Accept: application/x-ndjson")
        await events.read_until(b"two")
        await plain.read_until(b"two")
        live.service.drain()
        for raw in (events, plain):
            await raw.read_all()
            await raw.stream.aclose()
        assert events.body.count(b"event: shutdown\nretry: 3000\ndata: ") == 1
        assert events.body.rstrip().split(b"\n\n")[-1].startswith(b"event: shutdown")
        last = json.loads(plain.body.splitlines()[-1])
        assert (last["event"], last["reason"], last["retry"]) == ("shutdown", "draining", 3000)
        assert "workload" not in last
        # All lines have a position, so that none comes again.
        assert re.search(rb"id: \d+\.1\.1\n\nevent: shutdown", events.body)
        late = await live.client.get(url(*ids))
        assert (late.status_code, late.json()["reason"]) == (503, "draining")


@pytest.mark.parametrize("window", [1, 1000])
async def test_events_beside_the_logs(
    window: int, open_server: OpenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a reader that is behind the changes in memory."""
    monkeypatch.setattr("trio_logs.engine.change_window.MAX_CHANGES", window)
    async with open_server() as live:
        a = await held(live, "one")
        raw = await live.follow(url(a, events="true"), "Accept: application/x-ndjson")
        async with raw.stream:
            found = await read_objects(raw, '"one"')
            start = int(found[0]["id"].split(".")[0])
            assert start > 0
            assert not any(each.get("event") == "workload" for each in found)
            b = await printed(live, "two")
            await stop(live, a)
            found = await read_objects(raw, '"event":"end"')
            # It stays open after the last log's end, and tells of workloads that it does not read.
            await live.client.delete(f"/v1/workloads/{b}")
            found = await read_objects(raw, '"event":"deleted"')
            changes = [each for each in found if each.get("event") == "workload"]
            assert [each["status"] for each in changes if each["id"] == b][-1] == "succeeded"
            alone = (await live.client.get(f"/v1/workloads/{a}")).json()
            of_a = [each for each in changes if each["id"] == a][-1]
            assert of_a == {**alone, "event": "workload", "position": of_a["position"]}
            assert not any(each.get("workload") == b for each in found)
            positions = [int(each["position"]) for each in changes]
            assert positions == sorted(positions)
            found = await read_objects(raw, f'"id":"{positions[-1] + 1}.end"')
        # What came after a position comes again.
        raw = await live.follow(url(events=start), "Accept: application/x-ndjson")
        async with raw.stream:
            found = await read_objects(raw, '"event":"deleted"')
            assert found[0] == {"event": "position", "id": str(start)}
            last = {each["id"]: each["event"] for each in found if each.get("event") in CHANGES}
            assert last == {a: "workload", b: "deleted"}


async def test_events_alone_as_an_event_stream(open_server: OpenServer) -> None:
    async with open_server() as live:
        raw = await live.follow(url(events="true"))
        async with raw.stream:
            await raw.read_until(b"id: 0\n\n")
            a = await printed(live, "one")
            await raw.read_until(b'"status":"succeeded"')
            await raw.read_until(b"\n\nid: ")
        frames = raw.body.decode().split("\n\n")
        told = [each for each in frames if each.startswith("event: workload\ndata: ")]
        assert json.loads(told[0].partition("data: ")[2])["id"] == a
        assert all(re.fullmatch(r"id: \d+", each) for each in frames if "id: " in each[:4])
        beyond = await live.follow(url(events=10**6))
        async with beyond.stream:
            await beyond.read_until(b'"reason":"beyond_head"')
        assert b"event: reset\ndata: " in beyond.body


async def test_a_disconnect_at_any_time_leaves_nothing(open_server: OpenServer) -> None:
    async with open_server(broker=BrokerLimits(window_bytes=1)) as live:
        ids = [await held(live, *["x" * 500] * 50) for _ in range(5)]
        for size in (1, 200, 2000, 20_000, 100_000):
            raw = await live.follow(url(*ids, events=0))
            async with raw.stream:
                while len(raw.body) < size and not raw.body.endswith(b".50.50\n\n"):
                    await raw.read_chunk()
        broker = live.service.broker
        await eventually(lambda: broker.statistics().subscriptions == 0)
        assert broker.statistics().merges == MergeStatistics(0, 0)
        assert live.service.engine.changes.readers == 0
        await stop(live, *ids)


@pytest.mark.parametrize("parameters", [{}, {"events": 0}, {"tail": 1}])
async def test_a_failing_store_is_told_before_the_answer(
    parameters: dict[str, Any], tmp_path: Path
) -> None:
    """Memory does not have the first lines. Later, a failure cuts the answer."""
    store: Any = FailingStore(SQLiteStore(tmp_path / "x.db"))
    settings = Settings(tmp_path / "data", broker=BrokerLimits(window_bytes=1))
    async with open_live(settings, store=store) as live:
        a, b = [await held_unread(live, *["x" * 500] * 50) for _ in range(2)]
        store.switch.fail("read", "scan", "append")
        await live.service.broker.publish(a, "waits")
        await eventually(lambda: live.service.broker.is_failing)
        with trio.fail_after(PATIENCE):
            answer = await live.client.get(url(b, a, **parameters))
        assert (answer.status_code, answer.json()["reason"]) == (503, "store")
        store.switch.recover()
        await stop(live, a, b)


async def test_a_store_that_fails_cuts_the_answer(tmp_path: Path) -> None:
    store: Any = FailingStore(SQLiteStore(tmp_path / "x.db"))
    settings = Settings(tmp_path / "data", broker=BrokerLimits(window_bytes=1))
    async with open_live(settings, store=store) as live:
        ids = [await held_unread(live, *["x" * 500] * 1500) for _ in range(2)]
        await stop(live, *ids)
        before = store.switch.calls.count("read")

        async def fail_later() -> None:
            await store.switch.until_called("read", before + 3)
            store.switch.fail("read")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_later)
            raw = await live.follow(url(*ids))
            with trio.fail_after(PATIENCE), pytest.raises(EOFError):
                while await raw.read_chunk():
                    pass
        await raw.stream.aclose()
        positions = re.findall(rb"^id: (\S+)$", raw.body, re.M)
        store.switch.recover()
        rest = await objects(live, url(*ids, last_event_id=positions[-1].decode()))
        whole, _, _ = raw.body.rpartition(b"\n\n")
        lines = [json.loads(each[6:]) for each in whole.split(b"\n\n") if each[:6] == b"data: "]
        seen = {(each["workload"], each["seq"]) for each in [*lines, *rest] if "seq" in each}
        assert len(seen) == 3000


@function("several.ask")
async def ask(log: LogWriter, text: str) -> None:
    """Prints a line, and then one that has not ended."""
    await log.writelines(["ready"])
    await log.write(text)
    await trio.sleep_forever()


async def asking(live: Live, text: str) -> str:
    record = await live.submit("several.ask", text, backend="function")
    return str(record["id"])


@pytest.mark.parametrize("is_slow", [False, True])
async def test_lines_that_have_not_ended(
    open_server: OpenServer, monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    """Each log has its own, also behind a slow filter; the finished line replaces it."""
    if is_slow:
        monkeypatch.setattr("trio_logs.filtering.QUICK_SECONDS", 0)
    async with open_server() as live:
        ids = [await asking(live, "Name: "), await asking(live, "Not yet"), await asking(live, "-")]
        path = url(*ids, unfinished="true", filter="^N", regex="true")
        raw = await live.follow(path, "Accept: application/x-ndjson")
        async with raw.stream:
            for text in ("Name: ", "Not yet"):
                await raw.read_until(f'"text":"{text}"'.encode())
            await stop(live, *ids)
            await raw.read_all()
        found = [json.loads(line) for line in raw.body.split(b"\n")[:-1]]
    shown = short(ids, [each for each in found if "workload" in each])
    assert sorted(shown) == [
        *["a end", "a unfinished", "a2", "b end", "b unfinished", "b2", "c end"]
    ]
    for name in "ab":
        of_log = [each for each in shown if each.startswith(name)]
        assert of_log == [f"{name} unfinished", f"{name}2", f"{name} end"]


async def test_the_last_unfinished_lines_of_a_reader_that_does_not_follow(
    open_server: OpenServer,
) -> None:
    async with open_server() as live:
        ids = [await asking(live, "Name: "), await held(live, "one")]
        path = url(*ids, unfinished="true", follow="false")
        with trio.fail_after(PATIENCE):
            while True:
                found = await objects(live, path)
                texts = [each for each in found if each.get("event") == "unfinished"]
                if texts:
                    break
        assert texts == [
            {"event": "unfinished", "workload": ids[0], "stream": "stdout", "text": "Name: "}
        ]
        without = await objects(live, url(*ids, follow="false"))
        assert "unfinished" not in [each.get("event") for each in without]


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
async def test_a_position_comes_within_a_long_batch(open_server: OpenServer, accept: str) -> None:
    """A batch of 1,000 short lines is longer than 64 KiB on the wire."""
    async with open_server() as live:
        log = await printed(live, *["x" * 50] * 1000)
        answer = await live.client.get(url(log), headers={"Accept": accept})
        found = answer.text
        assert found.count('"seq":') == 1000
        places = [
            *re.finditer(r'^(?:id: |{"event":"position","id":")0\.([0-9]+)', found, re.MULTILINE)
        ]
        assert len(places) >= 3
        for before, after in pairwise(places):
            between = found[before.end() : after.start()]
            assert len(between) < 64 * 1024 + 300
            assert between.count('"seq":') == int(after[1]) - int(before[1])
