"""The plain way to do it in Quart-Trio: a memory channel a client, and a chunk a line, under stock
Hypercorn. Lossless by back-pressure, as `sse_starlette`.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import Response, request
from quart_trio import QuartTrio

from bench.lines import END_SECONDS, line

app = QuartTrio(__name__)
subscribers: set[trio.MemorySendChannel[bytes]] = set()


async def publish(number: int, text: str) -> None:
    """Hand a frame to every client, and wait for those that are full."""
    frame = f"id: {number}\ndata: {text}\n\n".encode()
    for channel in tuple(subscribers):
        try:
            try:
                channel.send_nowait(frame)
            except trio.WouldBlock:
                await channel.send(frame)
        except trio.BrokenResourceError:
            pass


async def run(source: dict[str, Any]) -> None:
    """Publish the lines once the gate is there."""
    while not Path(source["gate"]).exists():  # noqa: ASYNC110, ASYNC240
        await trio.sleep(0.005)
    if source["command"]:
        await run_command(source["command"])
    else:
        start = time.monotonic()
        for number in range(source["lines"]):
            if source["rate"]:
                await trio.sleep(max(0, start + number / source["rate"] - time.monotonic()))
            elif number % 100 == 0:
                await trio.lowlevel.checkpoint()
            await publish(number + 1, line(number).decode().rstrip("\n"))
        if source["rate"]:
            await trio.sleep(END_SECONDS)
    for channel in tuple(subscribers):
        channel.close()


async def run_command(command: list[str]) -> None:
    """Publish what a process prints."""
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE))
        rest, number = b"", 0
        async with process.stdout:
            async for data in process.stdout:
                *lines, rest = (rest + data).split(b"\n")
                for text in lines:
                    number += 1
                    await publish(number, text.decode())


@app.post("/source")
async def prepare() -> tuple[str, int]:
    """Make a source ready."""
    app.nursery.start_soon(run, await request.get_json())
    return "", 204


@app.get("/events")
async def events() -> Response:
    """Follow the source."""

    async def body() -> AsyncIterator[bytes]:
        send, receive = trio.open_memory_channel[bytes](256)
        subscribers.add(send)
        try:
            yield b": open\n\n"
            async for frame in receive:
                yield frame
            yield b"event: end\ndata:\n\n"
        finally:
            subscribers.discard(send)
            receive.close()

    response = Response(body(), content_type="text/event-stream")
    response.timeout = None
    return response


async def main() -> None:
    """Listen on a free port."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.backlog = 2048
    config.loglevel = "ERROR"
    async with trio.open_nursery() as nursery:
        binds = await nursery.start(partial(serve, app, config))
        print(f"Listening on {binds[0]}", flush=True)


if __name__ == "__main__":
    trio.run(main)
