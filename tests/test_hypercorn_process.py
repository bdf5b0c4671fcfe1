"""What goes wrong with a whole process of stock Hypercorn, and not with ours; see `test_hypercorn`.

Both run as commands: they run out of descriptors, fail, and are stopped.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest
import trio

from tests.live import PATIENCE
from tests.server_process import ServerProcess, running_server
from trio_logs.api import create_app
from trio_logs.server import Server, TCPBind
from trio_logs.service import open_service
from trio_logs.settings import Settings
from trio_logs.store.memory import MemoryStore

ROOT = Path(__file__).parent.parent

TOKEN = "t"

FEW_DESCRIPTORS = ("prlimit", "--nofile=64:64", "--")


@contextmanager
def running_stock(
    data: Path, app: str, *arguments: str, prefix: tuple[str, ...] = ()
) -> Iterator[ServerProcess]:
    """`hypercorn -k trio APP` on a free port; killed with its workers on exit."""
    process = subprocess.Popen(
        [
            *prefix,
            *(sys.executable, "-m", "hypercorn", "-k", "trio", "--bind", "127.0.0.1:0"),
            *arguments,
            app,
        ],
        cwd=ROOT,
        env={**os.environ, "TRIO_LOGS_DATA": str(data), "TRIO_LOGS_TOKEN": TOKEN},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    lines: list[str] = []
    reader = threading.Thread(target=lines.extend, args=(process.stderr,))
    try:
        for line in process.stderr:
            lines.append(line)
            if "Running on " in line:
                break
        url = lines[-1].partition("Running on ")[2].split()[0]
        reader.start()
        yield ServerProcess(process, url, TOKEN, lines)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join()
        process.stderr.close()


def open_stream(server: ServerProcess, path: str) -> socket.socket:
    """A socket on which the request has been sent."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE)
    authorization = f"Authorization: Bearer {server.token}"
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n\r\n".encode())
    return connection


def read(connection: socket.socket, until: bytes | None = None) -> bytes:
    """What comes, up to and with `until`, or to the end, in order or not."""
    received = b""
    while until is None or until not in received:
        try:
            data = connection.recv(64 * 1024)
        except ConnectionResetError:
            break
        if not data:
            break
        received += data
    return received


def submit(server: ServerProcess, script: str) -> str:
    """Run it; return the URL of its log."""
    body = {"command": ["sh", "-c", script]}
    answer = server.post("/v1/workloads", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["logs_url"])


