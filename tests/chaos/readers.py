"""Clients that read logs on any node, resume, and record all that they see."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import trio

from tests.chaos.history import Event, History, Kind
from tests.chaos.http import Answer, BrokenError, Request, ask, opened

__all__ = ["Place", "Reader", "follow_changes", "read_events"]

HEARTBEAT_SECONDS = 15
"""A stream that is silent for longer is cut, or its node is stopped."""

LONG_SILENCE = HEARTBEAT_SECONDS + 3


@dataclass(frozen=True)
class Place:
    """Where clients reach a node; there may be a proxy in between that cuts connections."""

    node: str
    address: tuple[str, int]


@dataclass
class Reader:
    """Follows one log until its `end`. `silence`: seconds after which it takes a stream for cut.
    `stay`: seconds after which it moves to another node at the latest; None stays. `may_be_gone`
    says whether the database may have lost the workload."""

    history: History
    places: Sequence[Place]
    token: str
    rng: random.Random
    clock: Callable[[], float]
    silence: float = LONG_SILENCE
    stay: float | None = None
    may_be_gone: Callable[[], bool] = lambda: False
    ended: trio.Event = field(default_factory=trio.Event)
    _id: str | None = None

    async def run(self) -> None:
        """Follow until the end, over as many connections as it takes."""
        place = self.rng.choice(self.places)
        while not self.ended.is_set():
            pause = self.rng.uniform(0.05, 0.3)
            seconds = None if self.stay is None else self.rng.uniform(0.2, 1) * self.stay
            with trio.move_on_after(seconds) if seconds is not None else trio.CancelScope():
                try:
                    pause = await self._connect(place, pause)
                except BrokenError:
                    self._note(place.node, "cut")
            if not self.ended.is_set():
                await trio.sleep(pause)
                events = self.history.events
                # As behind a proxy that knows which nodes are about to end.
                leaves = place.node if events and events[-1].kind == "shutdown" else None
                others = [each for each in self.places if each.node != leaves]
                place = self.rng.choice(others or self.places)

    async def _connect(self, place: Place, pause: float) -> float:
        """One connection; returns after how many seconds to make the next one."""
        history = self.history
        headers = {"Accept": _ACCEPT[history.way]}
        if self._id is not None:
            headers["Last-Event-ID"] = self._id
        follow = "false" if history.way == "past" else "true"
        path = f"/v1/workloads/{history.workload}/logs?follow={follow}&format=json"
        if history.way != "sse":
            path = path.removesuffix("&format=json")
        if history.start > 1:
            path += f"&from={history.start}"
        request = Request("GET", path, self.token, headers)
        async with opened(place.address, request, silence=self.silence) as answer:
            if answer.status != 200:
                self._note(place.node, "refused", answer.status)
                if answer.status == 404 and self.may_be_gone():
                    self.ended.set()
                return pause
            self._note(place.node, "open", int(self._id or 0))
            async with read_events(answer, history.way) as events:
                async for kind, name, content in events:
                    pause = self._take(place.node, kind, name, content, pause)
                    if self.ended.is_set():
                        return pause
            if not answer.is_whole:
                self._note(place.node, "cut")
            elif history.way == "past":
                # A history ends at the last line known then, without a word.
                self._note(place.node, "stop")
                self.ended.set()
            elif not history.events or history.events[-1].kind not in ("shutdown", "gap"):
                self._note(place.node, "stop")
        return pause

    def _take(self, node: str, kind: str, event_id: str, content: Any, pause: float) -> float:
        if event_id and event_id.isdigit():
            self._id = event_id
        match kind:
            case "line":
                self._id = str(content["seq"])
                self._note(node, "line", content["seq"], text=content["text"])
            case "gap":
                self._note(node, "gap", content["from"], content["to"], content["reason"])
                self._id = str(content["to"])
            case "reset":
                self._note(node, "reset", text=content["reason"])
                self._id = None
            case "end":
                self._note(node, "end", content["lines"], text=content["status"])
                self.ended.set()
            case "shutdown":
                retry = int(content.get("retry", 0))
                self._note(node, "shutdown", retry, text=content["reason"])
                return min(retry or 300, 1000) / 1000
            case "heartbeat" | "position" | "unfinished":
                pass
            case _:
                raise AssertionError(f"a {kind} event: {content}")
        return pause

    def _note(self, node: str, kind: Kind, first: int = 0, last: int = 0, text: str = "") -> None:
        self.history.events.append(Event(self.clock(), kind, node, first, last, text))


_ACCEPT = {
    "sse": "text/event-stream",
    "ndjson": "application/x-ndjson",
    "past": "application/x-ndjson",
}


@asynccontextmanager
async def read_events(
    answer: Answer, way: str
) -> AsyncIterator[AsyncIterator[tuple[str, str, Any]]]:
    """The kind, id and content of each event of an answer; a line's kind is `line`."""
    async with aclosing(answer.pieces()) as pieces, aclosing(_events(pieces, way)) as events:
        yield events


