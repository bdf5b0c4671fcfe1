"""Nodes as processes over one PostgreSQL database: how they die, restart, and take over."""

from __future__ import annotations

import json
import re
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest
import trio

from tests.command_line import trio_logs
from tests.postgres_server import PostgresServer
from tests.server_process import ServerProcess, running_server
from trio_logs.cli.exits import FENCED

TOKEN = "t" * 30
PATIENCE = 60

StartNode = Callable[..., ServerProcess]


@pytest.fixture
def start_node(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[StartNode]:
    """Starts a node over a database of this test."""
    database = f"nodes_{secrets.token_hex(6)}"
    postgres_server.execute(f"CREATE DATABASE {database}")
    url = postgres_server.url(database)
    with ExitStack() as stack:

        def start(name: str, *arguments: str) -> ServerProcess:
            return stack.enter_context(node(tmp_path / name, name, url, *arguments))

        yield start
    postgres_server.execute(f"DROP DATABASE {database} WITH (FORCE)")


@contextmanager
def node(folder: Path, name: str, url: str, *arguments: str) -> Iterator[ServerProcess]:
    if not folder.exists():
        folder.mkdir(mode=0o700)
        (folder / "token").touch(mode=0o600)
        (folder / "token").write_text(TOKEN)
    serving: AbstractContextManager[ServerProcess] = running_server(
        folder, "--store", url, "--node", name, *arguments
    )
    with serving as server:
        yield server


def until(is_so: Callable[[], object]) -> None:
    """Return once it is so."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running_on(server: ServerProcess, name: str) -> str:
    """The id of a workload that runs at the node with this name, and says so."""
    command = ["sh", "-c", "echo up; sleep 1000 & wait"]
    while True:
        made = server.post("/v1/workloads", {"command": command}).json()
        path = f"/v1/workloads/{made['id']}"
        until(lambda: server.get(path).json()["lines"])  # noqa: B023
        if server.get(path).json()["node"].startswith(f"{name}-"):
            return str(made["id"])
        server.post(f"{path}/stop")


def test_nodes_that_die_and_one_that_was_taken_for_dead(start_node: StartNode) -> None:
    a, b, c = [start_node(name) for name in "abc"]
    killed, stopped = running_on(c, "a"), running_on(c, "b")
    [remains] = [each for each in psutil.process_iter(["cmdline"]) if is_child(each, a)]
    with c.client() as client, client.stream("GET", f"/v1/workloads/{killed}/logs") as reader:
        b.process.send_signal(signal.SIGSTOP)
        a.kill()
        began = time.monotonic()
        body = reader.read().decode()
        took = time.monotonic() - began
    print(f"the end came {took:.1f} s after kill -9")
    assert body.count("data: up") == 1
    assert '"status":"lost","reason":"server_lost"' in body
    assert took < 8
    # Its processes are ended by a node of the same host.
    psutil.wait_procs([remains], timeout=PATIENCE)
    assert not remains.is_running() or remains.status() == psutil.STATUS_ZOMBIE
    until(lambda: c.get(f"/v1/workloads/{stopped}").json()["status"] == "lost")
    until(lambda: len(c.get("/v1/nodes").json()["nodes"]) == 1)
    began = time.monotonic()
    b.process.send_signal(signal.SIGCONT)
    assert b.process.wait(PATIENCE) == FENCED
    print(f"a node that was taken for dead exits after {time.monotonic() - began:.1f} s")
    assert sum("taken" in line or "took" in line for line in b.lines) == 1
    assert not any("Traceback" in line for line in b.lines)
    # It comes back under a new id.
    start_node("b")
    listed = trio_logs(c.data, "nodes")
    assert listed.returncode == 0, listed.stderr
    title, *rows = listed.stdout.splitlines()
    assert title.split() == ["ID", "ADDRESS", "UP", "SEEN", "RUNNING", "QUEUED", "STATE"]
    assert [re.sub(r"-[0-9a-f]{8}$", "", row.split()[0]) for row in rows] == ["b", "c"]
    as_json = trio_logs(c.data, "nodes", "--json")
    assert [json.loads(line)["draining"] for line in as_json.stdout.splitlines()] == [False, False]


def is_child(process: psutil.Process, server: ServerProcess) -> bool:
    return process.info["cmdline"] == ["sleep", "1000"] and server.process.pid in {
        parent.pid for parent in process.parents()
    }


class Nodes:
    """The addresses of the nodes that take requests, as a proxy knows them."""

    def __init__(self, *servers: ServerProcess) -> None:
        self.urls = [server.url for server in servers]
        self._turn = 0

    def pick(self) -> str:
        self._turn += 1
        return self.urls[self._turn % len(self.urls)]


def test_a_rolling_restart_with_readers_and_a_push(start_node: StartNode) -> None:
    servers = {name: start_node(name, "--drain", "5") for name in "abc"}
    made = servers["a"].post("/v1/workloads", {"backend": "push"}).json()
    nodes = Nodes(*servers.values())
    texts: list[str] = []
    silences: list[float] = []
    is_over = trio.Event()

    async def push(client: httpx2.AsyncClient) -> None:
        """Send numbered lines until the restart is over; then end the log."""
        sent, acknowledged = b"", 0
        number = 0
        while not is_over.is_set() or acknowledged < len(sent):
            if not is_over.is_set():
                number += 1
                sent += b"line %d\n" % number
            url = f"{nodes.pick()}{made['logs_url']}"
            try:
                answer = await client.post(
                    url,
                    content=sent[acknowledged:],
                    headers={"Upload-Offset": str(acknowledged)},
                )
            except httpx2.TransportError:
                continue
            if answer.status_code in (204, 409):
                acknowledged = int(answer.headers["Upload-Offset"])
            else:
                assert answer.status_code == 503, answer.text
                await trio.sleep(0.02)
        while True:
            url = f"{nodes.pick()}/v1/workloads/{made['id']}/finish"
            answer = await client.post(url, json={"exit_code": 0, "bytes": len(sent)})
            if answer.status_code == 200:
                return
            assert answer.status_code == 503, answer.text

    async def read(client: httpx2.AsyncClient) -> None:
        text, last_id, silent_since = "", "0", 0.0
        while "event: end" not in text:
            url = f"{nodes.pick()}{made['logs_url']}"
            body, delay = "", 0.05
            try:
                async with client.stream("GET", url, headers={"Last-Event-ID": last_id}) as answer:
                    if answer.status_code == 200:
                        async for chunk in answer.aiter_text():
                            body += chunk
                            if silent_since and "data: line" in body:
                                silences.append(trio.current_time() - silent_since)
                                silent_since = 0.0
            except httpx2.TransportError:
                pass
            # What is not a whole event is dropped, as EventSource does.
            body = body[: body.rfind("\n\n") + 2]
            text += body
            if moved := re.search(r"event: shutdown\nretry: (\d+)\n", body):
                assert 250 <= int(moved[1]) <= 750
                delay = int(moved[1]) / 1000
            last_id = (["0", *re.findall(r"^id: (\d+)$", text, re.MULTILINE)])[-1]
            silent_since = silent_since or trio.current_time()
            await trio.sleep(delay)
        texts.append(text)

    async def restart() -> None:
        for name in "abc":
            before = servers[name]
            nodes.urls.remove(before.url)
            # A proxy takes a while to see that a node drains, but here it knows before.
            await trio.to_thread.run_sync(before.stop)
            servers[name] = await trio.to_thread.run_sync(start_node, name, "--drain", "5")
            nodes.urls.append(servers[name].url)
        is_over.set()

    async def main() -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            httpx2.AsyncClient(
                headers=headers, timeout=PATIENCE, verify=False, limits=limits
            ) as client,
            trio.open_nursery() as nursery,
        ):
            for _ in range(20):
                nursery.start_soon(read, client)
            nursery.start_soon(push, client)
            await restart()

    with_timeout = trio.fail_after(PATIENCE)

    async def bounded() -> None:
        with with_timeout:
            await main()

    trio.run(bounded)
    numbers = [re.findall(r"^data: line (\d+)$", text, re.MULTILINE) for text in texts]
    assert len(texts) == 20
    assert all(found == [str(n) for n in range(1, len(found) + 1)] for found in numbers)
    assert len({len(found) for found in numbers}) == 1
    assert all(text.count("event: end") == 1 and "event: gap" not in text for text in texts)
    print(f"{len(numbers[0])} lines, longest silence {max(silences):.2f} s")
