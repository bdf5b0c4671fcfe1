"""The clients of `tests.storm`: each goes so far, sends what it should not, and leaves in some way.

Run as a process of its own, `python -m tests.storm_clients ORDER`; it prints what it saw as JSON.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import sys
from collections import Counter
from dataclasses import dataclass, field

import trio

__all__ = ["Order", "Seen"]

AT_ONCE = 300

POLLERS = 8
"""An answer takes its time among so many others, so one would not ask often."""

PATIENCE = 20
"""Seconds after which the server has not answered, or not noticed that a client left."""


@dataclass(frozen=True)
class Order:
    """Whom to attack, and how often. `logs` are paths; the second one is long and ended."""

    port: int
    token: str
    logs: list[str]
    seed: int
    connections: int


@dataclass
class Seen:
    """What came of it. `unnoticed` are clients that half-closed and were not let go in time;
    `slowest` is a poll of /readyz, in seconds; `depths` counts clients."""

    polls: int = 0
    failed_polls: int = 0
    slowest: float = 0
    unnoticed: list[str] = field(default_factory=list)
    depths: dict[str, int] = field(default_factory=Counter)


DEPTHS = ["nothing", "line", "headers", "body", "sent", "head", "stream", "blocked"]
LEAVES = ["FIN", "RST", "half-close"]
UPGRADES = [
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
]


@dataclass(frozen=True)
class Client:
    """One of them: how far it goes, what it sends that it should not, and how it leaves."""

    depth: str
    leave: str
    stray: str
    request: bytes
    extra: bytes
    pause: float

    @classmethod
    def choose(cls, order: Order, rng: random.Random) -> Client:
        def request(method: str, path: str, more: str = "", body: bytes = b"") -> bytes:
            head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            head += f"Authorization: Bearer {order.token}\r\n{more}\r\n"
            return head.encode() + body

        depth = rng.choice(DEPTHS)
        log = rng.choice(order.logs)
        if depth == "blocked":
            asked = request("GET", order.logs[1])
        elif depth == "body":
            more = rng.choice(["Content-Length: 5000\r\n", "Transfer-Encoding: chunked\r\n"])
            more += rng.choice(["", "Expect: 100-continue\r\n"])
            asked = request("POST", rng.choice(["/v1/workloads", log]), more, b"7d0\r\n[")
        elif depth == "stream":
            asked = request("GET", log, rng.choice(["", "", *UPGRADES]))
        else:
            path = rng.choice([log, log, f"{log}?follow=false&tail=5", "/readyz", "/none"])
            asked = request(rng.choice(["GET", "GET", "HEAD"]), path)
        strays = {
            "none": b"",
            "line end": b"\r\n",
            "byte": b"x",
            "zeros": b"\0" * 3000,
            "pipelined": request("GET", "/readyz") * rng.randint(1, 20),
            "pipelined stream": request("GET", log),
            "pipelined part": request("GET", log)[:-1],
        }
        stray = rng.choice(list(strays))
        return cls(depth, rng.choice(LEAVES), stray, asked, strays[stray], rng.random() * 0.05)

    @property
    def way(self) -> str:
        return f"{self.depth}, {self.stray}, {self.leave}"

    async def run(self, port: int) -> bool:
        """Do it; False if it half-closed and was not let go in time."""
        with trio.socket.socket() as opened:
            if self.depth == "blocked":
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await opened.connect(("127.0.0.1", port))
            stream = trio.SocketStream(opened)
            try:
                await self.talk(stream)
            except trio.BrokenResourceError:
                return True  # closed by the server first: it has a bound on what may be sent
            return await self.go(stream)

    async def talk(self, stream: trio.SocketStream) -> None:
        line, head = self.request.index(b"\r\n"), self.request.index(b"\r\n\r\n")
        cuts = {"nothing": 0, "line": line // 2, "headers": (line + head) // 2}
        await stream.send_all(self.request[: cuts.get(self.depth)])
        if self.depth in ("head", "stream"):
            with trio.fail_after(PATIENCE):
                await read_answer(stream, b"\r\n\r\n")
        if self.depth not in cuts:
            await stream.send_all(self.extra)
        if self.depth == "stream":
            with trio.move_on_after(self.pause):
                await read_answer(stream)
        elif self.depth not in ("nothing", "sent"):
            await trio.sleep(self.pause)

    async def go(self, stream: trio.SocketStream) -> bool:
        if self.leave == "RST":
            # struct linger {on, 0 s}
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self.leave == "half-close":
            try:
                await stream.send_eof()
                with trio.fail_after(PATIENCE):
                    await read_answer(stream)
            except trio.TooSlowError:
                return False
            except trio.BrokenResourceError:
                pass
        return True


async def read_answer(stream: trio.SocketStream, until: bytes = b"") -> bytes:
    """Up to and with `until`, or to the end, which is all that is kept then."""
    received = b""
    while data := await stream.receive_some(256 * 1024):
        received = received + data if until else data
        if until and until in received:
            break
    return received


async def let_loose(order: Order) -> Seen:
    """Run them all, some hundreds at once, while /readyz is polled."""
    rng = random.Random(order.seed)
    clients = [Client.choose(order, rng) for _ in range(order.connections)]
    seen = Seen()
    limit = trio.CapacityLimiter(AT_ONCE)

    async def one(client: Client) -> None:
        async with limit:
            seen.depths[client.depth] += 1
            if not await client.run(order.port):
                seen.unnoticed.append(client.way)

    async with trio.open_nursery() as polling:
        for _ in range(POLLERS):
            polling.start_soon(poll, order.port, seen)
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(one, client)
        polling.cancel_scope.cancel()
    return seen


async def poll(port: int, seen: Seen) -> None:
    """Ask for /readyz all the time, each time on a new connection."""
    while True:
        started = trio.current_time()
        answer = b""
        with trio.move_on_after(PATIENCE):
            try:
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    await stream.send_all(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                    answer = await read_answer(stream, b"\r\n\r\n")
            except (OSError, trio.BrokenResourceError):
                pass  # no answer is a failure
        seen.polls += 1
        seen.failed_polls += not answer.startswith(b"HTTP/1.1 200 ")
        seen.slowest = max(seen.slowest, trio.current_time() - started)
        await trio.sleep(0.02)


if __name__ == "__main__":
    print(json.dumps(vars(trio.run(let_loose, Order(**json.loads(sys.argv[1]))))))
