"""Nodes as processes over one PostgreSQL database: how they die, restart, and take over."""

from __future__ import annotations

import json
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import httpx2
import psutil
import pytest
import trio

from tests.command_line import trio_logs
from tests.postgres_server import PostgresServer
from tests.server_process import ServerProcess, running_server
from tests.test_docs import arguments
from tests.test_readme import free_port
from trio_logs.cli.exits import FENCED
from trio_logs.cli.nodes import TITLES

TOKEN = "t" * 30
PATIENCE = 60

READERS = 20

BETWEEN = (502, 503)
"""What a client gets that meets a node at its end: its own answer, or that of the proxy."""

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


PAGE = (Path(__file__).parent.parent / "docs" / "howto" / "nodes.md").read_text()


def block(language: str) -> str:
    """The page's block in that language."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@contextmanager
def haproxy(folder: Path, ports: Sequence[int]) -> Iterator[str]:
    """HAProxy before nodes on these ports, with the page's configuration; yields its URL."""
    port = free_port()
    config = block("haproxy")
    for line, own in (
        ("bind :443 ssl crt /etc/ssl/private/logs.example.com.pem alpn h2,http/1.1", None),
        *((f"10.0.0.{number}:8000", each) for number, each in enumerate(ports, 1)),
    ):
        assert line in config
        config = config.replace(
            line, f"bind 127.0.0.1:{port}" if own is None else f"127.0.0.1:{own}"
        )
    (folder / "config").write_text(config)
    with subprocess.Popen(["haproxy", "-db", "-q", "-f", "config"], cwd=folder) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: answers(url))
            yield url
        finally:
            process.terminate()


def answers(url: str) -> bool:
    with suppress(httpx2.TransportError):
        return httpx2.get(f"{url}/readyz").status_code == 200
    return False


def test_the_other_blocks_of_the_page() -> None:
    # The command goes on in a second line.
    *variables, command = block("sh").replace("\\\n", "").splitlines()
    assert [line.split("=")[0] for line in variables] == [
        "export TRIO_LOGS_STORE",
        "export TRIO_LOGS_TOKEN",
    ]
    program, name, *given, last = command.split()
    assert (program, name, last) == ("trio-logs", "serve", "&")
    assert set(given[::2]) <= arguments("serve").keys()
    title, *rows = block("text").splitlines()
    assert title.split() == list(TITLES)
    assert len(rows) == 3


def test_a_rolling_restart_with_readers_and_a_push(start_node: StartNode, tmp_path: Path) -> None:
    ports = {name: free_port() for name in "abc"}

    def start(name: str) -> ServerProcess:
        bind = f"127.0.0.1:{ports[name]}"
        return start_node(
            name, "--drain", "5", "--bind", bind, "--allowed-host", "logs.example.com"
        )

    servers = {name: start(name) for name in ports}
    made = servers["a"].post("/v1/workloads", {"backend": "push"}).json()
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
            url = made["logs_url"]
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
                assert answer.status_code in BETWEEN, answer.text
                await trio.sleep(0.02)
        while True:
            url = f"/v1/workloads/{made['id']}/finish"
            answer = await client.post(url, json={"exit_code": 0, "bytes": len(sent)})
            if answer.status_code == 200:
                return
            assert answer.status_code in BETWEEN, answer.text

    async def read(client: httpx2.AsyncClient) -> None:
        text, last_id, silent_since = "", "0", 0.0
        while "event: end" not in text:
            url = made["logs_url"]
            body, delay, status = "", 0.05, 0
            try:
                async with client.stream("GET", url, headers={"Last-Event-ID": last_id}) as answer:
                    status = answer.status_code
                    if status == 200:
                        async for chunk in answer.aiter_text():
                            body += chunk
                            if silent_since and "data: line" in body:
                                silences.append(trio.current_time() - silent_since)
                                silent_since = 0.0
            except httpx2.TransportError:
                pass
            # Or an EventSource would give up.
            assert status in (0, 200)
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
        for name in ports:
            await trio.to_thread.run_sync(servers[name].stop)
            servers[name] = await trio.to_thread.run_sync(start, name)
        is_over.set()

    async def main(url: str) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with trio.fail_after(PATIENCE):
            async with (
                httpx2.AsyncClient(
                    base_url=url, headers=headers, timeout=PATIENCE, verify=False, limits=limits
                ) as client,
                trio.open_nursery() as nursery,
            ):
                for _ in range(READERS):
                    nursery.start_soon(read, client)
                nursery.start_soon(push, client)
                await restart()

    with haproxy(tmp_path, [*ports.values()]) as url:
        trio.run(main, url)
    numbers = [re.findall(r"^data: line (\d+)$", text, re.MULTILINE) for text in texts]
    assert len(texts) == READERS
    assert all(found == [str(n) for n in range(1, len(found) + 1)] for found in numbers)
    assert len({len(found) for found in numbers}) == 1
    assert all(text.count("event: end") == 1 and "event: gap" not in text for text in texts)
    silences.sort()
    high = silences[len(silences) * 99 // 100]
    print(
        f"{len(numbers[0])} lines, silence: 99 % below {high:.2f} s, longest {silences[-1]:.2f} s"
    )
