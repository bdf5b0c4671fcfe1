"""The Python client, against the real service, over connections that break."""

from __future__ import annotations

import platform
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from tests.cutting_proxy import cutting_proxy
from tests.live import PATIENCE, Live, open_live
from tests.server_process import running_server
from trio_logs import __version__
from trio_logs.client import (
    Client,
    End,
    Gap,
    Line,
    LogRecord,
    RefusedError,
    Reset,
    Status,
    SyncClient,
    UnreachableError,
    Workload,
    requests,
)
from trio_logs.client.events import EventParser, ObjectParser, Parser
from trio_logs.client.resume import Resume
from trio_logs.records import Outcome, Reason
from trio_logs.settings import Settings

STREAM = (
    b": open\nretry: 2000\n\n"
    b'id: 7\ndata: {"seq":7,"time":"2026-01-31T12:00:00.000001Z","stream":"stdout",'
    b'"text":"event: x"}\n\n'
    b": keep-alive\n\n"
    b'event: gap\ndata: {"from":8,"to":9,"reason":"retention"}\n\n'
    b'id: 10\ndata: {"seq":10,"time":"2026-01-31T12:00:00Z","stream":"stderr",'
    b'"text":"\\n","partial":true}\n\n'
    b'event: reset\ndata: {"reason":"beyond_head","detail":"why"}\n\n'
    b"event: end\nid: end\n"
    b'data: {"status":"failed","reason":"exited","exit_code":3,"signal":null,"error":"e",'
    b'"lines":10,"bytes":99}\n\n'
)


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with open_live(Settings(data=tmp_path / "data")) as opened:
        yield opened


async def first(log: AsyncGenerator[LogRecord, None]) -> LogRecord:
    """The first record, of a log that is then left."""
    async with aclosing(log):
        return await anext(log)


OBJECTS = (
    b'{"seq":7,"time":"2026-01-31T12:00:00.000001Z","stream":"stdout","text":"event: x"}\n'
    b'{"event":"gap","from":8,"to":9,"reason":"retention"}\n'
    b'{"seq":10,"time":"2026-01-31T12:00:00Z","stream":"stderr",'
    b'"text":"{\\"event\\":1}","partial":true}\n'
    b'{"event":"reset","reason":"beyond_head","detail":"why"}\n'
    b'{"event":"end","status":"failed","reason":"exited","exit_code":3,"signal":null,"error":"e",'
    b'"lines":10,"bytes":99}\n'
)


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
@pytest.mark.parametrize(("kind", "data"), [(EventParser, STREAM), (ObjectParser, OBJECTS)])
def test_an_answer_is_read_in_whatever_pieces_it_comes(
    kind: type[Parser], data: bytes, size: int
) -> None:
    parser = kind()
    records: list[LogRecord] = []
    ids = []
    for start in range(0, len(data), size):
        records += parser.feed(data[start : start + size])
        ids.append(parser.last_id)
    assert [type(record) for record in records] == [Line, Gap, Line, Reset, End]
    assert records[0].text == "event: x"  # type: ignore[union-attr]
    assert records[1] == Gap(8, 9, "retention")
    assert records[2].partial  # type: ignore[union-attr]
    assert records[3] == Reset("beyond_head", "why")
    assert records[4] == End(Outcome(Status.FAILED, 3, None, "e", Reason.EXITED), 10, 99)
    assert parser.broken is None
    if size == 1:
        assert list(dict.fromkeys(ids)) == [None, "7", "9", "10", "end"]