def wait_for(condition: Callable[[], bool], timeout: float = PATIENCE) -> bool:
    """Look again and again; the condition concerns another process."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def use_up_the_descriptors(server: ServerProcess, path: str) -> dict[str, bool]:
    """With more clients than descriptors, for two seconds."""
    said = len(server.lines)
    with ExitStack() as clients:
        for _ in range(100):
            clients.enter_context(open_stream(server, path))
        assert wait_for(lambda: len(server.lines) > said), "there were enough"
        # Not to wait for something: this long it has nothing to do but to fail again.
        time.sleep(2)
        lines = server.lines[said:]
    with open_stream(server, path) as late:
        answer = read(late, b" 200 ")
    return {
        "tracebacks": any("Traceback" in line for line in lines),
        "one line": len(lines) == 1,
        "serves once they are gone": answer.startswith(b"HTTP/1.1 200 "),
    }


def test_row_10_stock(tmp_path: Path) -> None:
    with running_stock(tmp_path, "tests.stock_apps:app", prefix=FEW_DESCRIPTORS) as server:
        assert use_up_the_descriptors(server, "/quiet") == {
            "tracebacks": True,
            "one line": False,
            "serves once they are gone": True,
        }


def test_row_10_ours(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        # Only now: at its start, the service fits its connections to the limit.
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        path = submit(server, "echo up; exec sleep 100")
        # A command that starts later would find no descriptor, and the log would say so.
        with open_stream(server, path) as client:
            read(client, b"data: up")
        assert use_up_the_descriptors(server, path) == {
            "tracebacks": False,
            "one line": True,
            "serves once they are gone": True,
        }
        assert wait_for(lambda: not server.metric("trio_logs_subscriptions"))
        assert server.stop() == 0


def test_connections_that_come_and_go_while_descriptors_lack_are_one_line(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        # Only now: at its start, the service fits its connections to the limit.
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        path = submit(server, "echo up; exec sleep 100")
        with open_stream(server, path) as client:
            read(client, b"data: up")
        said = len(server.lines)
        with ExitStack() as stack:
            clients = [stack.enter_context(open_stream(server, path)) for _ in range(100)]

            def served() -> list[socket.socket]:
                return select.select(clients, [], [], 0)[0]

            assert wait_for(lambda: len(server.lines) > said), "there were enough"
            for _ in range(2):
                # The server takes as many of the clients that wait, and lacks descriptors again.
                for client in served():
                    clients.remove(client)
                    client.close()
                assert wait_for(lambda: len(served()) >= 20)
        with open_stream(server, path) as late:
            assert read(late, b"data: up").startswith(b"HTTP/1.1 200 ")
        assert len(server.lines) - said == 1, server.lines[said:][:5]
        assert server.stop() == 0


def stop_with_an_open_stream(server: ServerProcess) -> dict[str, bool]:
    """The same service under either server; SIGTERM while a client follows."""
    with open_stream(server, submit(server, "echo up; exec sleep 100")) as client:
        body = read(client, b"data: up\n\n\r\n")
        server.process.terminate()
        body += read(client)
    return {
        "told": b"event: shutdown" in body,
        "ended": body.endswith(b"\r\n0\r\n\r\n"),
    }


@pytest.mark.parametrize(
    ("kind", "seen"),
    [("stock", {"told": False, "ended": False}), ("ours", {"told": True, "ended": True})],
)
def test_row_11(kind: str, seen: dict[str, bool], tmp_path: Path) -> None:
    servers: dict[str, AbstractContextManager[ServerProcess]] = {
        "stock": running_stock(tmp_path, "trio_logs.asgi:app", "--graceful-timeout", "1"),
        "ours": running_server(tmp_path),
    }
    with servers[kind] as server:
        assert stop_with_an_open_stream(server) == seen


def test_row_12_stock(tmp_path: Path) -> None:
    """Quart-Trio's nursery swallows what its tasks raise, so that a dead app is served on."""
    with running_stock(tmp_path, "tests.stock_apps:dying") as server:
        assert wait_for(lambda: any("the critical task failed" in line for line in server.lines))
        assert server.get("/").text == "hello"
        assert server.stop() == 0
    assert not any("after serving" in line for line in server.lines)


class FailingStore(MemoryStore):
    """A store that fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.fail = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(super().run)
            task_status.started()
            await self.fail.wait()
            raise RuntimeError("the critical task failed")


async def test_row_12_ours(tmp_path: Path) -> None:
    store = FailingStore()
    failed = pytest.RaisesExc(RuntimeError, match="the critical task failed")
    with trio.fail_after(PATIENCE), pytest.RaisesGroup(failed, flatten_subgroups=True):
        async with (
            open_service(Settings(tmp_path), store=store) as service,
            trio.open_nursery() as nursery,
            httpx2.AsyncClient(verify=False) as client,
        ):
            server = Server()
            app = create_app(service, server)
            binds = [TCPBind("127.0.0.1", 0)]
            [url] = await nursery.start(server.serve, app, binds, trio.Event())
            assert (await client.get(f"{url}/readyz")).status_code == 200
            store.fail.set()
            await trio.sleep_forever()
    with pytest.raises(OSError, match="failed"):
        await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))


@pytest.mark.parametrize(("workers", "finished"), [(1, True), (2, False)])
def test_row_13_stock(workers: int, finished: bool, tmp_path: Path) -> None:
    """Each worker has an app of its own, and the end of an idle one cuts the other's answer off."""
    arguments = ("--workers", str(workers), "--graceful-timeout", "2")
    with running_stock(tmp_path, "tests.stock_apps:app", *arguments) as server:
        pids: set[str] = set()

        def all_have_answered() -> bool:
            pids.add(server.get("/pid").text)
            return len(pids) == workers

        assert wait_for(all_have_answered)
        with open_stream(server, "/slow") as client:
            answer = read(client, b"data: 1")
            server.process.terminate()
            answer += read(client)
        assert answer.endswith(b"\r\n0\r\n\r\n") == finished


def test_row_13_ours(tmp_path: Path) -> None:
    """One process is all there is: the second one refuses, and the first one goes on."""
    with running_server(tmp_path) as server:
        with pytest.raises(RuntimeError) as refusal, running_server(tmp_path):
            pass
        assert str(refusal.value) == (
            f"trio-logs: the data folder {tmp_path} is in use by process {server.process.pid}:"
            " stop it, or give another folder with --data\n"
        )
        assert server.get("/readyz").status_code == 200
        assert server.stop() == 0
