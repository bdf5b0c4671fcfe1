"""The Python client as a source of lines: connections break, servers stall and restart."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing
from functools import partial
from pathlib import Path

import anyio
import httpx2
import pytest
import trio

from tests.live import PATIENCE, Live, open_live
from tests.pushing import breaking_proxy, create, open_body, push, raw_log
from tests.server_process import running_server
from tests.test_push import StallingStore, record
from trio_logs.client import (
    Client,
    ClientError,
    Ending,
    Line,
    RefusedError,
    Status,
    SyncClient,
    UnreachableError,
)
from trio_logs.client.pushing import OFFSETS_AT_END
from trio_logs.client.upload import BUFFER_BYTES, Upload
from trio_logs.settings import Settings


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with open_live(Settings(data=tmp_path / "data")) as opened:
        yield opened


async def pieces(data: bytes, seed: int = 1) -> AsyncIterator[bytes]:
    """The data in pieces of all sizes."""
    rng = random.Random(seed)
    start = 0
    while start < len(data):
        stop = start + int(10 ** rng.uniform(0, 5))
        yield data[start:stop]
        start = stop


def some_lines(count: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(count)) + b"the last, without its end"


async def test_a_log_is_pushed_live(live: Live) -> None:
    send, receive = trio.open_memory_channel[bytes](0)
    ending = Ending()
    async with Client(live.url, live.service.token) as client:
        workload = await client.submit([], backend="push", name="build")
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(client.push, workload.id, receive, ending=ending))
                async with aclosing(client.follow(workload.id)) as log:
                    for number in range(3):
                        with trio.fail_after(1):
                            await send.send(b"line %d\n" % number)
                            line = await anext(log)
                        assert isinstance(line, Line)
                        assert line.text == f"line {number}"
                ending.exit_code = 3
                send.close()
        ended = await client.get(workload.id)
    assert (ended.status, ended.exit_code) == (Status.FAILED, 3)


async def test_connections_that_break_lose_and_double_nothing(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.client.requests.REQUEST_DELAYS", (0.01, 0.01))
    rng = random.Random(3)
    data = some_lines(500_000)
    async with (
        breaking_proxy(live.url, lambda: int(10 ** rng.uniform(2, 6.3))) as (url, connections),
        Client(url, live.service.token) as client,
    ):
        workload = await create(live)
        with trio.fail_after(PATIENCE):
            ended = await client.push(workload, pieces(data), ending=Ending(0))
    assert (ended.status, ended.bytes) == (Status.SUCCEEDED, len(data))
    assert await raw_log(live, workload) == data
    assert connections[0] > 10


async def test_two_streams_over_connections_that_break(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.client.requests.REQUEST_DELAYS", (0.01, 0.01))
    rng = random.Random(4)
    data = {"stdout": some_lines(200_000), "stderr": some_lines(90_000)[::-1]}
    async with (
        breaking_proxy(live.url, lambda: int(10 ** rng.uniform(2, 6.3))) as (url, connections),
        Client(url, live.service.token) as client,
    ):
        workload = await create(live)
        with trio.fail_after(PATIENCE):
            ended = await client.push(
                workload, pieces(data["stdout"], 1), stderr=pieces(data["stderr"], 2)
            )
    assert (ended.status, ended.bytes) == (Status.SUCCEEDED, sum(map(len, data.values())))
    for stream, sent in data.items():
        url = f"/v1/workloads/{workload}/logs"
        headers = {"Accept": "text/plain"}
        answer = await live.client.get(url, params={"stream": stream}, headers=headers)
        assert answer.content == sent
    assert connections[0] > 10


async def test_the_other_stream_ends_when_one_fails(live: Live) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"one\n"
        raise LookupError("no more")

    send, receive = trio.open_memory_channel[bytes](0)
    async with Client(live.url, live.service.token) as client:
        workload = await create(live)
        with send, receive, trio.fail_after(PATIENCE):
            with pytest.raises(LookupError, match="no more"):
                await client.push(workload, receive, stderr=broken())
            with pytest.raises(LookupError, match="no more"):
                await client.push(workload, broken(), stderr=receive)
        assert (await client.get(workload)).status is Status.RUNNING


async def test_an_end_that_does_not_fit_tells_the_offsets_of_both(live: Live) -> None:
    """The server lost what it held of both unfinished lines, as in a restart."""
    uploads = {"stdout": Upload(), "stderr": Upload()}
    await uploads["stdout"].fill(pieces(b"one\ntwo"))
    await uploads["stderr"].fill(pieces(b"err"))
    headers = {"Upload-Offset": "4", "Upload-Offset-Stderr": "0"}
    request = httpx2.Request("POST", "http://x")
    answer = httpx2.Response(409, headers=headers, request=request)
    for stream, upload in uploads.items():
        upload.take(100)
        upload.settle(answer, "http://x", OFFSETS_AT_END[stream])
    assert [each.take(100) for each in uploads.values()] == [b"two", b"err"]


async def test_a_server_that_stalls_holds_up_the_source(tmp_path: Path) -> None:
    """It is asked for what the buffers on the way hold, and no more; and nothing is dropped."""
    store = StallingStore(tmp_path / "logs.db")
    data = some_lines(1_000_000)
    given = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal given
        async for piece in pieces(data):
            given += len(piece)
            yield piece

    async with (
        open_live(Settings(data=tmp_path), store=store) as live,
        Client(live.url, live.service.token) as client,
        trio.open_nursery() as nursery,
    ):
        workload = await create(live)
        nursery.start_soon(partial(client.push, workload, source()))
        with trio.move_on_after(2):
            while given <= BUFFER_BYTES + 200_000:
                await trio.sleep(0.1)
        assert BUFFER_BYTES / 2 < given <= BUFFER_BYTES + 200_000
        store.go_on.set()
        with trio.fail_after(PATIENCE):
            await live.finished(workload)
        assert await raw_log(live, workload) == data


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_server_that_restarts_costs_no_byte(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three times in the middle, by `kill -9` and by SIGTERM."""
    monkeypatch.setattr("trio_logs.client.requests.REQUEST_DELAYS", (0.05, 0.2))
    run = trio.to_thread.run_sync
    data = some_lines(200_000)
    send, receive = trio.open_memory_channel[bytes](0)
    with ExitStack() as servers, trio.fail_after(60):
        server = servers.enter_context(running_server(tmp_path))
        bind = ("--bind", server.url.removeprefix("http://"))
        async with Client(server.url, server.token) as client, trio.open_nursery() as nursery:
            workload = await client.submit([], backend="push")
            nursery.start_soon(partial(client.push, workload.id, receive, ending=Ending(0)))
            restarts = 0
            for start in range(0, len(data), 20_000):
                await send.send(data[start : start + 20_000])
                if start > len(data) * (restarts + 1) / 4:
                    restarts += 1
                    await run(getattr(server, how))
                    server = servers.enter_context(running_server(tmp_path, *bind))
            send.close()
        assert restarts == 3
        assert server.get(workload.logs_url, Accept="text/plain").content == data
        async with Client(server.url, server.token) as client:
            ended = await client.get(workload.id)
    assert (ended.status, ended.bytes, ended.lines) == ("succeeded", len(data), 200_001)