@pytest.mark.parametrize("reason", [None, "exited", "of_a_later_version"])
def test_a_reason_may_be_missing_or_unknown(reason: str | None) -> None:
    """An older service sends none; a later one may have more."""
    fields = {"status": "failed", "exit_code": 3, "signal": None, "error": None}
    told = {} if reason is None else {"reason": reason}
    end = {"event": "end", **fields, **told, "lines": 1, "bytes": 2}
    [record] = ObjectParser().feed(msgspec.json.encode(end) + b"\n")
    assert isinstance(record, End)
    assert record.outcome.reason == reason
    times = {"created_at": "2026-01-31T12:00:00Z", "started_at": None, "finished_at": None}
    texts = {"id": "x", "name": None, "backend": "process", "logs_url": "/"}
    shown = {**fields, **told, **times, **texts, "command": [], "labels": {}}
    answer = msgspec.json.encode({**shown, "lines": 1, "bytes": 2})
    assert msgspec.json.decode(answer, type=Workload).reason == reason


def test_an_older_service_resets_without_a_detail() -> None:
    assert EventParser().feed(b'event: reset\ndata: {"reason":"A sentence."}\n\n') == [
        Reset("A sentence.")
    ]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"reason":"draining","detail":"It ends."}', "the server shuts down: It ends."),
        (b'{"reason":"the server is shutting down"}', "the server shuts down: the server is "),
    ],
)
def test_a_shutdown_is_why_a_stream_ended(data: bytes, told: str) -> None:
    resume = Resume({}, "http://x")
    resume.begin()
    assert resume.feed(b"event: shutdown\nretry: 3000\ndata: " + data + b"\n\n") == []
    resume.finished()
    assert 1 < resume.delay() <= 3
    assert resume.reason.startswith(told)
    assert not resume.done


async def test_submit_look_list_stop_delete(live: Live) -> None:
    async with Client(live.url, live.service.token) as client:
        submitted = await client.submit(
            ["sh", "-c", "trap 'exit 5' TERM; echo $X; while :; do sleep 0.01; done"],
            name="n",
            env={"X": "ready"},
            labels={"a": "b"},
            idempotency_key="k",
        )
        assert (await first(client.follow(submitted.id))).text == "ready"  # type: ignore[union-attr]
        shown = await client.get(submitted.id)
        assert (shown.name, shown.labels, shown.status) == ("n", {"a": "b"}, Status.RUNNING)
        assert shown.created_at.tzinfo is not None
        assert [w.id async for w in client.list(labels={"a": "b"})] == [submitted.id]
        assert [w async for w in client.list(status="succeeded")] == []
        with pytest.raises(RefusedError, match="stop it first") as refused:
            await client.delete(submitted.id)
        assert refused.value.status == 409
        await client.stop(submitted.id, grace=10)
        records = [record async for record in client.follow(submitted.id)]
        assert isinstance(records[-1], End)
        assert (records[-1].outcome.status, records[-1].outcome.exit_code) == (Status.STOPPED, 5)
        await client.delete(submitted.id)
        with pytest.raises(RefusedError, match="no workload"):
            await client.get(submitted.id)


