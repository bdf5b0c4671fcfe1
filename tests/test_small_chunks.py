"""A body in chunks of one byte: its framing costs a thousand times as much as its bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import h11
import pytest
import trio

from tests.live import PATIENCE, Live
from tests.test_server import connect, read_all
from trio_logs.server.protocol import HTTP11
from trio_logs.store.sessions import Session

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

DOTS = [b"."] * 10_000


class Steps(trio.abc.Instrument):
    """Counts the chunks that h11 parses: in all, and at most in one step of a task."""

    def __init__(self) -> None:
        self.chunks = 0
        self.most = 0
        self._here = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._here = 0

    def parsed(self, event: Any) -> None:
        if isinstance(event, h11.Data):
            self.chunks += 1
            self._here += 1
            self.most = max(self.most, self._here)


@pytest.fixture
async def steps(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Steps]:
    counted = Steps()
    next_event = h11.Connection.next_event

    def counting(connection: h11.Connection) -> Any:
        event = next_event(connection)
        counted.parsed(event)
        return event

    monkeypatch.setattr(h11.Connection, "next_event", counting)
    trio.lowlevel.add_instrument(counted)
    yield counted
    trio.lowlevel.remove_instrument(counted)


async def send(live: Live, path: str, pieces: Sequence[bytes], token: str | None = None) -> bytes:
    """The answer to a body in these chunks, which are sent at once."""
    token = live.service.token if token is None else token
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    head += "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"".join([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces])
    async with await connect(live.url) as stream:
        await stream.send_all(head.encode() + body + b"0\r\n\r\n")
        with trio.fail_after(PATIENCE):
            return await read_all(stream)


async def test_a_body_without_a_token_is_hardly_read(open_server: OpenServer, steps: Steps) -> None:
    async with open_server() as live:
        answer = await send(live, "/v1/workloads", DOTS, "wrong")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert 0 < steps.chunks < len(DOTS) / 10
    assert steps.most <= 40


async def test_an_answer_after_a_refusal_is_dropped(
    open_server: OpenServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = trio.Event()
    refuse = HTTP11._refuse

    async def tell(protocol: HTTP11, *arguments: Any) -> None:
        refused.set()
        await refuse(protocol, *arguments)

    async def look_up(ids: object) -> list[Session]:
        with trio.CancelScope(shield=True):
            await refused.wait()
        return []

    monkeypatch.setattr(HTTP11, "_refuse", tell)
    async with open_server() as live:
        monkeypatch.setattr(live.service.store, "sessions", look_up)
        answer = await send(live, "/v1/workloads", DOTS, "a-key-of-22-characters")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert not [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]


async def test_a_push_of_tiny_chunks_takes_turns(open_server: OpenServer, steps: Steps) -> None:
    """They are allowed: a program that writes dots is pushed like that."""
    async with open_server() as live:
        workload = (await live.client.post("/v1/workloads", json={"backend": "push"})).json()
        answer = await send(live, workload["logs_url"], [*DOTS, b"\n"])
        assert answer.startswith(b"HTTP/1.1 204 ")
        assert b"upload-offset: %d" % (len(DOTS) + 1) in answer.lower()
    assert steps.chunks > len(DOTS)
    assert steps.most <= 40


async def test_a_bounded_body_of_tiny_chunks_is_refused(
    open_server: OpenServer, steps: Steps
) -> None:
    async with open_server() as live:
        answer = await send(live, "/v1/workloads", DOTS)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "larger" in json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]
    assert steps.chunks < len(DOTS) / 2
    assert steps.most <= 40


async def test_a_bounded_body_of_small_chunks_is_accepted(open_server: OpenServer) -> None:
    """2,048 of them, of 16 bytes each."""
    text = json.dumps({"command": ["true"], "name": "small chunks"}).encode()
    text = text.ljust(16 * 2048)
    async with open_server() as live:
        answer = await send(
            live, "/v1/workloads", [text[at : at + 16] for at in range(0, len(text), 16)]
        )
    assert answer.startswith(b"HTTP/1.1 201 ")
