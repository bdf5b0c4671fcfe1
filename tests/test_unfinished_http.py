"""Lines that have not ended over HTTP: from each kind of workload, in each representation."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.live import PATIENCE, Live, RawStream, parse_events
from trio_logs import LogWriter, function

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]
NDJSON = "Accept: application/x-ndjson"


@pytest.fixture
async def live(open_server: OpenServer) -> AsyncIterator[Live]:
    async with open_server() as opened:
        yield opened


@asynccontextmanager
async def following(live: Live, path: str, *headers: str) -> AsyncIterator[RawStream]:
    """An answer, whose socket is closed at the end."""
    raw = await live.follow(path, *headers)
    async with raw.stream:
        yield raw


class Gate:
    """Holds a command back until `open`: a pipe that the command reads."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gate"
        os.mkfifo(self.path)

    def open(self) -> None:
        # Without a wait: the command reads it already, or will.
        descriptor = os.open(self.path, os.O_RDWR)
        os.write(descriptor, b"go\n")
        self._kept = descriptor

    def close(self) -> None:
        os.close(self._kept)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def prompt(gate: Gate) -> str:
    return f"printf 'Name: '; read go < {gate.path}; echo Ada"


@pytest.mark.parametrize("pty", [False, True], ids=["pipe", "pty"])
async def test_a_prompt_of_a_process(live: Live, gate: Gate, pty: bool) -> None:
    workload = await live.submit("sh", "-c", prompt(gate), pty=pty)
    async with following(live, f"{workload['logs_url']}?unfinished=true") as stream:
        await stream.read_until(b'"Name: "')
        frame = b'event: unfinished\ndata: {"stream":"stdout","text":"Name: "}\n\n'
        assert stream.body == b": open\nretry: 2000\n\n" + frame
        # Who does not follow gets it before the end of the answer, in each representation.
        found = await live.client.get(workload["logs_url"], params="unfinished=1&follow=false")
        assert found.content == stream.body
        assert found.headers["log-lines"] == "0"
        for accept, text in (
            ("application/x-ndjson", '{"event":"unfinished","stream":"stdout","text":"Name: "}\n'),
            ("text/plain", ""),
        ):
            found = await live.client.get(
                workload["logs_url"], params="unfinished=true", headers={"Accept": accept}
            )
            assert (found.status_code, found.text) == (200, text)
        found = await live.client.get(workload["logs_url"], params="follow=false")
        assert found.content == b": open\nretry: 2000\n\n"
        gate.open()
        events = parse_events(await stream.read_all())
        gate.close()
        assert [event[:2] for event in events] == [
            ("unfinished", ""),
            ("message", "1"),
            ("end", "end"),
        ]
        assert events[1][2] == "Name: Ada"


async def test_a_bar_as_objects(live: Live, gate: Gate) -> None:
    """Colours and carriage returns stay; a filter that hides the line clears the bar."""
    bar = r"printf '10%%\r\033[32m20%%\033[0m\r' >&2"
    script = f"{bar}; read go < {gate.path}; echo done; echo x >&2"
    workload = await live.submit("sh", "-c", script)
    query = "unfinished=true&follow=true&filter=x&invert=true"
    async with following(live, f"{workload['logs_url']}?{query}", NDJSON) as stream:
        await stream.read_until(b"unfinished")
        gate.open()
        objects = [json.loads(line) for line in (await stream.read_all()).splitlines()]
        gate.close()
        shown = [each for each in objects if each.get("event") == "unfinished"]
        assert shown == [
            {"event": "unfinished", "stream": "stderr", "text": "\x1b[32m20%\x1b[0m"},
            {"event": "unfinished", "stream": "stderr", "text": ""},
        ]
        assert [each["text"] for each in objects if "seq" in each] == ["done"]
        assert objects[-1]["event"] == "end"


ANSWERS: dict[str, trio.Event] = {}


@function("unfinished.ask")
async def ask(log: LogWriter, name: str) -> None:
    await log.write("one\ntwo?")
    await ANSWERS[name].wait()
    await log.write(" yes\n")


async def test_a_function(live: Live) -> None:
    ANSWERS["answered"] = trio.Event()
    workload = await live.submit("unfinished.ask", "answered", backend="function")
    async with following(live, f"{workload['logs_url']}?unfinished=true") as stream:
        await stream.read_until(b'"two?"')
        ANSWERS["answered"].set()
        events = parse_events(await stream.read_all())
    assert [event[2] for event in events[:-1]] == [
        "one",
        {"stream": "stdout", "text": "two?"},
        "two? yes",
    ]


async def test_a_push_whose_request_goes_on(live: Live) -> None:
    """What was sent shows although no line of it is whole, and the request has not ended."""
    workload = await live.submit(backend="push")
    sent, more = trio.open_memory_channel[bytes](0)

    async def body() -> AsyncIterator[bytes]:
        async for data in more:
            yield data

    async def push() -> None:
        answer = await live.client.post(workload["logs_url"], content=body())
        assert answer.status_code == 204, answer.text

    async with following(live, f"{workload['logs_url']}?unfinished=true") as stream:
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(push)
                await sent.send(b"10%")
                await stream.read_until(b'"10%"')
                await sent.send(b"\r20%")
                await stream.read_until(b'"20%"')
                await sent.send(b"\n")
                sent.close()
            await live.client.post(f"/v1/workloads/{workload['id']}/finish")
            events: list[tuple[str, str, Any]] = parse_events(await stream.read_all())
        assert [event[0] for event in events] == ["unfinished", "unfinished", "message", "end"]


async def test_it_is_neither_stored_nor_numbered(live: Live, gate: Gate) -> None:
    workload = await live.submit("sh", "-c", prompt(gate))
    async with following(live, f"{workload['logs_url']}?unfinished=true") as stream:
        await stream.read_until(b"unfinished")
        record = (await live.client.get(f"/v1/workloads/{workload['id']}")).json()
        assert (record["lines"], record["bytes"]) == (0, 0)
        gate.open()
        record = await live.finished(workload["id"])
        gate.close()
        assert (record["lines"], record["bytes"]) == (1, 10)


@pytest.mark.parametrize("value", ["maybe", "", "TRUE"])
async def test_a_malformed_value(live: Live, value: str) -> None:
    workload = await live.submit("true")
    answer = await live.client.get(workload["logs_url"], params={"unfinished": value})
    assert answer.status_code == 400
    assert "unfinished" in answer.json()["detail"]