async def test_every_page_is_listed(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_logs.api.list_query.MAX_PAGE", 500)
    async with Client(live.url, live.service.token) as client:
        ids = [(await client.submit(["true"])).id for _ in range(5)]
        monkeypatch.setattr(
            "trio_logs.client.requests.page_query",
            lambda options, before, left: [
                ("limit", "2"),
                *([("before", before)] * bool(before)),
            ],
        )
        assert [w.id async for w in client.list()] == ids[::-1]


async def test_a_refusal_says_why(live: Live) -> None:
    async with Client(live.url, "wrong") as client:
        with pytest.raises(RefusedError, match="the token is wrong") as refused:
            await client.submit(["true"])
        assert refused.value.status == 401
        with pytest.raises(RefusedError, match="the token is wrong"):
            await first(client.follow("x"))


async def test_a_command_is_no_text() -> None:
    async with Client("http://127.0.0.1:9", "t") as client:
        with pytest.raises(TypeError, match=r'give a list, such as \["ls", "-l"\]'):
            await client.submit("ls -l")


def test_the_twin_is_to_be_opened() -> None:
    client = SyncClient("http://127.0.0.1:9", "t")
    with pytest.raises(RuntimeError, match="use it in a `with` statement"):
        client.get("x")
    with client, pytest.raises(UnreachableError):
        client.get("x")
    with pytest.raises(RuntimeError, match="use it in a `with` statement"):
        client.get("x")


async def test_no_more_is_asked_for_than_is_wanted(live: Live) -> None:
    async with Client(live.url, live.service.token) as client:
        ids = [(await client.submit(["true"])).id for _ in range(5)][::-1]
        for limit in range(7):
            assert [each.id async for each in client.list(limit=limit)] == ids[:limit]
    pages = [requests.page_query({}, None, left)[0] for left in (None, 1, 500, 501)]
    assert pages == [("limit", limit) for limit in ("500", "1", "500", "500")]


async def test_what_a_list_can_ask_for(live: Live) -> None:
    async with Client(live.url, live.service.token) as client:
        one = await client.submit(["echo", "x"], name="a&b=c", labels={"k": "v"}, cwd="/")
        two = await client.submit(["false"], timeout=60)
        for workload in (one, two):
            async for _ in client.follow(workload.id):
                pass

        async def ids(**options: Any) -> list[str]:
            found = [each.id async for each in client.list(**options)]
            counted = await client.count(**options)
            assert counted.total == len(found)
            assert set(counted.counts) == set(Status)
            return found

        assert await ids() == [two.id, one.id]
        assert await ids(status="failed") == await ids(status=[Status.FAILED, "lost"]) == [two.id]
        assert await ids(status=None, labels=None, name=None) == [two.id, one.id]
        assert await ids(name="a&b=c") == await ids(labels={"k": "v"}) == [one.id]
        assert await ids(id=one.id[-6:], search="ECHO x") == [one.id]
        assert await ids(since="1h") == [two.id, one.id]
        assert await ids(until="1h") == []
        assert (await client.count(status="queued")).counts[Status.FAILED] == 1
        again = await client.rerun(one.id, idempotency_key="k")
        assert (again.rerun_of, again.cwd, again.pty, again.name) == (one.id, "/", False, "a&b=c")
        assert (await client.rerun(one.id, idempotency_key="k")).id == again.id
        assert (await client.get(two.id)).timeout == 60
        assert (await client.get(two.id)).node == platform.node()
        assert (await client.version()).version == __version__


async def test_a_signal_and_a_size(live: Live) -> None:
    script = "trap 'stty size; exit 3' INT; echo ready; while :; do sleep 0.05; done"
    async with Client(live.url, live.service.token) as client:
        workload = await client.submit(["sh", "-c", script + " 0<&1"], pty=True)
        async with aclosing(client.follow(workload.id)) as log:
            ready = await anext(log)
            assert isinstance(ready, Line)
            assert ready.text == "ready"
            await client.resize(workload.id, 111, 22)
            with pytest.raises(RefusedError) as refused:
                await client.resize(workload.id, 0, 22)
            assert refused.value.status == 422
            await client.stop(workload.id, signal="SIGINT", grace=60)
            records = [each async for each in log]
        assert "22 111" in [each.text for each in records if isinstance(each, Line)]
        assert isinstance(records[-1], End)
        assert records[-1].outcome.exit_code == 3


async def test_nobody_there() -> None:
    async with Client("http://127.0.0.1:9", "t") as client:
        with pytest.raises(UnreachableError, match="does not answer"):
            await client.get("x")
        with pytest.raises(UnreachableError, match=r"gave up on http:.* after 0 s: "):
            await first(client.follow("x", patience=0))


async def test_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for servers on other machines; `test_cli_connection` has those on this one."""
    seen: list[bytes] = []

    async def handle(stream: trio.SocketStream) -> None:
        seen.append(await stream.receive_some())
        await stream.send_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        port = listener.socket.getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        async with Client("http://logs.invalid", "t") as client:
            with pytest.raises(RefusedError, match="404"):
                await client.get("x")
        nursery.cancel_scope.cancel()
    assert seen[0].startswith(b"GET http://logs.invalid/v1/workloads/x HTTP/1.1")


@pytest.mark.parametrize("follow", [True, False])
async def test_a_follower_whose_connections_break_gets_each_line_once(
    live: Live, monkeypatch: pytest.MonkeyPatch, follow: bool
) -> None:
    monkeypatch.setattr("trio_logs.client.backoff.MAX_DELAY", 0.01)
    script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done"
    workload = await live.submit("sh", "-c", script)
    if not follow:
        await live.finished(workload["id"])
    async with (
        cutting_proxy(live.url, after=20_011) as (url, connections),
        Client(url, live.service.token) as client,
    ):
        with trio.fail_after(PATIENCE):
            records = [record async for record in client.follow(workload["id"], follow=follow)]
    texts = [record.text for record in records if isinstance(record, Line)]
    assert texts == [f"line {number}" for number in range(1, 3001)]
    assert [type(record) for record in records[3000:]] == [End]
    assert connections[0] > 5


async def test_what_is_not_followed_ends_at_the_last_line_known(live: Live) -> None:
    workload = await live.submit("sh", "-c", "echo a; echo b; sleep 60")
    async with Client(live.url, live.service.token) as client:
        async with aclosing(client.follow(workload["id"])) as log:
            await anext(log)
            await anext(log)
        known = [record async for record in client.follow(workload["id"], follow=False, tail=1)]
    assert [record.text for record in known] == ["b"]  # type: ignore[union-attr]


async def test_a_follower_survives_that_its_server_restarts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    records: list[LogRecord] = []
    run = trio.to_thread.run_sync
    with trio.fail_after(60):
        with running_server(data) as first:
            port = first.url.rpartition(":")[2]
            async with Client(first.url, first.token) as client, trio.open_nursery() as nursery:
                command = ["sh", "-c", "echo before; sleep 60"]
                workload = await client.submit(command)
                seen = trio.Event()

                async def follow() -> None:
                    async for record in client.follow(workload.id):
                        records.append(record)
                        seen.set()

                nursery.start_soon(follow)
                await seen.wait()
                await run(first.stop)
                with running_server(data, "--bind", f"127.0.0.1:{port}"):
                    while not isinstance(records[-1], End):
                        await trio.sleep(0.05)
    line, end = records
    assert isinstance(line, Line)
    assert line.text == "before"
    assert isinstance(end, End)
    assert end.outcome.status is Status.STOPPED


async def test_the_twin_for_scripts(live: Live) -> None:
    def script() -> None:
        with SyncClient(live.url, live.service.token) as client:
            workload = client.submit(["sh", "-c", "echo one; echo two >&2; exit 4"], name="s")
            *lines, end = client.follow(workload.id)
            assert {(line.stream, line.text) for line in lines} == {  # type: ignore[union-attr]
                ("stdout", "one"),
                ("stderr", "two"),
            }
            assert isinstance(end, End)
            assert end.outcome.exit_code == 4
            assert [found.id for found in client.list()] == [workload.id]
            assert client.count(status="failed", search="exit 4").total == 1
            assert client.version().api == 1
            assert client.get(workload.id).status is Status.FAILED
            again = client.rerun(workload.id)
            assert again.rerun_of == workload.id
            *_, end = client.follow(again.id)
            client.delete(again.id)
            with pytest.raises(RefusedError):
                client.resize(workload.id, 80, 24)
            with pytest.raises(RefusedError):
                client.stop(workload.id, signal="SIGNOPE")
            assert client.stop(workload.id).status is Status.FAILED
            with closing(client.follow(workload.id)) as log:
                next(log)
            client.delete(workload.id)
            with pytest.raises(RefusedError):
                client.get(workload.id)

    with trio.fail_after(PATIENCE):
        await trio.to_thread.run_sync(partial(script))
    assert live.service.broker.statistics().subscriptions == 0
