"""Nodes over HTTP: which they are, what each of them answers, and how one of them drains."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from tests.live import PATIENCE, Live, open_live, parse_events
from tests.pushing import create
from tests.signing_in import bearer, sign_in
from tests.test_metrics import scrape
from trio_logs.errors import InvalidRequestError, TokenMismatchError
from trio_logs.service import open_service
from trio_logs.settings import Settings, parse_store
from trio_logs.store.memory import MemoryTables, SharedMemoryStore

TOKEN = "t" * 30

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]


@asynccontextmanager
async def open_node(
    folder: Path, tables: MemoryTables, name: str, **changes: Any
) -> AsyncIterator[Live]:
    settings = Settings(data=folder / name, token=TOKEN, node=name, **changes)
    async with open_live(settings, shared=SharedMemoryStore(tables)) as live:
        yield live


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Live, Live]]:
    """Nodes `a` and `b`."""
    tables = MemoryTables()
    async with open_node(tmp_path, tables, "a") as a, open_node(tmp_path, tables, "b") as b:
        await until_known(a, 2)
        yield a, b


async def until_known(live: Live, count: int) -> None:
    """Return once a node knows so many nodes."""
    assert live.service.nodes is not None
    with trio.fail_after(PATIENCE):
        while len(live.service.nodes.known) != count:
            await trio.sleep(0.01)


async def running_on(live: Live, *command: str, **fields: Any) -> dict[str, Any]:
    """A new workload that runs at this node."""
    assert live.service.nodes is not None
    with trio.fail_after(PATIENCE):
        while True:
            made = await live.submit(*command, **fields)
            while made["status"] == "queued":
                made = (await live.client.get(f"/v1/workloads/{made['id']}")).json()
            if made["node"] == live.service.nodes.own.id:
                return made
            await live.client.post(f"/v1/workloads/{made['id']}/stop")


async def test_the_nodes(two: tuple[Live, Live]) -> None:
    a, b = two
    workload = await running_on(b, "sleep", "100")
    for live in two:
        answer = await live.client.get("/v1/nodes")
        assert answer.status_code == 200
        assert list(answer.json()) == ["nodes"]
        of_a, of_b = answer.json()["nodes"]
        assert list(of_a) == [
            "id",
            "address",
            "started_at",
            "seen_at",
            "running",
            "queued",
            "draining",
        ]
        assert re.fullmatch(r"a-[0-9a-f]{8}", of_a["id"])
        assert of_b["id"] == workload["node"]
        assert (of_b["running"], of_b["queued"], of_b["draining"]) == (1, 0, False)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", of_b["seen_at"])
    with trio.fail_after(PATIENCE):
        while True:
            nodes = (await a.client.get("/v1/nodes")).json()["nodes"]
            if [node["address"] for node in nodes] == [a.url, b.url]:
                break
    assert (await scrape(a))["nodes"] == 2
    assert (await scrape(b))["workloads_owned"] == 1
    assert (await scrape(b))["store_up"] == 1


async def test_a_service_alone_is_one_node(open_server: OpenServer) -> None:
    async with open_server(node="alone") as live:
        workload = await live.submit("true")
        ended = await live.finished(workload["id"])
        [node] = (await live.client.get("/v1/nodes")).json()["nodes"]
        assert node["id"] == ended["node"] == "alone"
        assert (node["address"], node["running"], node["draining"]) == (live.url, 0, False)
        assert (await scrape(live))["nodes"] == 1


async def test_any_node_answers(two: tuple[Live, Live]) -> None:
    a, b = two
    script = "trap 'echo bye; exit 3' INT; echo one; while :; do sleep 0.05; done"
    workload = await running_on(b, "sh", "-c", script)
    url = f"/v1/workloads/{workload['id']}"
    reader = await a.follow(f"{url}/logs")
    async with reader.stream:
        await reader.read_until(b"data: one\n")
        assert (
            await a.client.post(f"{url}/resize", json={"columns": 9, "rows": 9})
        ).status_code == 409
        assert (await a.client.delete(url)).status_code == 409
        stop = await a.client.post(f"{url}/stop", json={"signal": "SIGNONE"})
        assert stop.status_code == 422
        stop = await a.client.post(f"{url}/stop", json={"signal": "SIGINT", "grace": 20})
        assert stop.status_code == 202
        body = await reader.read_all()
    end = parse_events(body)[-1]
    assert (end[0], end[2]["status"], end[2]["reason"]) == ("end", "stopped", "stop_requested")
    assert (await a.client.delete(url)).status_code == 204
    assert (await b.client.get(url)).status_code == 404


async def test_any_node_resizes_a_terminal(two: tuple[Live, Live]) -> None:
    a, b = two
    script = "trap 'stty size <&1; exit' WINCH; echo up; while :; do sleep 0.05; done"
    workload = await running_on(b, "sh", "-c", script, pty=True)
    reader = await a.follow(workload["logs_url"])
    async with reader.stream:
        await reader.read_until(b"data: up\n")
        url = f"/v1/workloads/{workload['id']}/resize"
        answer = await a.client.post(url, json={"columns": 77, "rows": 33})
        assert answer.status_code == 204
        assert b"data: 33 77\n" in await reader.read_all()


async def test_a_node_that_has_lost_a_push_does_not_say_that_it_shuts_down(
    two: tuple[Live, Live],
) -> None:
    a, b = two
    workload = await create(a)
    assert isinstance(a.service.store, SharedMemoryStore)
    # The news of the takeover is lost.
    a.service.store.watch_logs(lambda _: None)
    assert await b.service.engine.take_over(workload)
    answer = await a.client.post(f"/v1/workloads/{workload}/finish")
    assert (answer.status_code, answer.json()["detail"]) == (
        503,
        "another node has taken the log over: go on",
    )
    assert (await a.client.post(f"/v1/workloads/{workload}/finish")).status_code == 200


async def test_progress_of_other_nodes(two: tuple[Live, Live]) -> None:
    a, b = two
    workload = await running_on(b, "sh", "-c", "while :; do echo line; sleep 0.2; done")
    events = await a.follow("/v1/events")
    async with events.stream:
        mark = f'event: progress\ndata: {{"id":"{workload["id"]}"'.encode()
        await events.read_until(mark)
        first = len(events.body)
        with trio.fail_after(PATIENCE):
            while mark not in events.body[first:]:
                await events.read_chunk()


async def test_a_session_ends_at_all_nodes(two: tuple[Live, Live]) -> None:
    a, b = two
    key = await sign_in(a)
    workload = await running_on(b, "sleep", "100")
    url = f"{b.url}{workload['logs_url']}"
    async with (
        httpx2.AsyncClient(headers=bearer(key), timeout=PATIENCE, verify=False) as client,
        client.stream("GET", url) as reader,
    ):
        assert reader.status_code == 200
        began = trio.current_time()
        assert (await a.client.delete("/v1/session", headers=bearer(key))).status_code == 204
        # The answer is cut: no client takes it for complete.
        with pytest.raises(httpx2.RemoteProtocolError):
            await reader.aread()
        assert trio.current_time() - began < PATIENCE / 2
    answer = await b.client.get("/v1/workloads", headers=bearer(key))
    assert answer.status_code == 401


async def test_a_drain_moves_readers_and_lets_workloads_finish(tmp_path: Path) -> None:
    tables = MemoryTables()
    gate = tmp_path / "gate"
    async with open_node(tmp_path, tables, "a") as a:
        async with open_node(tmp_path, tables, "b", drain=PATIENCE) as b:
            await until_known(b, 2)
            script = f"echo up; until [ -e {gate} ]; do sleep 0.01; done; echo done"
            workload = await running_on(b, "sh", "-c", script)
            readers = [await b.follow(workload["logs_url"]) for _ in range(8)]
            readers.append(await b.follow("/v1/events"))
            readers.append(await b.follow(f"/v1/logs?workload={workload['id']}"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(b.service.wind_down)
                bodies = [await reader.read_all() for reader in readers]
                for reader in readers:
                    await reader.stream.aclose()
                delays = []
                for body in bodies:
                    [delay] = re.findall(rb"event: shutdown\nretry: (\d+)\n", body)
                    delays.append(int(delay))
                assert all(250 <= delay <= 750 for delay in delays)
                assert len(set(delays)) > 1
                ready = await b.client.get("/readyz")
                assert (ready.status_code, ready.json()["reason"]) == (503, "draining")
                answer = await b.client.get(workload["logs_url"])
                assert (answer.status_code, answer.json()["reason"]) == (503, "draining")
                with trio.fail_after(PATIENCE):
                    while not (await a.client.get("/v1/nodes")).json()["nodes"][1]["draining"]:
                        pass
                # It takes submissions, but other nodes run them.
                made = await b.submit("true")
                assert (await a.finished(made["id"]))["node"].startswith("a-")
                reader = await a.follow(workload["logs_url"])
                gate.touch()
                assert b"data: done\n" in await reader.read_all()
                await reader.stream.aclose()
        ended = (await a.client.get(f"/v1/workloads/{workload['id']}")).json()
        assert (ended["status"], ended["node"]) == ("succeeded", workload["node"])
        await until_known(a, 1)
        # It has left, and was not buried.
        assert (await scrape(a))["nodes_buried_total"] == 0


async def test_a_node_alone_keeps_its_readers_until_the_drain_is_over(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with open_live(Settings(data=tmp_path / "data", drain=PATIENCE)) as live:
        script = f"echo up; until [ -e {gate} ]; do sleep 0.01; done; echo done"
        workload = await live.submit("sh", "-c", script)
        waiting = await live.follow("/v1/events")
        reader = await live.follow(workload["logs_url"])
        async with reader.stream, waiting.stream, trio.open_nursery() as nursery:
            await reader.read_until(b"data: up\n")
            nursery.start_soon(live.service.wind_down)
            while (ready := await live.client.get("/readyz")).status_code == 200:
                pass
            assert ready.json()["reason"] == "draining"
            refused = await live.client.post("/v1/workloads", json={"command": ["true"]})
            assert refused.status_code == 503
            gate.touch()
            assert b"data: done\n" in await reader.read_all()
            live.service.drain()
            assert b"event: shutdown\nretry: 3000\n" in await waiting.read_all()


async def test_a_drain_ends_when_its_time_is_over(tmp_path: Path) -> None:
    async with open_live(Settings(data=tmp_path / "data", drain=0.2)) as live:
        workload = await live.submit("sleep", "1000")
        waiting = await live.submit("true", labels={"x": "y"})
        assert waiting["id"]
        await live.service.wind_down()
        assert (await live.client.get(f"/v1/workloads/{workload['id']}")).json()[
            "status"
        ] == "running"


async def test_nodes_have_the_same_tokens(tmp_path: Path) -> None:
    tables = MemoryTables()
    async with open_node(tmp_path, tables, "a"):
        settings = Settings(data=tmp_path / "other", token="u" * 30)
        with pytest.RaisesGroup(TokenMismatchError, flatten_subgroups=True):
            async with open_service(settings, shared=SharedMemoryStore(tables)):
                pass
        settings = Settings(data=tmp_path / "other", token=TOKEN, read_only_token="r" * 30)
        with pytest.RaisesGroup(TokenMismatchError, flatten_subgroups=True):
            async with open_service(settings, shared=SharedMemoryStore(tables)):
                pass


async def test_a_read_only_token_of_a_folder_does_not_count(tmp_path: Path) -> None:
    tables = MemoryTables()
    async with open_node(tmp_path, tables, "a") as a, open_node(tmp_path, tables, "b") as b:
        assert not (tmp_path / "a" / "token.read-only").exists()
        assert a.service.tokens == b.service.tokens
        assert TOKEN not in a.service.tokens.read_only


@pytest.mark.parametrize("text", ["", "mysql://db/x", "/var/lib/x", "postgresql:/x"])
def test_what_is_no_store(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="postgresql://") as caught:
        parse_store(f"{text}:secret")
    assert "secret" not in str(caught.value)


def test_the_environment_of_a_node() -> None:
    given = {
        "TRIO_LOGS_STORE": "postgres://u:p@h/d",
        "TRIO_LOGS_NODE": "n1",
        "TRIO_LOGS_DRAIN": "1m",
    }
    found = Settings.from_environment(given)
    assert (found.store, found.node, found.drain) == ("postgres://u:p@h/d", "n1", 60.0)
    assert "u:p" not in repr(found)
    for name, text in (("STORE", "x"), ("NODE", "a b"), ("DRAIN", "-1"), ("DRAIN", "soon")):
        with pytest.raises(InvalidRequestError):
            Settings.from_environment({f"TRIO_LOGS_{name}": text})