async def _events(
    pieces: AsyncIterator[bytes], way: str
) -> AsyncGenerator[tuple[str, str, Any], None]:
    mark, parse = (b"\n\n", _parse_frame) if way == "sse" else (b"\n", _parse_object)
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(mark)
        for each in whole:
            found = parse(each)
            if found is not None:
                yield found


def _parse_object(data: bytes) -> tuple[str, str, Any] | None:
    content = json.loads(data)
    kind = content.get("event", "line")
    return kind, content.get("id", "") if kind == "position" else "", content


def _parse_frame(frame: bytes) -> tuple[str, str, Any] | None:
    kind, event_id, content, retry = "line", "", None, None
    for line in frame.split(b"\n"):
        name, _, value = line.partition(b": ")
        if name == b"data":
            content = json.loads(value)
        elif name == b"id":
            event_id = value.decode()
        elif name == b"event":
            kind = value.decode()
        elif name == b"retry":
            retry = int(value)
    if content is None:
        return ("position", event_id, None) if event_id else None
    if kind == "shutdown":
        content["retry"] = retry
    return kind, event_id, content


async def follow_changes(
    places: Sequence[Place],
    token: str,
    rng: random.Random,
    clock: Callable[[], float],
    found: list[tuple[float, str, Any]],
) -> None:
    """Follow `/v1/events` on any node until cancelled, and record kind and content of each. After a
    reset, record what the node lists as `listed`: the status of each workload by its id."""
    position: str | None = None
    is_reset = False
    while True:
        headers = {"Accept": "text/event-stream"}
        place = rng.choice(places)
        with trio.move_on_after(rng.uniform(2, 20)), suppress(BrokenError):
            if is_reset:
                position, listed = await _list(place, token)
                found.append((clock(), "listed", [place.node, position, listed]))
                is_reset = False
            if position is not None:
                headers["Last-Event-ID"] = position
            request = Request("GET", "/v1/events", token, headers)
            async with (
                opened(place.address, request, silence=LONG_SILENCE) as answer,
                read_events(answer, "sse") as events,
            ):
                # What another answer has is a problem, which is no event.
                async for kind, event_id, content in events:
                    if kind == "reset":
                        position, is_reset = None, True
                    elif event_id:
                        position = event_id
                    found.append((clock(), kind, [place.node, position, content]))
                    if is_reset:
                        break
        await trio.sleep(rng.uniform(0.05, 0.3))


async def _list(place: Place, token: str) -> tuple[str, dict[str, str]]:
    """The position of a list, and the status of each workload by its id. Raises BrokenError."""
    status, _, body = await ask(place.address, Request("GET", "/v1/workloads?limit=500", token))
    if status == 503:
        raise BrokenError("503")
    assert status == 200, body
    assert body["next"] is None, "a run has fewer workloads"
    return str(body["position"]), {each["id"]: each["status"] for each in body["workloads"]}
