"""`make 2>&1 | trio-logs pipe --name build`: keep standard input as a log.

The pipe copies standard input to standard output, as `tee` does, and sends it, both at once. While
the server is slow or away, the pipe waits, and so does its writer; nothing is dropped.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import trio
from cyclopts import Parameter

from ..client import Client, ClientError, Ending, RefusedError, Status
from ..client.requests import SubmitOptions
from .connection import Connect, Connection, find_connection
from .exits import FAILED, STOPPED, TIMED_OUT
from .given import pairs, text
from .submit import submit
from .tee import Tee

__all__ = ["pipe"]

STDIN = 0

READ_BYTES = 64 * 1024


async def pipe(
    *,
    name: Annotated[str | None, Parameter(help="Name of the workload.")] = None,
    label: Annotated[tuple[str, ...], Parameter(negative="", help="Label, K=V; repeatable.")] = (),
    connect: Connect = None,
) -> int:
    """Copy standard input to standard output, and keep it as a log.

    make 2>&1 | trio-logs pipe --name build

    The log can be followed while it grows. While the server is slow or away, the pipe waits, and so
    does its writer; nothing is dropped. If no server answers at the start, the pipe tries for some
    seconds. Exit codes: 0 all of it is kept, 1 not all is kept, but all is copied, 123 another
    client stopped the workload, 124 it timed out, 128 + N signal N.
    """
    options: SubmitOptions = {"backend": "push", "labels": pairs("--label", label)}
    if name is not None:
        options["name"] = text("--name", name)
    return await _tee(partial(find_connection, connect), options)


async def _tee(find: Callable[[], Connection], options: SubmitOptions) -> int:
    """Copy standard input to standard output, and push it as a workload of its own.

    Returns the exit code:

    - 0: the whole input is kept. A pipe can't know how its writer ended, so the workload succeeds.
    - 1: the input is not kept completely; standard error says why. The pipe copies the rest all the
      same, so its writer goes on.
    - 123: the workload was stopped; 124: it timed out. The pipe reads no more, so its writer gets
      SIGPIPE and stops, too.
    - 128 + N: signal N came, and everything that was read is kept. SIGINT also goes to the writer,
      so the pipe reads on to the end. After a second signal, or SIGTERM, it reads no more. One more
      signal ends it at once, even if bytes are not kept yet.

    Once the workload exists, the pipe waits without limit for a server that is away. If the reader
    of standard output disconnects, the pipe goes on.
    """
    send, receive = trio.open_memory_channel[bytes](0)
    signals = _Signals()
    tee = Tee()

    async with trio.open_nursery() as nursery:
        await nursery.start(signals.watch, nursery.cancel_scope)
        nursery.start_soon(_copy, tee, send, signals)
        async with AsyncExitStack() as stack:
            code = await _keep(stack, find, receive, signals.ending, options, tee)
        if code == FAILED:
            with receive:
                async for _ in receive:
                    pass
        nursery.cancel_scope.cancel()
    return signals.code or code


@dataclass
class _Signals:
    """The signals so far. Once `enough`, the pipe reads no more."""

    ending: Ending = field(default_factory=Ending)
    reading: trio.CancelScope = field(default_factory=trio.CancelScope)
    enough: bool = False
    code: int = 0

    async def watch(self, everything: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
            task_status.started()
            async for number in received:
                if self.enough:
                    everything.cancel(reason="one signal too many")
                if self.code or number == signal.SIGTERM:
                    self.enough = True
                    self.reading.cancel(reason="a signal")
                self.code = 128 + number
                self.ending.signal = signal.Signals(number).name


async def _copy(tee: Tee, send: trio.MemorySendChannel[bytes], signals: _Signals) -> None:
    """Copy standard input to standard output and into the channel. A read may block, so it runs in
    a thread."""
    read = trio.to_thread.run_sync
    listens = True
    with send:
        while not signals.enough:
            data = b""
            # Only the read is cancelled: data that was read is kept.
            with trio.CancelScope() as signals.reading:
                data = await read(os.read, STDIN, READ_BYTES, abandon_on_cancel=True)
            if not data:
                break
            if listens:
                try:
                    await tee.copy(data)
                except BrokenPipeError:
                    listens = False
            await send.send(data)


async def _keep(
    stack: AsyncExitStack,
    find: Callable[[], Connection],
    chunks: trio.MemoryReceiveChannel[bytes],
    ending: Ending,
    options: SubmitOptions,
    tee: Tee,
) -> int:
    async def tell_away(what: str) -> None:
        await tee.say(f"{what}; trying again")

    try:
        client, workload = await submit(stack, find, [], lambda _: options, on_outage=tell_away)
    except ClientError as error:
        is_refused = isinstance(error, RefusedError) and error.status in (401, 403)
        why = find().refusal() if is_refused else error
        await tee.say(f"standard input is not kept: {why}")
        return FAILED
    await tee.say(f"this is workload {workload.id}")
    try:
        await client.push(workload.id, chunks, ending=ending)
    except RefusedError as error:
        match await _status(client, workload.id):
            case Status.STOPPED:
                await tee.say("the workload was stopped")
                return STOPPED
            case Status.TIMED_OUT:
                await tee.say("the workload timed out")
                return TIMED_OUT
        await tee.say(f"the rest of standard input is not kept: {error}")
        return FAILED
    except ClientError as error:
        await tee.say(f"the rest of standard input is not kept: {error}")
        return FAILED
    return 0


async def _status(client: Client, workload_id: str) -> Status | None:
    try:
        return (await client.get(workload_id)).status
    except ClientError:
        return None
