"""A client of the push routes that moves between nodes.

On another node, the client sends new lines in the place of those that were not acknowledged, with
the number of a new attempt. So if a node appends to a log that it has lost, a line of an older
attempt follows one of a newer attempt.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from tests.chaos.history import Pushed, Text
from tests.chaos.http import BrokenError, Request, ask, connect, read_head, send_head
from tests.chaos.readers import Place

__all__ = ["Pusher", "SteadyPusher"]


@dataclass
class Pusher:
    """Pushes `lines` lines of the workload `workload_id`, then finishes it. `pause` is about the
    time between two lines, in seconds."""

    pushed: Pushed
    workload_id: str
    lines: int
    pause: float
    places: Sequence[Place]
    token: str
    rng: random.Random
    clock: Callable[[], float]
    may_be_gone: Callable[[], bool]
    attempt: int = 0
    # The node to which a request is being sent.
    at: str | None = None
    # The nodes to which the lines were sent; and lines that others have taken the place of, by
    # number, with theirs. A node may read a request that was abandoned late: then these lines are
    # in the log, unless an answer has acknowledged the others before.
    _nodes: list[str] = field(default_factory=list)
    _replaced: dict[int, list[tuple[str, str]]] = field(default_factory=dict)
    # The nodes that broke off, or did not answer, when they were last asked.
    _failed: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Return once the log has ended, whoever ended it."""
        place = self.rng.choice(self.places)
        while not self.pushed.finished:
            others = [each for each in self.places if each is not place]
            place = self.rng.choice([place, *others] if place.node not in self._failed else others)
            try:
                if await self._arrive(place):
                    # A while without a byte: an earlier owner has the time to append.
                    await trio.sleep(self.rng.choice([0, 0, 0.5, 2]))
                    await self._send(place)
                self._failed.discard(place.node)
            except BrokenError:
                self._failed.add(place.node)
            await trio.sleep(self.rng.uniform(0.05, 0.3))

    async def _arrive(self, place: Place) -> bool:
        """Take the log to this node, and learn where to go on."""
        status, offset = await self._post(place, b"", self.pushed.acknowledged)
        if status == 409 and offset is not None:
            self._learn(offset, "409")
            return False
        if status == 409:
            await self._look(place)
            return False
        if status == 404 and self.may_be_gone():
            self.pushed.finished = True
        if status != 204 or offset is None:
            return False
        self._learn(offset, "204")
        self.pushed.moves += 1
        self.attempt += 1
        return True

    async def _look(self, place: Place) -> None:
        """After a 409 that names no offset, look whether the log has ended."""
        request = Request("GET", f"/v1/workloads/{self.workload_id}", self.token)
        status, _, record = await ask(place.address, request)
        if status == 200 and record["finished_at"] is not None:
            self.pushed.finished = True

    def _learn(self, offset: int, answer: str) -> None:
        """Bytes up to `offset` are durable, a node says: what follows is not, or is on its way."""
        pushed = self.pushed
        if offset < pushed.acknowledged:
            pushed.faults.append(
                f"{self.clock():.2f}: {answer} with offset {offset}, after {pushed.acknowledged}"
                " had been acknowledged"
            )
        self._restore(offset)
        known, kept = 0, 0
        while known < offset and kept < len(pushed.content):
            known += len(pushed.content[kept])
            kept += 1
        if known != offset:
            pushed.faults.append(
                f"{self.clock():.2f}: {answer} with offset {offset}, which is in the midst of a"
                " line or was never sent"
            )
        # The node may hold the start of the next line, which it would not compare: that line stays.
        known = 0
        for number, line in enumerate(pushed.content[:kept], 1):
            known += len(line)
            if known > pushed.acknowledged:
                # No answer to these very lines has acknowledged them.
                pushed.replaced += [before for before, _ in self._replaced.get(number, ())]
        for number in range(kept + 2, len(pushed.content) + 1):
            replaced = pushed.content[number - 1], self._nodes[number - 1]
            self._replaced.setdefault(number, []).append(replaced)
        del pushed.content[kept + 1 :], self._nodes[kept + 1 :]
        pushed.acknowledged = offset

    def _restore(self, offset: int) -> None:
        """A node has so many bytes: if they are more than all lines, it has replaced ones, too."""
        content = self.pushed.content
        size = sum(map(len, content))
        while size < offset and (replaced := self._replaced.get(len(content) + 1)):
            line, node = replaced[-1]
            content.append(line)
            self._nodes.append(node)
            size += len(line)

    async def _send(self, place: Place) -> None:
        """One request with some lines; the connection may be abandoned in its midst."""
        pushed = self.pushed
        sent = sum(map(len, pushed.content))
        again = "".join(pushed.content).encode()[pushed.acknowledged :]
        left = self.lines - len(pushed.content)
        count = min(left, self.rng.choice([1, 5, 20, 50]))
        abandoned = self.rng.random() < 0.3
        stream = await connect(place.address)
        self.at = place.node
        try:
            await send_head(stream, _request(self.workload_id, self.token, pushed.acknowledged))
            if again:
                await stream.send_all(_chunk(again))
            for _ in range(count):
                line = self._line()
                pushed.content.append(line)
                self._nodes.append(place.node)
                for before, node in self._replaced.get(len(pushed.content), ()):
                    if node == place.node:
                        pushed.replaced.append(before)
                await stream.send_all(_chunk(line.encode()))
                sent += len(line)
                await trio.sleep(self.rng.uniform(0, 2) * self.pause)
            if abandoned:
                return
            await stream.send_all(b"0\r\n\r\n")
            # A node that is cut off from the database answers late: the client may go elsewhere.
            answer = await read_head(stream, self.rng.choice([0.3, 1, 35]))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise BrokenError(str(error)) from error
        finally:
            self.at = None
            await trio.aclose_forcefully(stream)
        if answer.status == 204:
            self._acknowledge(int(answer.headers["upload-offset"]), sent)
            if len(pushed.content) == self.lines:
                await self._finish(place)

    def _acknowledge(self, offset: int, sent: int) -> None:
        if offset > sent:
            self._restore(offset)
            sent = sum(map(len, self.pushed.content))
        if offset != sent:
            self.pushed.faults.append(f"{self.clock():.2f}: 204 with {offset} of {sent} bytes")
        self.pushed.acknowledged = max(self.pushed.acknowledged, min(offset, sent))

    def _line(self) -> str:
        number = len(self.pushed.content) + 1
        return Text(self.pushed.key, "stdout", number, time.monotonic(), self.attempt).line() + "\n"

    async def _finish(self, place: Place) -> None:
        body = {"exit_code": 0, "bytes": self.pushed.acknowledged}
        path = f"/v1/workloads/{self.workload_id}/finish"
        status, headers, _ = await ask(
            place.address, Request("POST", path, self.token, body=body), silence=35
        )
        if status == 200:
            self.pushed.finished = True
        elif status == 409 and "upload-offset" in headers:
            self._learn(int(headers["upload-offset"]), "409 to finish")
        elif status == 409:
            await self._look(place)

    async def _post(self, place: Place, body: bytes, offset: int) -> tuple[int, int | None]:
        path = f"/v1/workloads/{self.workload_id}/logs"
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
        request = Request("POST", path, self.token, headers, body)
        silence = self.rng.choice([1, 4, 35])
        status, found, _ = await ask(place.address, request, silence=silence)
        place_ = found.get("upload-offset")
        return status, None if place_ is None else int(place_)


