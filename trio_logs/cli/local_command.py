"""A command that runs here while its output is kept there."""

from __future__ import annotations

import math
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from ..client import Ending
from ..client.requests import SubmitOptions
from .connection import Connection
from .exits import FAILED, NOT_STARTED, STOPPED, TIMED_OUT
from .keeping import Kept, keep
from .tee import STDERR, STDOUT, Tee

__all__ = ["run_here"]

READ_BYTES = 64 * 1024

DRAIN_SECONDS = 2.0
"""Seconds that output is read after the command's exit, while another process holds it open."""

PIPE_BYTES = 64 * 1024
"""Bytes that a pipe of this size may still hold when that time is over."""

GRACE_SECONDS = 10.0
"""Seconds between TERM and KILL if another client stops the workload."""

ECHO_SECONDS = 1.0
"""A terminal sends Ctrl-C to the command and to this process, in no order. So a signal that comes
no later than this after the command's exit is not meant for the wait that follows."""


async def run_here(
    find: Callable[[], Connection], command: Sequence[str], options: SubmitOptions, *, quiet: bool
) -> int:
    """Run a command here, copy its outputs, and push both as the log of a workload.

    Returns the exit code, as a shell does: that of the command, or 128 + N for signal N; 127 if it
    can't be started; 123 or 124 if the workload was stopped or timed out, for which the command
    gets TERM, and KILL later. If the command succeeds and an output fails, 1. A log that is not
    kept changes no exit code.
    """
    tee = Tee()
    local = _LocalCommand(command, tee)
    kept_code = 0
    to_log, stdout = trio.open_memory_channel[bytes](0)
    errors_to_log, stderr = trio.open_memory_channel[bytes](0)
    with stdout, stderr:
        async with trio.open_nursery() as nursery:
            await nursery.start(local.watch_signals, nursery.cancel_scope)
            nursery.start_soon(local.run, to_log, errors_to_log)
            kept = Kept("its output", command, options, stdout, stderr, local.ending, quiet)
            kept_code = await keep(find, kept, tee)
            # Whatever became of the log, the command goes on, and its output is copied.
            async with trio.open_nursery() as draining:
                draining.start_soon(_discard, stdout)
                draining.start_soon(_discard, stderr)
                if kept_code in (STOPPED, TIMED_OUT):
                    draining.start_soon(local.stop)
                await local.ended.wait()
                draining.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
    if kept_code in (STOPPED, TIMED_OUT):
        return kept_code
    return local.code or (FAILED if tee.failed else 0)


class _LocalCommand:
    """The command; call `run` once. `ending` and `code` are set once it has `ended`: it has exited,
    or was not started, and its output was copied."""

    def __init__(self, command: Sequence[str], tee: Tee) -> None:
        self.ending = Ending()
        self.code = 0
        self.ended = trio.Event()
        self._command = command
        self._tee = tee
        self._process: trio.Process | None = None
        # Signals that came before it was started, at most one of each kind.
        self._early: set[int] = set()
        self._exited_at = math.inf
        # The reads that wait for output, by descriptor.
        self._reading: dict[int, trio.CancelScope] = {}

    async def run(
        self, to_log: trio.MemorySendChannel[bytes], errors_to_log: trio.MemorySendChannel[bytes]
    ) -> None:
        """Run it, and copy its outputs to those of this process and into the channels."""
        with to_log, errors_to_log:
            try:
                self._process = process = await trio.lowlevel.open_process(
                    self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
                )
            except OSError as error:
                await self._explain(error, errors_to_log)
            else:
                for number in self._early:
                    process.send_signal(number)
                await self._attend(process, to_log, errors_to_log)
        self.ended.set()

    async def _explain(self, error: OSError, errors_to_log: trio.MemorySendChannel[bytes]) -> None:
        self.code = self.ending.exit_code = NOT_STARTED
        data = f"trio-logs: can't run {self._command[0]!r}: {error.strerror}\n".encode()
        await self._tee.copy(data, STDERR)
        await errors_to_log.send(data)

    async def _attend(
        self,
        process: trio.Process,
        to_log: trio.MemorySendChannel[bytes],
        errors_to_log: trio.MemorySendChannel[bytes],
    ) -> None:
        assert isinstance(process.stdout, trio.lowlevel.FdStream)
        assert isinstance(process.stderr, trio.lowlevel.FdStream)
        async with process.stdout, process.stderr, trio.open_nursery() as copying:
            copying.start_soon(self._copy, process.stdout, STDOUT, to_log)
            copying.start_soon(self._copy, process.stderr, STDERR, errors_to_log)
            code = await process.wait()
            self._exited_at = trio.current_time()
            for scope in self._reading.values():
                scope.deadline = self._exited_at + DRAIN_SECONDS
        if code >= 0:
            self.code = self.ending.exit_code = code
        else:
            self.code = 128 - code
            self.ending.signal = _name(-code)

    async def _copy(
        self,
        pipe: trio.lowlevel.FdStream,
        descriptor: int,
        to_log: trio.MemorySendChannel[bytes],
    ) -> None:
        """Copy until the end of the pipe or, past the deadline, until it is empty."""
        left = math.inf
        while left > 0:
            data = b""
            # Only the read is cancelled: data that was read is copied and kept.
            with trio.CancelScope(deadline=self._exited_at + DRAIN_SECONDS) as scope:
                self._reading[descriptor] = scope
                data = await pipe.receive_some(READ_BYTES)
            if scope.cancelled_caught:
                left = min(left, PIPE_BYTES)
                data = _read_ready(pipe.fileno())
                left -= len(data)
            if not data:
                return
            await self._tee.copy(data, descriptor)
            await to_log.send(data)

    async def watch_signals(
        self, everything: trio.CancelScope, task_status: trio.TaskStatus[None]
    ) -> None:
        """Pass signals on to the command. Once it has exited, a signal ends the wait for the
        server, which may be away."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
            task_status.started()
            async for number in received:
                if trio.current_time() > self._exited_at + ECHO_SECONDS:
                    await self._tee.say("the rest of its output is not kept: a signal came")
                    everything.cancel(reason="a signal after the command's exit")
                elif number != signal.SIGINT or not _is_in_foreground():
                    self._send_signal(number)

    async def stop(self) -> None:
        """Stop the command: TERM, and KILL after the grace."""
        self._send_signal(signal.SIGTERM)
        await trio.sleep(GRACE_SECONDS)
        self._send_signal(signal.SIGKILL)

    def _send_signal(self, number: int) -> None:
        if self._process is None:
            self._early.add(number)
        else:
            # Nothing if it has exited.
            self._process.send_signal(number)


def _is_in_foreground() -> bool:
    """Whether Ctrl-C in a terminal reaches the command, too, since both are in the group that the
    terminal signals."""
    try:
        with Path("/dev/tty").open("rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        # There is no terminal.
        return False


def _read_ready(descriptor: int) -> bytes:
    """What a non-blocking pipe holds."""
    try:
        return os.read(descriptor, READ_BYTES)
    except BlockingIOError:
        return b""


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # A real-time signal.
        return f"SIG{number}"


async def _discard(channel: trio.MemoryReceiveChannel[bytes]) -> None:
    async for _ in channel:
        pass
