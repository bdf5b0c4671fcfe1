"""Lines that come over HTTP: offsets, who may send, how it ends, and how the server goes away."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from tests.live import PATIENCE, Live, open_live, parse_events
from tests.pushing import create, finish, open_body, push, raw_log
from tests.test_api import problem
from trio_logs import LogWriter, Outcome, Status, open_broker
from trio_logs.api import create_app
from trio_logs.backends import Execution
from trio_logs.backends.inbox import Inbox
from trio_logs.backends.push import PushBackend, PushLimits
from trio_logs.engine import EngineLimits
from trio_logs.errors import OffsetError, StoreError
from trio_logs.records import Batch, WorkloadSpec
from trio_logs.server import Server, finish_cleanly
from trio_logs.service import open_service
from trio_logs.settings import Settings
from trio_logs.store.sqlite import SQLiteStore


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with open_live(Settings(data=tmp_path / "data")) as opened:
        yield opened


async def record(live: Live, workload: str) -> dict[str, Any]:
    return dict((await live.client.get(f"/v1/workloads/{workload}")).json())


async def test_other_spellings_of_the_path(live: Live) -> None:
    workload = await create(live)
    path = f"/v1/workloads/{workload}/logs"
    for offset, target in enumerate((f"http://127.0.0.1{path}", f"/{path}")):
        host, _, port = live.url.rpartition("//")[2].rpartition(":")
        stream = await trio.open_tcp_stream(host, int(port))
        head = (
            f"POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n"
            f"Authorization: Bearer {live.service.token}\r\nUpload-Offset: {offset}\r\n\r\n"
        )
        async with stream:
            await stream.send_all(head.encode() + b"\n")
            with trio.fail_after(PATIENCE):
                assert b" 204 " in await stream.receive_some()
    assert (await finish(live, workload, bytes=2)).status_code == 200


async def test_from_start_to_end(live: Live) -> None:
    workload = await create(live, name="build", labels={"a": "b"})
    new = await record(live, workload)
    assert (new["backend"], new["command"], new["status"]) == ("push", [], "running")
    answer = await push(live, workload, b"one\ntwo\nthr")
    assert (answer.status_code, answer.content) == (204, b"")
    # An unfinished line is not durable.
    assert answer.headers["upload-offset"] == "8"
    head = await live.client.head(new["logs_url"])
    assert head.headers["upload-offset"] == "8"
    assert (await record(live, workload))["bytes"] == 8
    assert (await push(live, workload, b"ee", 11)).headers["upload-offset"] == "8"
    ended = await finish(live, workload, exit_code=3, bytes=13)
    assert ended.status_code == 200
    assert ended.json() == await record(live, workload)
    assert ended.json()["status"] == "failed"
    assert ended.json()["exit_code"] == 3
    assert ended.json()["bytes"] == 13
    assert ended.json()["lines"] == 3
    events = await live.events(workload)
    assert [event[2] for event in events[:-1]] == ["one", "two", "three"]
    assert events[-1][2]["status"] == "failed"
    assert await raw_log(live, workload) == b"one\ntwo\nthree"
    assert (await live.client.delete(f"/v1/workloads/{workload}")).status_code == 204


async def test_lines_are_live_while_the_body_is_open(live: Live) -> None:
    workload = await create(live)
    reader = await live.follow(f"/v1/workloads/{workload}/logs")
    async with reader.stream, (await open_body(live, workload)).stream as stream:
        for number in range(3):
            line = b"line %d\n" % number
            with trio.fail_after(1):
                await stream.send_all(b"%x\r\n%b\r\n" % (len(line), line))
                await reader.read_until(b"data: line %d\n" % number)


@pytest.mark.parametrize(
    ("sent", "status", "reason", "exit_code", "signal"),
    [
        ({}, "succeeded", "exited", None, None),
        ({"exit_code": 0}, "succeeded", "exited", 0, None),
        ({"exit_code": 255}, "failed", "exited", 255, None),
        ({"signal": "SIGKILL"}, "failed", "signaled", None, "SIGKILL"),
    ],
)
async def test_how_it_ended(
    live: Live,
    sent: dict[str, Any],
    status: str,
    reason: str,
    exit_code: int | None,
    signal: str | None,
) -> None:
    workload = await create(live)
    reader = await live.follow(f"/v1/workloads/{workload}/logs")
    first = await finish(live, workload, **sent)
    async with reader.stream:
        [(_, _, end)] = parse_events(await reader.read_all())
    assert list(end) == ["status", "reason", "exit_code", "signal", "error", "lines", "bytes"]
    assert (end["status"], end["reason"]) == (status, reason)
    assert first.status_code == 200
    found = first.json()
    assert (found["status"], found["exit_code"], found["signal"]) == (status, exit_code, signal)
    # Its answer may have been lost, so it may be said again; but not another thing.
    assert (await finish(live, workload, **sent)).json() == found
    problem(await finish(live, workload, exit_code=7), 409)
    late = await push(live, workload, b"late\n")
    assert "has ended" in problem(late, 409)
    assert "upload-offset" not in late.headers


async def test_bad_requests(live: Live) -> None:
    process = (await live.submit("true"))["id"]
    workload = await create(live)
    url = f"/v1/workloads/{workload}"
    for path in ("logs", "finish"):
        answer = await live.client.post(f"/v1/workloads/nope/{path}")
        assert "'nope'" in problem(answer, 404)
        assert "'process'" in problem(
            await live.client.post(f"/v1/workloads/{process}/{path}"), 409
        )
    for offset in ("x", "-1", "1.0", "", "9" * 19):
        bad = await live.client.post(f"{url}/logs", headers={"Upload-Offset": offset})
        problem(bad, 400)
    problem(await live.client.post(f"{url}/logs?stream=stderr", content=b"x"), 400)
    headers = {"Content-Encoding": "gzip"}
    problem(await live.client.post(f"{url}/logs", content=b"x", headers=headers), 415)
    for fields in ({"exit_code": -1}, {"exit_code": 256}, {"signal": "9"}, {"x": 1}, {"bytes": -1}):
        problem(await finish(live, workload, **fields), 422)
    headers = {"Authorization": "Bearer wrong"}
    for path in ("logs", "finish"):
        problem(await live.client.post(f"{url}/{path}", headers=headers), 401)
    for fields in ({"env": {"A": "b"}}, {"cwd": "/"}, {"pty": True}):
        body = {"backend": "push", **fields}
        problem(await live.client.post("/v1/workloads", json=body), 422)
    assert (await record(live, workload))["bytes"] == 0


async def test_a_refusal_is_read_though_the_body_goes_on(live: Live) -> None:
    """More than all the queues on the way hold; nobody reads it."""
    for workload, expected in (("nope", 404), ((await live.submit("true"))["id"], 409)):
        answer = await push(live, workload, b"x" * 4_000_000)
        problem(answer, expected)


async def test_what_was_received_is_skipped_and_a_hole_is_refused(live: Live) -> None:
    """At each offset: the bytes before it are sent again, those behind it are missing."""
    data = b"a\nbc\r\n\ndef\n\ngh"
    workload = await create(live)
    for end in range(len(data) + 1):
        for start in range(len(data) + 2):
            answer = await push(live, workload, data[start:end], start)
            durable = data.rfind(b"\n", 0, end) + 1
            # The first of these bodies, from 0 on, has brought all up to `end`.
            assert answer.status_code == (204 if start <= end else 409), (start, end)
            assert answer.headers["upload-offset"] == str(durable), (start, end)
    refused = await finish(live, workload, bytes=len(data) + 1)
    problem(refused, 409)
    assert refused.headers["upload-offset"] == "12"
    assert (await finish(live, workload, bytes=len(data))).status_code == 200
    assert await raw_log(live, workload) == data


async def test_a_restart_at_each_offset(tmp_path: Path) -> None:
    """What the server held of an unfinished line is gone with it, and is sent again."""
    data = b"a\nbc\r\nde"
    settings = Settings(data=tmp_path)
    async with open_live(settings) as live:
        workload = await create(live)
    for end in range(len(data) + 1):
        async with open_live(settings) as live:
            assert (await record(live, workload))["status"] == "running"
            head = await live.client.head(f"/v1/workloads/{workload}/logs")
            offset = int(head.headers["upload-offset"])
            assert offset == data.rfind(b"\n", 0, max(0, end - 1)) + 1
            lost = await push(live, workload, b"x", offset + 1)
            assert (lost.status_code, lost.headers["upload-offset"]) == (409, str(offset))
            assert (await push(live, workload, data[offset:end], offset)).status_code == 204
    async with open_live(settings) as live:
        refused = await finish(live, workload, exit_code=0, bytes=len(data))
        assert (refused.status_code, refused.headers["upload-offset"]) == (409, "6")
        await push(live, workload, data[6:], 6)
        ended = await finish(live, workload, exit_code=0, bytes=len(data))
        assert ended.json()["status"] == "succeeded"
        assert await raw_log(live, workload) == data
        assert [event[1] for event in await live.events(workload)] == ["1", "2", "3", "end"]


async def test_a_service_that_is_back_takes_what_comes(tmp_path: Path) -> None:
    """From its first moment on, for all that is under way."""
    spec = WorkloadSpec((), backend="push")
    async with open_service(Settings(tmp_path)) as service:
        ids = [(await service.engine.submit(spec))[0].id for _ in range(9)]
        service.drain()
    async with open_service(Settings(tmp_path)) as service:
        assert all(service.push.inbox(each) for each in ids)


async def test_all_byte_values_in_pieces_of_all_sizes(live: Live) -> None:
    rng = random.Random(5)
    data = bytes(range(256)) * 2000 + b"\r" * 70_000 + b"\r\n\r" + bytes(range(255, -1, -1))
    workload = await create(live)
    body = await open_body(live, workload)
    async with body.stream:
        start = 0
        while start < len(data):
            stop = start + int(10 ** rng.uniform(0, 5.3))
            await body.send(data[start:stop])
            start = stop
        answer = await body.end()
    assert answer.status == 204
    assert (await finish(live, workload, bytes=len(data))).status_code == 200
    assert await raw_log(live, workload) == data


async def test_a_newer_connection_takes_over(live: Live) -> None:
    """The older one may be one that was cut, of which the server knows nothing yet."""
    workload = await create(live)
    old = await open_body(live, workload)
    async with old.stream:
        await old.send(b"one\ntw")
        while (await record(live, workload))["bytes"] < 4:
            await trio.sleep(0.01)
        new = await open_body(live, workload, 4)
        async with new.stream:
            refused = await old.answer()
            assert refused.status == 409
            assert "upload-offset" not in refused.headers
            await new.send(b"two\nthree\n")
            answer = await new.end()
    assert (answer.status, answer.headers["upload-offset"]) == (204, "14")
    assert (await finish(live, workload, bytes=14)).status_code == 200
    assert await raw_log(live, workload) == b"one\ntwo\nthree\n"


async def test_writers_that_take_over_from_each_other_all_the_time(live: Live) -> None:
    """Each sends the same bytes from wherever it is; nothing is lost or doubled."""
    data = b"".join(b"line %d\n" % number for number in range(100_000))
    workload = await create(live)
    taken_over = 0

    async def write(seed: int) -> None:
        nonlocal taken_over
        rng = random.Random(seed)
        durable = 0
        while durable < len(data):
            start = max(0, durable - rng.randrange(1000))
            answer = await push(live, workload, data[start : start + rng.randrange(200_000)], start)
            assert answer.status_code in (204, 409)
            if "upload-offset" in answer.headers:
                durable = int(answer.headers["upload-offset"])
            else:
                taken_over += 1

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for seed in range(4):
                nursery.start_soon(write, seed)
    assert taken_over
    assert (await finish(live, workload, bytes=len(data))).status_code == 200
    assert await raw_log(live, workload) == data


async def test_a_stop_ends_it_with_what_it_has(live: Live) -> None:
    workload = await create(live)
    body = await open_body(live, workload)
    async with body.stream:
        await body.send(b"one\ntw")
        while (await record(live, workload))["bytes"] < 4:
            await trio.sleep(0.01)
        problem(await live.client.delete(f"/v1/workloads/{workload}"), 409)
        stopped = await live.client.post(f"/v1/workloads/{workload}/stop")
        assert stopped.status_code == 202
        assert (await body.answer()).status == 409
    assert (await live.finished(workload))["status"] == "stopped"
    assert await raw_log(live, workload) == b"one\ntw"
    problem(await finish(live, workload, exit_code=0), 409)
    assert (await live.client.delete(f"/v1/workloads/{workload}")).status_code == 204
    problem(await push(live, workload, b"x"), 404)


async def test_its_timeout_goes_on_while_the_server_is_away(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    async with open_live(settings) as live:
        workload = await create(live, timeout=0.2)
        patient = await create(live, timeout=60)
    await trio.sleep(0.2)
    async with open_live(settings) as live:
        assert (await live.finished(workload))["status"] == "timed_out"
        assert (await record(live, patient))["status"] == "running"


async def test_a_client_that_never_comes_back(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, push=PushLimits(patience=0.3))
    async with open_live(settings) as live:
        gone, there = [await create(live) for _ in range(2)]
        body = await open_body(live, there)
        async with body.stream:
            await push(live, gone, b"one\ntw")
            lost = await live.finished(gone)
            assert lost["status"] == "lost"
            assert "not heard of for 0.3 s" in lost["error"]
            assert await raw_log(live, gone) == b"one\ntw"
            # One that is connected may be quiet for as long as it likes.
            assert (await record(live, there))["status"] == "running"
        assert (await live.finished(there))["status"] == "lost"


async def test_how_many_there_may_be(tmp_path: Path) -> None:
    """They don't wait behind processes, nor processes behind them."""
    limits = EngineLimits(running=1, queued=2, remote=2)
    async with open_live(Settings(data=tmp_path, engine=limits)) as live:
        process = (await live.submit("sleep", "60"))["id"]
        first, _ = [await create(live) for _ in range(2)]
        busy = await live.client.post("/v1/workloads", json={"backend": "push"})
        problem(busy, 429)
        assert live.service.engine.statistics().running == 3
        queued = (await live.submit("true"))["id"]
        await live.client.post(f"/v1/workloads/{process}/stop", json={"grace": 0})
        assert (await live.finished(queued))["status"] == "succeeded"
        await finish(live, first)
        await create(live)


