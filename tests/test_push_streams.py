"""Two streams of a pushed log: each with a connection and offsets of its own."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trio.testing

from tests.failing_parts import FailingStore
from tests.live import PATIENCE, Live, open_live
from tests.pushing import Body, create, finish, open_body, raw_log
from tests.test_api import problem
from trio_logs import open_broker
from trio_logs.backends.inbox import STREAMS, Inbox
from trio_logs.broker import BrokerLimits
from trio_logs.broker.numbering import Numbering
from trio_logs.broker.writer import Written
from trio_logs.errors import ConflictError, StoreError
from trio_logs.lines import MAX_LINE_BYTES
from trio_logs.records import Batch, Gap, Outcome, Status
from trio_logs.settings import Settings
from trio_logs.store import LogState, Retention, StreamState
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with open_live(Settings(data=tmp_path / "data")) as opened:
        yield opened


async def push(
    live: Live, workload: str, stream: str, data: bytes, offset: int = 0
) -> httpx2.Response:
    headers = {"Upload-Offset": str(offset), "Upload-Stream": stream}
    url = f"/v1/workloads/{workload}/logs"
    return await live.client.post(url, content=data, headers=headers)


async def offsets(live: Live, workload: str) -> tuple[int, int]:
    """What HEAD of the log answers: the durable bytes of stdout and of stderr."""
    answer = await live.client.head(f"/v1/workloads/{workload}/logs")
    headers = answer.headers
    return int(headers["upload-offset"]), int(headers["upload-offset-stderr"])


async def log_of(live: Live, workload: str, stream: str) -> bytes:
    url = f"/v1/workloads/{workload}/logs"
    headers = {"Accept": "text/plain"}
    answer = await live.client.get(url, params={"stream": stream}, headers=headers)
    return answer.content


async def test_each_stream_has_its_own_offsets(live: Live) -> None:
    workload = await create(live)
    assert await offsets(live, workload) == (0, 0)
    answer = await push(live, workload, "stderr", b"one\ntw")
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "4")
    assert "upload-offset-stderr" not in answer.headers
    assert await offsets(live, workload) == (0, 4)
    answer = await push(live, workload, "stdout", b"first\nsecond\nth")
    assert answer.headers["upload-offset"] == "13"
    assert await offsets(live, workload) == (13, 4)
    # Bytes that a stream has are skipped, and missing ones refused, whatever the other one has.
    answer = await push(live, workload, "stderr", b"one\ntwo\n")
    assert answer.headers["upload-offset"] == "8"
    hole = await push(live, workload, "stderr", b"x", 9)
    assert "stderr ends: 8 were received" in problem(hole, 409)
    assert hole.headers["upload-offset"] == "8"
    assert "upload-offset-stderr" not in hole.headers
    for size in (22, 24, 15, 8):
        refused = await finish(live, workload, bytes=size)
        problem(refused, 409)
        assert refused.headers["upload-offset"] == "13"
        assert refused.headers["upload-offset-stderr"] == "8"
    ended = await finish(live, workload, bytes=23)
    assert ended.status_code == 200
    assert (ended.json()["bytes"], ended.json()["lines"]) == (23, 5)
    assert await log_of(live, workload, "stdout") == b"first\nsecond\nth"
    assert await log_of(live, workload, "stderr") == b"one\ntwo\n"
    assert await offsets(live, workload) == (15, 8)
    late = await push(live, workload, "stderr", b"x", 8)
    problem(late, 409)
    assert "upload-offset" not in late.headers


@pytest.mark.parametrize("name", ["", "system", "STDERR", "stderr,stdout", "out"])
async def test_another_name_is_refused(live: Live, name: str) -> None:
    workload = await create(live)
    assert "`stdout` or `stderr`" in problem(await push(live, workload, name, b"x\n"), 400)
    assert await offsets(live, workload) == (0, 0)


async def test_a_name_that_is_given_twice(live: Live) -> None:
    workload = await create(live)
    url = f"/v1/workloads/{workload}/logs"
    headers = [("Upload-Stream", "stderr"), ("Upload-Stream", "stderr")]
    problem(await live.client.post(url, content=b"x\n", headers=headers), 400)


async def test_the_head_of_what_is_not_pushed_has_no_offsets(live: Live) -> None:
    workload = (await live.submit("true"))["id"]
    answer = await live.client.head(f"/v1/workloads/{workload}/logs")
    assert not {"upload-offset", "upload-offset-stderr"} & set(answer.headers)


async def open_stream(live: Live, workload: str, stream: str) -> Body:
    return await open_body(live, workload, 0, f"Upload-Stream: {stream}")


async def test_connections_of_two_streams_do_not_replace_each_other(live: Live) -> None:
    workload = await create(live)
    reader = await live.follow(f"/v1/workloads/{workload}/logs")
    out = await open_stream(live, workload, "stdout")
    err = await open_stream(live, workload, "stderr")
    async with reader.stream, out.stream, err.stream:
        await out.send(b"out\n")
        await reader.read_until(b"data: out\n")
        await err.send(b"err\n")
        await reader.read_until(b"data: err\n")
        newer = await open_stream(live, workload, "stderr")
        async with newer.stream:
            refused = await err.answer()
            assert refused.status == 409
            assert "upload-offset" not in refused.headers
            await out.send(b"more\n")
            await newer.send(b"err\nmore of it\n")
            assert (await newer.end()).headers["upload-offset"] == "15"
        assert (await out.end()).headers["upload-offset"] == "9"
    assert (await finish(live, workload, bytes=24)).status_code == 200


async def test_an_end_replaces_the_connections_of_both_streams(live: Live) -> None:
    workload = await create(live)
    bodies = [await open_stream(live, workload, name) for name in STREAMS]
    reader = await live.follow(f"/v1/workloads/{workload}/logs")
    async with reader.stream, bodies[0].stream, bodies[1].stream:
        for number, body in enumerate(bodies):
            await body.send(b"line %d\n" % number)
            await reader.read_until(b"data: line %d\n" % number)
        assert (await finish(live, workload)).status_code == 200
        for body in bodies:
            assert (await body.answer()).status == 409
        await reader.read_until(b"event: end")


@pytest.mark.parametrize("stream", STREAMS)
async def test_no_byte_comes_between_the_check_of_an_end_and_the_end(
    stream: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_broker() as broker:
        with await broker.open("w") as log:
            inbox = Inbox(log, patience=10)
            send, receive = trio.open_memory_channel[bytes](0)
            refused: list[str] = []

            async def connect() -> None:
                try:
                    await inbox.receive(receive, 0, stream)
                except ConflictError as error:
                    refused.append(str(error))

            with send, receive:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(connect)
                    await trio.testing.wait_all_tasks_blocked()
                    await inbox.finish(Outcome(Status.SUCCEEDED), 0)
                    assert refused == [f"a newer connection sends {stream} of this log now"]


async def test_a_client_is_there_while_it_sends_one_stream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_broker() as broker:
        with await broker.open("w") as log:
            inbox = Inbox(log, patience=10)
            send, receive = trio.open_memory_channel[bytes](0)

            async def connect(stream: str, seconds: float) -> None:
                with trio.move_on_after(seconds), receive.clone() as body:
                    await inbox.receive(body, 0, stream)

            with send, receive:
                start = trio.current_time()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(connect, "stdout", 100)
                    nursery.start_soon(connect, "stderr", 20)
                    assert (await inbox.outcome()).status == "lost"
                    assert trio.current_time() - start == 110


@pytest.mark.parametrize("seed", range(8))
async def test_a_restart_at_any_place(seed: int, tmp_path: Path) -> None:
    """Each stream goes on where its durable bytes end, also in the middle of an over-long line."""
    rng = random.Random(seed)
    whole = {name: bytearray() for name in STREAMS}
    for _ in range(rng.randint(1, 8)):
        piece = rng.randbytes(16).replace(b"\n", b"x") * rng.randint(0, MAX_LINE_BYTES // 6)
        whole[rng.choice(STREAMS)] += piece + rng.choice([b"", b"\n", b"\r\n", b"\n\n"])
    sent = dict.fromkeys(STREAMS, 0)
    for _ in range(4):
        async with open_broker(SQLiteStore(tmp_path / "x.db")) as broker:
            with await broker.open("w") as log:
                for name in STREAMS:
                    durable = await log.flush(name)
                    assert durable <= sent[name] <= durable + MAX_LINE_BYTES + 1
                    sent[name] = rng.randint(durable, len(whole[name]))
                    await log.write(bytes(whole[name][durable : sent[name]]), name)
                assert await log.flush() == sum([await log.flush(name) for name in STREAMS])
    store = SQLiteStore(tmp_path / "x.db")
    async with open_broker(store) as broker:
        with await broker.open("w") as log:
            for name in STREAMS:
                await log.write(bytes(whole[name][await log.flush(name) :]), name)
        end = await broker.close("w", Outcome(Status.SUCCEEDED))
        assert end.bytes == sum(map(len, whole.values()))
        found = await store.read("w", 1, 10**12)
        for name in STREAMS:
            check_stream([each for each in found if stream_of(each) == name], whole[name])


def stream_of(record: object) -> str:
    assert isinstance(record, Batch)
    return record.stream


def check_stream(batches: list[Any], whole: bytearray) -> None:
    """The batches are the bytes, and each part of an over-long line says that it is one."""
    assert b"".join(each.data for each in batches) == whole
    for before, after in pairwise(batches):
        assert after.continues == before.partial
        assert before.partial != before.data.endswith(b"\n")
    if batches:
        assert not batches[0].continues
        assert not batches[-1].partial


async def test_two_over_long_lines_go_on_after_a_crash(tmp_path: Path) -> None:
    """Both streams are in the middle of a line when the service ends."""
    long = b"x" * (MAX_LINE_BYTES + 10)
    where = Settings(data=tmp_path)
    async with open_live(where) as live:
        workload = await create(live)
        for stream in STREAMS:
            await push(live, workload, stream, long)
        assert await offsets(live, workload) == (MAX_LINE_BYTES, MAX_LINE_BYTES)
    async with open_live(where) as live:
        assert await offsets(live, workload) == (MAX_LINE_BYTES, MAX_LINE_BYTES)
        for stream in STREAMS:
            answer = await push(live, workload, stream, b"end\n", MAX_LINE_BYTES)
            assert answer.status_code == 204
        assert (await finish(live, workload, bytes=2 * MAX_LINE_BYTES + 8)).status_code == 200
        # `tail` counts whole lines: the parts of each line belong together.
        events = await live.events(workload, tail=2)
        assert [event[1] for event in events] == ["1", "2", "3", "4", "end"]
        assert [event[1] for event in await live.events(workload, tail=1)] == ["2", "4", "end"]


async def test_offsets_stay_when_retention_removes_lines(tmp_path: Path) -> None:
    where = Settings(data=tmp_path)
    async with open_live(where) as live:
        workload = await create(live)
        for stream, data in (("stdout", b"one\n"), ("stderr", b"second\n")):
            await push(live, workload, stream, data)
        while await live.service.store.trim(Retention(max_age=0)):
            pass
    async with open_live(where) as live:
        assert await offsets(live, workload) == (4, 7)
        assert (await push(live, workload, "stderr", b"x\n", 7)).status_code == 204
        assert (await finish(live, workload, bytes=13)).status_code == 200


async def test_the_state_of_streams_costs_no_look_at_lines() -> None:
    """It is what the numbering knows after each turn."""
    numbering = Numbering(LogState())
    numbering.number([Written(1, "a", b"one\ntw"), Written(1, "b", b"x" * (MAX_LINE_BYTES + 5))])
    streams = numbering.streams()
    assert (streams["a"].bytes, streams["a"].unfinished) == (4, False)
    assert (streams["b"].bytes, streams["b"].unfinished) == (MAX_LINE_BYTES, True)
    later = Numbering(LogState(lines=2, streams=streams))
    [batch] = later.number([Written(1, "b", b"end\n")])
    assert (batch.first, batch.continues) == (3, True)
    [batch] = later.number([Written(1, "a", b"two\n")])
    assert (batch.first, batch.continues) == (4, False)
    later.number([Written(1, "a", b"rest")])
    later.rest(1)
    assert later.streams()["a"].bytes == 4 + 4 + 4


async def test_raw_bytes_of_both(live: Live) -> None:
    workload = await create(live)
    with trio.fail_after(PATIENCE):
        await push(live, workload, "stdout", b"a\n")
        await push(live, workload, "stderr", b"b\n")
        await push(live, workload, "stdout", b"a\nc\n")
    await finish(live, workload, bytes=6)
    assert await raw_log(live, workload) == b"a\nb\nc\n"


async def test_lines_that_a_failing_store_lost_count_in_their_stream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Only the source knows that: a gap has neither bytes nor a stream."""
    store = FailingStore(MemoryStore())
    limits = BrokerLimits(window_bytes=10_000)
    sizes = {"stdout": 4, "stderr": MAX_LINE_BYTES}
    async with open_broker(store, limits, patience=1) as broker:
        with await broker.open("w") as log:
            await log.write(b"one\n")
            await log.write(b"x" * (MAX_LINE_BYTES + 1), "stderr")
            assert {name: await log.flush(name) for name in STREAMS} == sizes
            store.set_mode("fails")
            # Within the gap, the line of one stream ends, and one of the other stream begins.
            await log.write(b"end\n", "stderr")
            await log.write(b"y" * (MAX_LINE_BYTES + 1))
            for number in range(200):
                await log.write(b"%0100d\n" % number, "stderr")
                await trio.testing.wait_all_tasks_blocked()
                await trio.sleep(0.1)
            with pytest.raises(StoreError):
                await log.flush("stderr")
            store.set_mode("works")
            await trio.sleep(60)
            sizes = {"stdout": 4 + MAX_LINE_BYTES, "stderr": MAX_LINE_BYTES + 5 + 200 * 101}
            assert {name: await log.flush(name) for name in STREAMS} == sizes
        assert any(isinstance(each, Gap) for each in await store.read("w", 1, 1 << 30))
        state = await store.log("w")
        assert state is not None
        assert state.streams == {
            "stdout": StreamState(sizes["stdout"], unfinished=True),
            "stderr": StreamState(sizes["stderr"]),
        }
        assert state.bytes == sum(sizes.values())