def _request(workload_id: str, token: str, offset: int) -> Request:
    """A push whose body follows in chunks."""
    headers = {"Transfer-Encoding": "chunked", "Upload-Offset": str(offset)}
    return Request("POST", f"/v1/workloads/{workload_id}/logs", token, headers)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class SteadyPusher:
    """A client that writes a line each `pause` seconds, whether it has a connection or not, until
    `over`; the same bytes again where it resumes, as a client of a real program does."""

    def __init__(
        self,
        pushed: Pushed,
        workload_id: str,
        pause: float,
        over: trio.Event,
        places: Sequence[Place],
        token: str,
        rng: random.Random,
        clock: Callable[[], float],
    ) -> None:
        self._pushed = pushed
        self._workload_id = workload_id
        self._pause = pause
        self._over = over
        self._places = places
        self._token = token
        self._rng = rng
        self._clock = clock
        self._data = b""
        self._more = trio.Event()

    async def run(self) -> None:
        """Return when the log has ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            while not self._pushed.finished:
                place = self._rng.choice(self._places)
                with suppress(BrokenError):
                    await self._push(place)
                await trio.sleep(0.02)
            nursery.cancel_scope.cancel()

    async def _write(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            line = Text(self._pushed.key, "stdout", number, time.monotonic(), 0).line() + "\n"
            self._pushed.content.append(line)
            self._data += line.encode()
            self._wake()
            await trio.sleep(self._pause)
        self._wake()

    def _wake(self) -> None:
        self._more.set()
        self._more = trio.Event()

    async def _push(self, place: Place) -> None:
        """One request, which lasts until the node or the source ends it."""
        offset = self._pushed.acknowledged
        stream = await connect(place.address)
        try:
            await send_head(stream, _request(self._workload_id, self._token, offset))
            answer = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, stream, offset)
                with suppress(BrokenError):
                    answer = await read_head(stream, 3600)
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(stream)
        if answer is None:
            return
        if "upload-offset" in answer.headers:
            self._pushed.acknowledged = int(answer.headers["upload-offset"])
        if answer.status == 204 and self._over.is_set():
            body = {"exit_code": 0, "bytes": len(self._data)}
            path = f"/v1/workloads/{self._workload_id}/finish"
            request = Request("POST", path, self._token, body=body)
            status, _, _ = await ask(place.address, request, silence=35)
            self._pushed.finished = status == 200

    async def _send(self, stream: trio.SocketStream, offset: int) -> None:
        try:
            while True:
                more = self._more
                if data := self._data[offset:]:
                    # More may be written meanwhile.
                    offset += len(data)
                    await stream.send_all(_chunk(data))
                elif self._over.is_set():
                    await stream.send_all(b"0\r\n\r\n")
                    return
                else:
                    await more.wait()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the answer tells
