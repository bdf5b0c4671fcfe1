"""Starlette with sse-starlette, on uvicorn with uvloop and httptools: a queue a client.

Lossless by back-pressure: the source waits while a client's queue is full. `POST /source` makes it
ready, see `bench.programs`; `GET /events` follows it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.lines import END_SECONDS, line

Queue = asyncio.Queue["tuple[int, str] | None"]

subscribers: set[Queue] = set()
tasks: set[asyncio.Task[None]] = set()


async def publish(item: tuple[int, str] | None) -> None:
    """Hand it to every client, and wait for those that are full."""
    for queue in tuple(subscribers):
        if queue.full():
            await queue.put(item)
        else:
            queue.put_nowait(item)


async def run(source: dict[str, Any]) -> None:
    """Publish the lines once the gate is there."""
    while not Path(source["gate"]).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.005)
    if source["command"]:
        process = await asyncio.create_subprocess_exec(
            *source["command"], stdout=asyncio.subprocess.PIPE, limit=1024 * 1024
        )
        assert process.stdout is not None
        number = 0
        async for text in process.stdout:
            number += 1
            await publish((number, text.decode().rstrip("\n")))
        await process.wait()
    else:
        start = time.monotonic()
        for number in range(source["lines"]):
            if source["rate"]:
                await asyncio.sleep(start + number / source["rate"] - time.monotonic())
            elif number % 100 == 0:
                await asyncio.sleep(0)
            await publish((number + 1, line(number).decode().rstrip("\n")))
        if source["rate"]:
            await asyncio.sleep(END_SECONDS)
    await publish(None)


async def prepare(request: Request) -> Response:
    """Make a source ready."""
    task = asyncio.create_task(run(await request.json()))
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return Response(status_code=204)


async def events(request: Request) -> EventSourceResponse:
    """Follow the source."""
    queue: Queue = asyncio.Queue(256)

    async def body() -> AsyncIterator[ServerSentEvent]:
        subscribers.add(queue)
        try:
            while (item := await queue.get()) is not None:
                yield ServerSentEvent(item[1], id=str(item[0]))
            yield ServerSentEvent("", event="end")
        finally:
            subscribers.discard(queue)
            # The source may be waiting for room in it.
            while not queue.empty():
                queue.get_nowait()

    return EventSourceResponse(body(), ping=15)


app = Starlette(routes=[Route("/source", prepare, methods=["POST"]), Route("/events", events)])


def main() -> None:
    """Listen on a free port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"Listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", log_level="error")
    uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
