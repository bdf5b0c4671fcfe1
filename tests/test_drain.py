"""SIGTERM under load: everybody is told or cut off, and the process is gone in time."""

from __future__ import annotations

import selectors
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live import PATIENCE
from tests.server_process import ServerProcess, running_server
from trio_logs.server import ServerLimits

GRACE = ServerLimits().grace

TERMINAL_CHUNK = b"\r\n0\r\n\r\n"


def submit(server: ServerProcess, script: str) -> str:
    """Run it; return the path of its log."""
    body = {"command": ["sh", "-c", script]}
    answer = server.post("/v1/workloads", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["logs_url"])


def request(server: ServerProcess, method: str, path: str, *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    lines.append(f"Authorization: Bearer {server.token}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def connect(server: ServerProcess, buffer: int | None = None) -> socket.socket:
    """A client; `buffer` is what the kernel takes for it, in bytes."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    client = socket.socket()
    client.settimeout(PATIENCE)
    if buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.connect((host, int(port)))
    return client


def wait_for_metric(server: ServerProcess, name: str, least: float) -> None:
    deadline = time.monotonic() + PATIENCE
    while server.metric(name) < least:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def terminate(server: ServerProcess) -> None:
    """SIGTERM; return when it has been taken."""
    server.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while not any("shutting down" in line for line in server.lines):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def trickling(clients: list[socket.socket], count: int, pause: float) -> Iterator[None]:
    """Read `count` bytes from each, again and again, in a thread."""
    done = threading.Event()

    def trickle() -> None:
        while not done.wait(pause):
            for client in clients:
                with suppress(OSError):  # cut off
                    client.recv(count)

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_clients_that_never_read_and_clients_that_trickle(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, ExitStack() as stack:
        path = submit(server, f"exec yes {'x' * 99}")
        clients = [stack.enter_context(connect(server, buffer=4096)) for _ in range(55)]
        for client in clients:
            client.sendall(request(server, "GET", path))
        stack.enter_context(trickling(clients[50:], 1, 1.0))
        wait_for_metric(server, "trio_logs_subscriptions", 55)
        # What the kernel takes for each of them, and then much more than the window has.
        wait_for_metric(server, "trio_logs_http_sent_bytes_total", 55 * 16 * 1024)
        wait_for_metric(server, "trio_logs_history_bytes", 2 * 1024 * 1024)
        started = time.monotonic()
        assert server.stop() == 0
        took = time.monotonic() - started
    print(f"55 stalled clients: exit after {took:.2f} s")
    assert took < GRACE + 1
    assert not any("Traceback" in line for line in server.lines)


@dataclass
class Answer:
    """What a healthy client has received, and when the last of it came."""

    received: bytes = b""
    ended_at: float = 0.0


def read_all(clients: list[socket.socket], until: bytes | None) -> list[Answer]:
    """Read them all at once, each to a mark or to the end."""
    answers = [Answer() for _ in clients]
    deadline = time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as selector:
        for client, answer in zip(clients, answers, strict=True):
            selector.register(client, selectors.EVENT_READ, (client, answer))
        while selector.get_map():
            assert time.monotonic() < deadline
            for key, _ in selector.select(1):
                client, answer = key.data
                data = client.recv(64 * 1024)
                answer.received += data
                answer.ended_at = time.monotonic()
                if not data or (until is not None and until in answer.received):
                    selector.unregister(client)
    return answers


def test_five_hundred_healthy_streams(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, ExitStack() as stack:
        path = submit(server, "echo up; exec sleep 1000")
        clients = [stack.enter_context(connect(server)) for _ in range(500)]
        for client in clients:
            client.sendall(request(server, "GET", path))
        read_all(clients, b"data: up\n\n")
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        answers = read_all(clients, None)
        assert server.process.wait(PATIENCE) == 0
        ended = time.monotonic()
    told = max(answer.ended_at for answer in answers)
    print(f"500 streams: told within {told - started:.2f} s, exit after {ended - started:.2f} s")
    for answer in answers:
        assert b"event: shutdown\nretry: 3000\n" in answer.received
        assert answer.received.endswith(TERMINAL_CHUNK)
    assert ended - told < 1
    assert ended - started < GRACE


def test_a_request_in_flight_is_answered(tmp_path: Path) -> None:
    body = b'{"command": ["true"]}'
    with running_server(tmp_path) as server, connect(server) as client:
        headers = ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        client.sendall(request(server, "POST", "/v1/workloads", *headers) + body[:5])
        wait_for_metric(server, "trio_logs_connections", 2)
        terminate(server)
        client.sendall(body[5:])
        [answer] = read_all([client], None)
        assert server.process.wait(PATIENCE) == 0
    head, _, problem = answer.received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nconnection: close" in head.lower()
    assert b"shutting down" in problem


@pytest.mark.parametrize(("count", "stays"), [(150, False), (1000, True)])
def test_a_slow_client_is_cut_off_only_if_it_takes_next_to_nothing(
    count: int, stays: bool, tmp_path: Path
) -> None:
    """It takes 1.5 or up to 10 kB a second, all the time; 4 KiB in 2 s is what it has to."""
    with running_server(tmp_path, "--write-timeout", "2") as server, ExitStack() as stack:
        path = submit(server, f"yes {'x' * 99} | head -n 200000; exec sleep 1000")
        # With more, its kernel acknowledges what it took in leaps.
        client = stack.enter_context(connect(server, buffer=2048))
        client.sendall(request(server, "GET", path))
        wait_for_metric(server, "trio_logs_http_sent_bytes_total", 16 * 1024)
        stack.enter_context(trickling([client], count, 0.1))
        deadline = time.monotonic() + 6
        while server.metric("trio_logs_subscriptions") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert server.metric("trio_logs_write_timeouts_total") == (not stays)
        assert server.metric("trio_logs_subscriptions") == stays


def test_a_download_that_is_cut_short_looks_so(tmp_path: Path) -> None:
    """Plain text has no place for a `shutdown`: without its terminal chunk it is no whole log."""
    with running_server(tmp_path) as server, connect(server, buffer=16 * 1024) as client:
        path = submit(server, f"yes {'x' * 99} | head -n 100000")
        server.get(f"{path}?tail=0")
        client.sendall(request(server, "GET", f"{path}?follow=false", "Accept: text/plain"))
        received = client.recv(1000)
        terminate(server)
        with suppress(ConnectionResetError):
            while data := client.recv(64 * 1024):
                received += data
        assert server.process.wait(PATIENCE) == 0
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.count(b"x\n") < 100_000
    assert not received.endswith(TERMINAL_CHUNK)


def test_a_second_signal_ends_a_drain_and_not_the_shutdown(tmp_path: Path) -> None:
    with running_server(tmp_path, "--drain", "60s") as server:
        path = submit(server, "echo up; exec sleep 1000")
        server.get(f"{path}?limit=1")
        terminate(server)
        deadline = time.monotonic() + PATIENCE
        while (ready := server.get("/readyz")).status_code == 200:
            assert time.monotonic() < deadline
        assert ready.json()["reason"] == "draining"
        record = path.removesuffix("/logs")
        assert server.get(record).json()["status"] == "running"
        assert server.stop() == 0
    with running_server(tmp_path) as server:
        ended = server.get(record).json()
    assert (ended["status"], ended["reason"]) == ("stopped", "shutdown")
