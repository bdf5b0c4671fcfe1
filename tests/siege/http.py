"""Hostile HTTP: requests within requests, odd framing, slow heads and bodies, floods."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import trio

from tests.fuzz.http import FAULTS
from tests.server_process import ServerProcess
from tests.siege import case
from tests.siege.trial import Trial
from trio_logs.server import protocol
from trio_logs.server.server import Server

PATIENCE = 30.0
HEAD_SECONDS = 10.0
"""The time that the head of a request may take."""


def accept_any_framing(patch: pytest.MonkeyPatch) -> None:
    """A request may have both a length and chunks."""
    patch.setattr(protocol, "fault", lambda request: None)


def wait_for_ever(patch: pytest.MonkeyPatch) -> None:
    """No connection is too late."""

    async def wait(server: Server) -> None:
        await trio.sleep_forever()

    patch.setattr(Server, "_enforce_bounds", wait)


def parse_all_at_once(patch: pytest.MonkeyPatch) -> None:
    """All chunks that were read are parsed in one step."""
    patch.setattr(protocol, "EVENTS_AT_ONCE", 10**9)
    patch.setattr(protocol.BodyBound, "fault", lambda body: None)


def connect(server: ServerProcess) -> socket.socket:
    return socket.create_connection(
        ("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=PATIENCE
    )


def exchange(server: ServerProcess, data: bytes) -> bytes:
    """Send it at once; return all that comes until the server closes, as its answer has to say."""
    answer = b""
    with connect(server) as client, suppress(ConnectionError):
        client.sendall(data)
        while received := client.recv(65536):
            answer += received
            assert b"\r\n\r\n" not in answer or b"connection: close" in answer, answer
    return answer


@case(accept_any_framing, in_suite=True)
def smuggling(trial: Trial) -> None:
    """A request within the body of one whose framing has a fault is never answered."""
    with trial.server() as server:
        victim = server.post("/v1/workloads", {"command": ["true"]}).json()["id"]
        path = f"/v1/workloads/{victim}"
        assert "event: end" in server.get(f"{path}/logs").text
        authority = f"Host: localhost\r\nAuthorization: Bearer {server.token}\r\n".encode()
        inner = b"DELETE %b HTTP/1.1\r\n%b\r\n" % (path.encode(), authority)
        start = b"POST /v1/workloads HTTP/1.1\r\nHost: x\r\n" + authority.partition(b"\r\n")[2]
        framed = [
            start + b"Content-Length: %d\r\n\r\n" % len(inner) + inner,
            start
            + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner),
            # For a server that takes the length of a body in chunks.
            start + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
        ]
        for number, data in enumerate(framed):
            for old, new in FAULTS:
                data = data.replace(b"Host: x\r\n", b"Host: localhost\r\n")
                old = old.replace(b"Host: x", b"Host: localhost")
                new = new.replace(b"Host: x", b"Host: localhost")
                if old not in data:
                    continue
                answer = exchange(server, data.replace(old, new, 1))
                assert answer.count(b"HTTP/1.1 ") == 1, (number, new, answer)
                assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501")), (number, new, answer)
        assert server.get(path).status_code == 200
        assert server.stop() == 0


@case(wait_for_ever)
def slow(trial: Trial) -> None:
    """Heads that come byte by byte, and bodies that never come, end; all others are served."""
    count = 10 if trial.is_short else 500
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 4000
    with trial.server() as server, trial.healthy(server), ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(count)]
        ended = [False] * count
        started = time.monotonic()
        place = 0
        while not all(ended):
            assert time.monotonic() - started < 2 * HEAD_SECONDS, ended.count(False)
            for number, client in enumerate(clients):
                if not ended[number]:
                    try:
                        client.sendall(head[place : place + 1])
                    except ConnectionError:
                        ended[number] = True
            place += 1
            # The pace of slow clients.
            time.sleep(0.1)


@contextmanager
def attackers(count: int, attack: Callable[[], None]) -> Iterator[None]:
    """So many threads that attack again and again."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            with suppress(OSError):
                attack()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def tiny_chunks(server: ServerProcess, token: str, path: str) -> None:
    """One body of 64 KiB in chunks of one byte."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    data = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"1\r\nx\r\n" * 11_000
    with connect(server) as client:
        client.sendall(data)
        client.recv(65536)


@case(parse_all_at_once)
def chunks(trial: Trial) -> None:
    """Bodies of tiny chunks, without a token and with it, delay nobody."""
    with trial.server() as server:
        pushed = server.post("/v1/workloads", {"backend": "push", "command": ["x"]}).json()["id"]
        for token, path in (
            ("wrong", "/v1/workloads"),
            (server.token, "/v1/workloads"),
            (server.token, f"/v1/workloads/{pushed}/logs"),
        ):
            with (
                trial.healthy(server),
                attackers(16, lambda token=token, path=path: tiny_chunks(server, token, path)),  # type: ignore[misc]
            ):
                # How long the attack lasts, and is measured.
                time.sleep(0.5 if trial.is_short else 5)
        assert server.stop() == 0


def check_tokens_slowly(patch: pytest.MonkeyPatch) -> None:
    """A wrong token holds Trio's thread for 0.3 s, as a slow hash of it would."""

    def is_equal(given: bytes, right: bytes) -> bool:
        if given != right:
            time.sleep(0.3)
        return given == right

    patch.setattr("hmac.compare_digest", is_equal)


@case(check_tokens_slowly)
def floods(trial: Trial) -> None:
    """Clients that connect, ask with a wrong token, and leave, as fast as they can."""
    request = b"GET /v1/workloads HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n"
    request += b"Connection: close\r\n\r\n"

    with trial.server() as server:

        def ask_and_leave() -> None:
            with connect(server) as client:
                client.sendall(request)
                while client.recv(65536):
                    pass

        with trial.healthy(server), attackers(8, ask_and_leave):
            # How long the flood lasts, and is measured.
            time.sleep(0.5 if trial.is_short else 10)
        assert server.stop() == 0
