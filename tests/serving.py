"""One small Quart-Trio app behind either server, stock Hypercorn or ours, in this process."""

from __future__ import annotations

import itertools
import math
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trio
import trio.testing
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import Response
from quart.wrappers.response import ResponseBody
from quart_trio import QuartTrio

from trio_logs.server import Server, ServerLimits, TCPBind, load_tls

__all__ = [
    "GRACE",
    "KEEP_ALIVE",
    "SERVERS",
    "Counted",
    "Footprint",
    "OpenServing",
    "Serving",
    "footprint",
    "get",
    "make_app",
    "read_answer",
]

# Of both servers, in seconds.
GRACE = 1.0
KEEP_ALIVE = 0.5

SILENCE = 4.0
"""Of ours, in seconds: with less, the kernel could not ask three times."""

BEAT = 0.1
CHUNK = b"x" * 64 * 1024


@dataclass
class Counted:
    """What the app saw: `steps` of bodies, and `left`, set when one ends, however it ends."""

    steps: int = 0
    left: trio.Event = field(default_factory=trio.Event)


class _Body(ResponseBody):
    """The shape of a log stream: so many chunks, with a pause after each, in seconds."""

    def __init__(self, counted: Counted, chunk: bytes, number: float, pause: float) -> None:
        self._counted = counted
        self._chunk = chunk
        self._left = number
        self._pauses = itertools.chain([0], itertools.repeat(pause))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._counted.left.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await trio.sleep(next(self._pauses))
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        self._counted.steps += 1
        return self._chunk


def make_app(counted: Counted) -> QuartTrio:
    """A greeting at `/`, and streams."""
    app = QuartTrio("tests")
    app.config["MAX_CONTENT_LENGTH"] = None

    def stream(chunk: bytes, number: float = math.inf, pause: float = 0) -> Response:
        body = _Body(counted, chunk, number, pause)
        response = Response(body, content_type="text/event-stream")
        response.timeout = None
        return response

    views: dict[str, Callable[[], Response]] = {
        "/": lambda: Response("hello"),
        "/quiet": lambda: stream(b": open\n\n", pause=math.inf),
        "/beating": lambda: stream(b": beat\n\n", pause=BEAT),
        "/flood": lambda: stream(CHUNK),
        "/short": lambda: stream(b"data: 1\n\n", number=3),
        "/slow": lambda: stream(b"data: 1\n\n", number=2, pause=1),
    }
    for path, view in views.items():
        app.add_url_rule(path, path, view, methods=["GET", "POST"])
    return app


@dataclass
class Serving:
    """A running server. `error` is what ended it, if `stop` did not."""

    port: int
    counted: Counted
    stop: trio.Event
    ended: trio.Event = field(default_factory=trio.Event)
    error: Exception | None = None

    async def connect(self, buffer: int | None = None) -> trio.SocketStream:
        """A client; `buffer` is what the kernel takes for it, in bytes."""
        client = trio.socket.socket()
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        try:
            await client.connect(("127.0.0.1", self.port))
        except BaseException:
            client.close()
            raise
        return trio.SocketStream(client)

    async def follow(self, path: str, *headers: str, method: str = "GET") -> trio.SocketStream:
        """A client whose answer has begun."""
        client = await self.connect()
        await client.send_all(get(path, *headers, method=method))
        await read_answer(client, b"\r\n\r\n")
        return client

    async def follow_flood(self) -> trio.SocketStream:
        """A client for which the server waits, in a write."""
        client = await self.connect(16 * 1024)
        await client.send_all(get("/flood"))
        steps = -1
        while steps != self.counted.steps or steps == 0:
            steps = self.counted.steps
            await trio.testing.wait_all_tasks_blocked(0.05)
        return client

    async def still_serves(self) -> bool:
        """Whether a new client gets its answer."""
        with trio.move_on_after(2):
            try:
                async with await self.connect() as client:
                    await client.send_all(get("/"))
                    return b"hello" in await read_answer(client, b"hello")
            except (OSError, trio.BrokenResourceError):
                pass
        return False


OpenServing = Callable[..., AbstractAsyncContextManager[Serving]]


@asynccontextmanager
async def stock(write_timeout: float = 30, pem: Path | None = None) -> AsyncIterator[Serving]:
    """`hypercorn.trio.serve` as it is; it has no time-out for writes."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    config.graceful_timeout = GRACE
    config.keep_alive_timeout = KEEP_ALIVE
    if pem is not None:
        config.certfile = config.keyfile = str(pem)
    counted, stop = Counted(), trio.Event()
    run = partial(serve, make_app(counted), config, shutdown_trigger=stop.wait)
    async with _running(run, counted, stop) as serving:
        yield serving


@asynccontextmanager
async def ours(write_timeout: float = 30, pem: Path | None = None) -> AsyncIterator[Serving]:
    """Our server with the same time-outs."""
    limits = ServerLimits(
        write_timeout, keep_alive_timeout=KEEP_ALIVE, silence_timeout=SILENCE, grace=GRACE
    )
    server = Server(limits, tls=None if pem is None else load_tls(pem))
    counted, stop = Counted(), trio.Event()
    run = partial(server.serve, make_app(counted), [TCPBind("127.0.0.1", 0)], stop)
    async with _running(run, counted, stop) as serving:
        yield serving


SERVERS: dict[str, OpenServing] = {"stock": stock, "ours": ours}


@asynccontextmanager
async def _running(run: Any, counted: Counted, stop: trio.Event) -> AsyncIterator[Serving]:
    """What a server does to itself stays in here: its end is noted, and it is cancelled."""
    serving = Serving(0, counted, stop)

    async def watched(*, task_status: trio.TaskStatus[None]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                [url] = await nursery.start(run)
                serving.port = int(url.rpartition(":")[2])
                task_status.started()
        except* Exception as error:
            serving.error = error
        finally:
            serving.ended.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(watched)
        yield serving
        nursery.cancel_scope.cancel()


@dataclass(frozen=True)
class Footprint:
    """What this process holds: tasks of Trio, and descriptors."""

    tasks: int
    descriptors: int

    def __sub__(self, other: Footprint) -> Footprint:
        return Footprint(self.tasks - other.tasks, self.descriptors - other.descriptors)


def footprint() -> Footprint:
    """A snapshot, to be compared with another one."""
    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return Footprint(trio.lowlevel.current_statistics().tasks_living, descriptors)


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    """A request."""
    return ("\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers]) + "\r\n\r\n").encode()


async def read_answer(stream: trio.abc.ReceiveStream, until: bytes | None = None) -> bytes:
    """What comes, up to and with `until`, or to the end."""
    received = b""
    while until is None or until not in received:
        data = await stream.receive_some(64 * 1024)
        if not data:
            break
        received += data
    return received
