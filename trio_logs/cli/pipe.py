"""`make 2>&1 | trio-logs pipe`, or `trio-logs pipe -- make`: keep what a program here prints."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import trio
from cyclopts import Parameter

from ..client import Ending
from ..client.requests import SubmitOptions
from .connection import Connect, Connection, find_connection
from .exits import FAILED
from .given import flag, pairs, text
from .keeping import Kept, keep
from .local_command import run_here
from .tee import Tee

__all__ = ["pipe"]

STDIN = 0

READ_BYTES = 64 * 1024


async def pipe(
    *command: Annotated[
        str, Parameter(help="A program to run here, and its arguments; without, standard input.")
    ],
    name: Annotated[str | None, Parameter(help="Name of the workload.")] = None,
    label: Annotated[tuple[str, ...], Parameter(negative="", help="Label, K=V; repeatable.")] = (),
    quiet: Annotated[
        bool, flag("Print a line of its own only if something fails.", "--quiet", "-q")
    ] = False,
    connect: Connect = None,
) -> int:
    """Copy standard input to standard output, and keep it as a log; or run a command, and keep both
    of its outputs.

    trio-logs pipe --name build -- make

    make 2>&1 | trio-logs pipe --name build

    The log can be followed while it grows. While the server is slow or away, the writer waits;
    nothing is dropped. If no server answers at the start, the pipe tries for some seconds. If an
    output fails, the log goes on. A command runs here and gets the standard input; its outcome is
    recorded, and its exit code passed on. Exit codes without a command: 0 all of it is kept, 1 not
    all is kept or copied, 128 + N signal N. With both: 123 another client stopped the workload,
    124 it timed out.
    """
    options: SubmitOptions = {"backend": "push", "labels": pairs("--label", label)}
    if name is not None:
        options["name"] = text("--name", name)
    for argument in command:
        text("pipe", argument)
    find = partial(find_connection, connect)
    # What is malformed is refused before anything runs.
    find()
    if command:
        return await run_here(find, command, options, quiet=quiet)
    return await _copy_input(find, options, quiet=quiet)


async def _copy_input(
    find: Callable[[], Connection], options: SubmitOptions, *, quiet: bool
) -> int:
    """Copy standard input to standard output, and push it as a workload of its own.

    Returns the exit code:

    - 0: the whole input is kept. A pipe can't know how its writer ended, so the workload succeeds.
    - 1: the input is not kept or not copied completely; standard error says why. The pipe goes on
      with the rest all the same, so its writer does, too.
    - 123: the workload was stopped; 124: it timed out. The pipe reads no more, so its writer gets
      SIGPIPE and stops, too.
    - 128 + N: signal N came, and everything that was read is kept. SIGINT also goes to the writer,
      so the pipe reads on to the end. After a second signal, or SIGTERM, it reads no more. One more
      signal ends it at once, even if bytes are not kept yet.

    If the reader of standard output disconnects, the pipe goes on.
    """
    send, receive = trio.open_memory_channel[bytes](0)
    signals = _Signals()
    tee = Tee()
    async with trio.open_nursery() as nursery:
        await nursery.start(signals.watch, nursery.cancel_scope)
        nursery.start_soon(_copy, tee, send, signals)
        kept = Kept("standard input", (), options, receive, None, signals.ending, quiet)
        code = await keep(find, kept, tee)
        if code == FAILED:
            with receive:
                async for _ in receive:
                    pass
        nursery.cancel_scope.cancel()
    return signals.code or code or (FAILED if tee.failed else 0)


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
    with send:
        while not signals.enough:
            data = b""
            # Only the read is cancelled: data that was read is kept.
            with trio.CancelScope() as signals.reading:
                try:
                    data = await trio.to_thread.run_sync(_read, abandon_on_cancel=True)
                except OSError as error:
                    await tee.say(f"can't read standard input: {error.strerror}")
                    tee.failed, signals.ending.exit_code = True, FAILED
            if not data:
                break
            await tee.copy(data)
            await send.send(data)


def _read() -> bytes:
    while True:
        try:
            return os.read(STDIN, READ_BYTES)
        except BlockingIOError:
            # Another process that shares the input has made it non-blocking.
            select.select([STDIN], [], [])
