"""All that takes memory at once: `docs/reference/settings.md` says what it adds up to."""

from __future__ import annotations

import json
import re
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.server_process import ServerProcess
from tests.siege import case
from tests.siege.trial import Trial

MIB = 1024 * 1024
SETTINGS = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"

WRITER = """
import sys, time
for number in range(3000):
    print(number, "x" * 2000)
sys.stdout.flush()
time.sleep(1000)
"""
"""It writes 6 MiB, which is more than a window."""


def count_no_bytes(patch: pytest.MonkeyPatch) -> None:
    """The specifications that wait have no weight."""
    patch.setattr("trio_logs.records.Workload.weight", 0)


def documented_bound() -> int:
    """The bytes that the settings say the service takes at most."""
    found = re.search(r"\*\*([0-9]+) MiB\*\* in all", SETTINGS.read_text())
    assert found is not None
    return int(found[1]) * MIB


def submit_until_refused(server: ServerProcess) -> int:
    """Submit specifications of nearly a mebibyte; return how many the server takes."""
    taken = 0
    with server.client() as client:
        # Only the first one has a program.
        body = {"command": ["sleep", "1000"], "env": {"X": "x" * 1_040_000}}
        while client.post("/v1/workloads", json=body).status_code == 201:
            taken += 1
            assert taken < 400, "specifications have no bound"
    return taken


@contextmanager
def streams(server: ServerProcess, path: str, count: int) -> Iterator[None]:
    """So many clients that follow a log."""
    port = int(server.url.rpartition(":")[2])
    request = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    ).encode()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
            client.sendall(request)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        yield


def search(server: ServerProcess, over: threading.Event) -> None:
    """Search all logs, again and again."""
    while not over.is_set():
        server.get("/v1/search?filter=nowhere")


def fill_windows(server: ServerProcess, count: int) -> str:
    """Have workloads write more than a window each; return the id of one."""
    with server.client() as client:
        writer = {"command": [sys.executable, "-c", WRITER]}
        ids = [client.post("/v1/workloads", json=writer).json()["id"] for _ in range(count)]
    for each in ids:
        with server.client() as client:
            url = f"/v1/workloads/{each}/logs?from=3000&format=json"
            with client.stream("GET", url) as log:
                assert any(
                    json.loads(line[6:])["seq"] == 3000
                    for line in log.iter_lines()
                    if line.startswith("data: ")
                )
    return str(ids[0])


def list_all(server: ServerProcess) -> None:
    """List the workloads, as four clients at once that each ask for a long page."""
    with server.client() as client, ThreadPoolExecutor(4) as threads:
        for answer in threads.map(client.get, ["/v1/workloads?limit=500"] * 12):
            assert answer.status_code == 200


@case(count_no_bytes)
def everything(trial: Trial) -> None:
    """Large specifications, all streams, full windows and searches at once."""
    running, clients = (20, 100) if trial.is_short else (100, 10_000)
    with trial.server("--max-running", str(running)) as server:
        print(f"    idle: {server.memory() // MIB} MiB")
        followed = fill_windows(server, running)
        print(f"    with {running} full windows: {server.memory() // MIB} MiB")
        with trial.healthy(server):
            taken = submit_until_refused(server)
            list_all(server)
        print(f"    with {taken} specifications that wait: {server.memory() // MIB} MiB")
        over = threading.Event()
        threads = [threading.Thread(target=search, args=(server, over)) for _ in range(8)]
        with streams(server, f"/v1/workloads/{followed}/logs?tail=1", clients):
            print(f"    with {clients} streams: {server.memory() // MIB} MiB")
            for thread in threads:
                thread.start()
            try:
                list_all(server)
                # How long memory is watched with everything full.
                time.sleep(1 if trial.is_short else 10)
            finally:
                over.set()
                for thread in threads:
                    thread.join()
        most = server.memory("VmHWM")
        print(f"    at most: {most // MIB} MiB of {documented_bound() // MIB}")
        assert most <= documented_bound()