async def test_a_shutdown_leaves_it_running(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    async with open_live(settings) as live:
        workload = await create(live)
        body = await open_body(live, workload)
        async with body.stream:
            await body.send(b"one\ntw")
            while (await record(live, workload))["bytes"] < 4:
                await trio.sleep(0.01)
            live.service.drain()
            answer = await body.answer()
            assert answer.status == 503
            assert "retry-after" in answer.headers
        problem(await push(live, workload, b"x"), 503)
        problem(await finish(live, workload), 503)
        assert (await record(live, workload))["status"] == "running"
    async with open_live(settings) as live:
        started = (await record(live, workload))["started_at"]
        assert (await push(live, workload, b"two\n", 4)).headers["upload-offset"] == "8"
        ended = await finish(live, workload, exit_code=0, bytes=8)
        assert ended.json()["started_at"] == started
        assert await raw_log(live, workload) == b"one\ntwo\n"


class AwayLog:
    """A log whose store may be away for longer than its patience."""

    def __init__(self, log: LogWriter) -> None:
        self._log = log
        self.away = False
        self.write = log.write
        self.clone = log.clone
        self.close = log.close

    async def flush(self, stream: str | None = None) -> int:
        if self.away:
            raise StoreError("the store is away")
        return await self._log.flush(stream)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def test_what_was_received_while_the_store_is_away_stays_received() -> None:
    async with open_broker() as broker, aclosing_all() as body:
        with await broker.open("w") as writer:
            log = AwayLog(writer)
            inbox = Inbox(log, patience=60)
            log.away = True
            with pytest.raises(StoreError):
                await inbox.receive(body(b"one\n"), 0)
            log.away = False
            # What an earlier server received is not known yet, so nothing was taken.
            with pytest.raises(OffsetError) as missing:
                await inbox.receive(body(b"one\n"), 4)
            assert missing.value.durable == 0
            assert await inbox.receive(body(b"one\n", b"tw"), 0) == 4
            log.away = True
            for _ in range(2):
                with pytest.raises(StoreError):
                    await inbox.receive(body(b"two\nthree\n"), 4)
            with pytest.raises(StoreError):
                await inbox.durable()
            with pytest.raises(StoreError):
                await inbox.finish(Outcome(Status.SUCCEEDED), 15)
            log.away = False
            assert await inbox.durable() == 14
            assert await inbox.receive(body(b"one\ntwo\nthree\nfour\n"), 0) == 19
            await inbox.finish(Outcome(Status.SUCCEEDED), 19)
            assert (await inbox.outcome()).status == "succeeded"
        end = await broker.close("w")
        assert (end.lines, end.bytes) == (4, 19)


@asynccontextmanager
async def aclosing_all() -> AsyncIterator[Callable[..., AsyncIterator[bytes]]]:
    """Makes bodies, and closes those that nobody has read to their ends."""
    async with AsyncExitStack() as stack:

        def body(*data: bytes) -> AsyncIterator[bytes]:
            made = pieces(*data)
            stack.push_async_callback(made.aclose)  # type: ignore[attr-defined]
            return made

        yield body


async def test_a_log_that_an_embedder_closes_ends_its_workload_alone(live: Live) -> None:
    closed, other = [await create(live) for _ in range(2)]
    await push(live, closed, b"one\n")
    await live.service.broker.close(closed, Outcome(Status.FAILED, error="by the embedder"))
    assert "has ended" in problem(await push(live, closed, b"two\n", 4), 409)
    with trio.fail_after(PATIENCE):
        ended = await live.service.engine.finished(closed)
    assert (ended.status, ended.error) == ("failed", "by the embedder")
    problem(await finish(live, closed), 409)
    assert (await push(live, other, b"one\n")).headers["upload-offset"] == "4"
    assert (await finish(live, other)).status_code == 200
    assert live.service.engine.statistics().running == 0


async def test_reasons() -> None:
    """Of what the backend decides by itself."""
    backend = PushBackend(PushLimits(patience=0))

    async def remember(handle: str) -> None: ...

    async with open_broker() as broker:
        with await broker.open("w") as log:
            spec = WorkloadSpec((), backend="push")
            lost = await backend.run(Execution("w", spec, log, remember))
            assert (lost.status, lost.reason) == ("lost", "client_lost")


class StallingStore(SQLiteStore):
    """Commits nothing until it is let go on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go_on = trio.Event()

    async def append(self, workload_id: str, batches: Sequence[Batch], **end: Any) -> None:
        await self.go_on.wait()
        await super().append(workload_id, batches, **end)


async def test_a_store_that_stalls_slows_the_client_and_drops_nothing(tmp_path: Path) -> None:
    """The server takes what its channels hold, about 2 MiB, and the kernel's buffers some more."""
    store = StallingStore(tmp_path / "logs.db")
    data = b"".join(b"line %d\n" % number for number in range(2_000_000))
    async with open_live(Settings(data=tmp_path), store=store) as live:
        workload = await create(live)
        body = await open_body(live, workload)
        async with body.stream:
            sent = 0
            with trio.move_on_after(1):
                for start in range(0, len(data), 100_000):
                    await body.send(data[start : start + 100_000])
                    sent = start
            assert live.server.statistics().bytes_in < 3 * 1024 * 1024
            assert sent < 12 * 1024 * 1024 < len(data)
            # All queues are full, which must not hold up the answer to a client that was replaced.
            async with (await open_body(live, workload)).stream:
                assert (await body.answer()).status == 409
                # What this one goes on to send is read and dropped, for 2 s.
                with trio.fail_after(PATIENCE):
                    while live.server.statistics().connections > 2:
                        await trio.sleep(0.01)
        store.go_on.set()
        with trio.fail_after(PATIENCE):
            answer = await push(live, workload, data)
        assert answer.headers["upload-offset"] == str(len(data))
        assert (await finish(live, workload, bytes=len(data))).status_code == 200
        assert await raw_log(live, workload) == data


async def test_behind_stock_hypercorn(tmp_path: Path) -> None:
    """The routes need nothing of our server."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    data = b"".join(b"line %d\n" % number for number in range(300_000))
    stop = trio.Event()
    async with open_service(Settings(data=tmp_path)) as service, trio.open_nursery() as nursery:
        app: Any = finish_cleanly(create_app(service))
        [url] = await nursery.start(partial(serve, app, config, shutdown_trigger=stop.wait))
        headers = {"Authorization": f"Bearer {service.token}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE) as client:
            live = Live(service, Server(), url, client, stop)
            workload = await create(live)
            assert (await push(live, workload, data[:-3])).status_code == 204
            body = await open_body(live, workload, len(data) - 3)
            async with body.stream:
                await body.send(data[-3:])
                assert (await body.end()).headers["upload-offset"] == str(len(data))
            problem(await push(live, "nope", b"x"), 404)
            assert (await finish(live, workload, bytes=len(data))).status_code == 200
            assert await raw_log(live, workload) == data
        stop.set()


async def test_a_shutdown_does_not_wait_for_a_store_that_stalls(tmp_path: Path) -> None:
    store = StallingStore(tmp_path / "logs.db")
    async with AsyncExitStack() as stack:
        with trio.fail_after(PATIENCE):
            live = await stack.enter_async_context(open_live(Settings(data=tmp_path), store=store))
            body = await open_body(live, await create(live))
            await stack.enter_async_context(body.stream)
            with trio.move_on_after(0.5):
                while True:
                    await body.send(b"x" * 99_999 + b"\n")
            live.service.drain()
            live.stop.set()
            assert (await body.answer()).status == 503
            # Bounded, and it says how many lines are lost: as many as the source took at first. The
            # client sends them again.
            with pytest.RaisesGroup(
                pytest.RaisesExc(StoreError, match=r" [1-9]\d* lines are lost"),
                flatten_subgroups=True,
                allow_unwrapped=True,
            ):
                await stack.aclose()


async def test_an_over_long_line_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Its fragments are durable as they come; only what is shorter than one is sent again."""
    data = b"\r".join([b"x" * 50_000] * 6) + b"\nshort\n"
    settings = Settings(data=tmp_path)
    offset = 0
    async with open_live(settings) as live:
        workload = await create(live)
    for end in (70_000, 131_073, 200_000, len(data)):
        async with open_live(settings) as live:
            answer = await push(live, workload, data[offset:end], offset)
            assert end - 65_537 <= int(answer.headers["upload-offset"]) <= end
            offset = int(answer.headers["upload-offset"])
    async with open_live(settings) as live:
        assert (await finish(live, workload, bytes=len(data))).status_code == 200
        assert await raw_log(live, workload) == data
