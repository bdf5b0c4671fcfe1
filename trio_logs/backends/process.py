"""The `process` backend: a command as a process group of its own, without a shell."""

from __future__ import annotations

import math
import signal
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Sequence,
)
from contextlib import ExitStack, asynccontextmanager
from typing import ClassVar

import structlog
import trio

from ..errors import ConflictError, InvalidSpecError, NotStartedError
from ..records import Outcome, Reason, Status, WorkloadSpec
from ..threads import Threads
from . import Execution
from .cgroup import Cgroups, entrance
from .gate import Gate
from .process_group import ProcessGroup
from .process_lookup import Lookups, check_size
from .process_output import OutputReader
from .process_remains import end_remains
from .process_start import not_started, spawn
from .process_table import ProcessTable

__all__ = ["ProcessBackend"]

_log = structlog.get_logger("trio_logs.backends.process")

DRAIN_SECONDS = 2.0
"""Seconds that output is read after the command's exit, while another process holds it open."""


class ProcessBackend:
    """See `Backend` and `Lifecycle` for the methods.

    The command gets PATH, HOME and LANG of the server and the variables of its spec, no other
    variable. Its standard input is empty. stdout and stderr are separate streams, or one terminal
    with `pty`. A terminal has the COLUMNS and LINES of the spec's environment, or else 80 and 24,
    and its TERM, or else xterm-256color.
    """

    signals: ClassVar[Collection[str]] = frozenset(signal.Signals.__members__)

    def __init__(self) -> None:
        self._table: ProcessTable | None = None
        self._cgroups: Cgroups
        self._lookups: Lookups
        self._unended: trio.Nursery
        # The running workloads that have a terminal, by id.
        self._terminals: dict[str, tuple[OutputReader, ProcessGroup]] = {}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Start the thread. Raises RuntimeError if the system refuses it."""
        if self._table is not None:
            raise RuntimeError("this ProcessBackend serves an engine already: make another one")
        # It examines /proc and control groups, which takes milliseconds and never blocks.
        threads = Threads("process", 1)
        self._cgroups, self._lookups = Cgroups(), Lookups()
        try:
            threads.start()
            self._lookups.start()
            # Its tasks, one for each command that survived SIGKILL, go on after `run` has returned.
            async with trio.open_nursery() as self._unended:
                self._table = ProcessTable(threads)
                yield
                self._unended.cancel_scope.cancel()
        finally:
            self._table = None
            threads.close()
            self._lookups.close()

    def check(self, spec: WorkloadSpec) -> None:
        if not spec.command or not spec.command[0]:
            raise InvalidSpecError("command: give the program, and its arguments")
        for text in (*spec.command, *spec.env, *spec.env.values(), spec.cwd or ""):
            if "\0" in text:
                raise InvalidSpecError("command, env, cwd: they can't hold NUL")
        for name in spec.env:
            if not name or "=" in name:
                raise InvalidSpecError(f"env: {name!r} is not a variable's name")
        check_size(spec.env)

    async def run(self, execution: Execution) -> Outcome:
        table = self._opened_table()
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # The kernel reaps children by itself then, and reports no exit status.
            raise NotStartedError(
                "the service ignores SIGCHLD, so no exit code can be known: restart it with the"
                " default action"
            )
        program = await self._lookups.program(execution.spec, execution.stop)
        if program is None:
            return Outcome(
                Status.FAILED,
                error="The command was stopped before its start.",
                reason=Reason.NOT_STARTED,
            )
        with ExitStack() as stack:
            # In this thread and not in a worker: the parent-death signal goes by the thread.
            cgroup = stack.enter_context(self._cgroups.new())
            process, readers, gate = spawn(execution.spec, program, entrance(cgroup), stack)
            group = ProcessGroup(process, table, cgroup)
            if execution.spec.pty:
                self._terminals[execution.id] = readers[0], group
            try:
                await _attend(execution, group, readers, gate)
            finally:
                # Before the child is reaped: after that, its pid may be another process's.
                self._terminals.pop(execution.id, None)
                if not await group.end():
                    _log.warning(
                        "processes survive SIGKILL: the service kills them until they end",
                        workload=execution.id,
                        processes=group.left,
                    )
                    self._unended.start_soon(group.reap)
        return _outcome(process.pid, group.exit_code)

    async def resize(self, workload_id: str, columns: int, rows: int) -> None:
        if workload_id not in self._terminals:
            raise ConflictError("the command does not run now: its terminal has no size")
        reader, group = self._terminals[workload_id]
        foreground = reader.resize(columns, rows)
        if foreground is not None:
            # Jobs in the background may draw, too.
            await group.send(signal.SIGWINCH, apart_from=foreground)

    async def reap(self, handle: str) -> None:
        await end_remains(handle, self._opened_table(), self._unended)

    def _opened_table(self) -> ProcessTable:
        if self._table is None:
            raise RuntimeError("the ProcessBackend is not open: enter its `serving` first")
        return self._table


async def _attend(
    execution: Execution, group: ProcessGroup, readers: Sequence[OutputReader], gate: Gate
) -> None:
    """Return when the command has exited and its output is in the log."""
    try:
        handle = group.handle
    except OSError as error:
        # The end of the group needs a descriptor, too.
        for reader in readers:
            reader.close()
        raise not_started(error) from error
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_when_asked, group, execution, readers)
        async with trio.open_nursery() as reading:
            for reader in readers:
                reading.start_soon(reader.run, execution.log.clone(), group)
            # The store may take long, and the workload can be stopped meanwhile.
            await execution.remember(handle)
            # The next start could not find what the command starts, had it run before.
            gate.open()
            await group.wait()
            if not execution.stop.requested:
                _expire(readers)
        if not execution.stop.requested:
            nursery.cancel_scope.cancel()


async def _stop_when_asked(
    group: ProcessGroup, execution: Execution, readers: Sequence[OutputReader]
) -> None:
    """Send the signals of the requests, wait for the grace, send KILL: to the whole group, whose
    leader may be gone."""

    async def send_signals() -> None:
        for name in await execution.stop.signals():
            await group.send(signal.Signals[name])

    async def keep_sending() -> None:
        while True:
            await send_signals()

    await execution.stop.wait()
    if group.exit_code is not None:
        # Its exit decides the outcome: the stop only ends what it left.
        execution.stop.exited()
    for reader in readers:
        reader.expire(math.inf)
    # The first one is sent whatever the grace is.
    await send_signals()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_sending)
        nursery.start_soon(_cancel_after, group.wait_empty, nursery.cancel_scope)
        nursery.start_soon(_cancel_after, execution.stop.wait_grace, nursery.cancel_scope)
    await group.send(signal.SIGKILL)
    # Without a deadline: the engine cancels a command that survives SIGKILL.
    await group.wait()
    _expire(readers)


def _expire(readers: Iterable[OutputReader]) -> None:
    """The command has exited: give other processes that hold its output open a deadline."""
    for reader in readers:
        reader.release()
        reader.expire(trio.current_time() + DRAIN_SECONDS)


async def _cancel_after(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()


def _outcome(pid: int, code: int | None) -> Outcome:
    if code is None:
        return Outcome(
            Status.FAILED,
            error=f"The command could not be ended: process {pid} survives SIGKILL.",
            reason=Reason.EXCEPTION,
        )
    if code == 0:
        return Outcome(Status.SUCCEEDED, exit_code=0, reason=Reason.EXITED)
    if code > 0:
        error = f"The command exited with {code}."
        return Outcome(Status.FAILED, exit_code=code, error=error, reason=Reason.EXITED)
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"SIG{-code}"  # a real-time signal
    error = f"The command was ended by {name}."
    return Outcome(Status.FAILED, signal=name, error=error, reason=Reason.SIGNALED)