@pytest.mark.parametrize("replaced", [True, False])
async def test_who_was_replaced_or_stopped_is_told(live: Live, replaced: bool) -> None:
    send, receive = trio.open_memory_channel[bytes](0)
    workload = await create(live)

    async def replace_or_stop() -> None:
        await send.send(b"one\n")
        while (await record(live, workload))["bytes"] < 4:
            await trio.sleep(0.01)
        async with AsyncExitStack() as stack:
            if replaced:
                newer = await open_body(live, workload)
                await stack.enter_async_context(newer.stream)
            else:
                await live.client.post(f"/v1/workloads/{workload}/stop")
            while True:
                await send.send(b"more\n" * 1000)

    with trio.fail_after(PATIENCE):
        async with Client(live.url, live.service.token) as client, trio.open_nursery() as nursery:
            nursery.start_soon(replace_or_stop)
            with pytest.raises(RefusedError) as refused:
                await client.push(workload, receive)
            nursery.cancel_scope.cancel()
    assert refused.value.status == 409


async def test_what_a_restarted_server_has_lost_is_sent_again() -> None:
    """It held the start of a line, of which the client thought that it need not send it again."""
    upload = Upload()
    await upload.fill(pieces(b"one\ntwo"))

    def answer(status: int, offset: int) -> httpx2.Response:
        request = httpx2.Request("POST", "http://x")
        return httpx2.Response(status, headers={"Upload-Offset": str(offset)}, request=request)

    assert upload.take(6) == b"one\ntw"
    upload.settle(answer(204, 4), "http://x")
    assert upload.take(100) == b"o"
    assert upload.all_sent
    for _ in range(3):
        upload.settle(answer(409, 4), "http://x")
        assert not upload.all_sent
        assert upload.take(100) == b"two"
    with pytest.raises(RefusedError):
        upload.settle(answer(409, 4), "http://x")


async def test_another_log_under_the_same_id_is_found_out(live: Live) -> None:
    async with Client(live.url, live.service.token) as client:
        workload = await create(live)
        await push(live, workload, b"a line of another client\n")
        with pytest.raises(ClientError, match="another client sends it"):
            await client.push(workload, pieces(b"short\n"))


async def test_what_the_source_raises(live: Live) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"one\n"
        raise LookupError("no more")

    async with Client(live.url, live.service.token) as client:
        workload = await create(live)
        with pytest.raises(LookupError, match="no more"):
            await client.push(workload, source())
        assert (await client.get(workload)).status is Status.RUNNING


async def test_nobody_there() -> None:
    async with Client("http://127.0.0.1:9", "t") as client:
        with pytest.raises(UnreachableError):
            await client.push("x", pieces(b"abc"), patience=0)


async def test_the_twin_for_scripts(live: Live) -> None:
    def lines() -> Iterator[bytes]:
        for number in range(1000):
            yield b"line %d\n" % number

    def script() -> None:
        with SyncClient(live.url, live.service.token) as client:
            workload = client.submit([], backend="push")
            ended = client.push(workload.id, lines(), ending=Ending(signal="SIGINT"))
            assert (ended.status, ended.signal, ended.lines) == (Status.FAILED, "SIGINT", 1000)
            with pytest.raises(RefusedError):
                client.push(workload.id, lines())
            both = client.submit([], backend="push")
            ended = client.push(both.id, lines(), stderr=[b"a\n", b"b"])
            assert ended.lines == 1002
            failing = client.submit([], backend="push")
            with pytest.raises(ZeroDivisionError):
                client.push(failing.id, lines(), stderr=(b"x" * (1 // n) for n in (1, 0)))
            open_ = client.submit([], backend="push")
            with pytest.raises(ZeroDivisionError):
                client.push(open_.id, (b"x" * (1 // n) for n in (1, 0)))

    with trio.fail_after(PATIENCE):
        await trio.to_thread.run_sync(script)


def test_under_asyncio(tmp_path: Path) -> None:
    data = some_lines(50_000)

    async def main(url: str, token: str) -> int:
        async with Client(url, token) as client:
            workload = await client.submit([], backend="push")
            return (await client.push(workload.id, pieces(data))).bytes

    with running_server(tmp_path) as server:
        found = anyio.run(main, server.url, server.token, backend="asyncio")
    assert found == len(data)
