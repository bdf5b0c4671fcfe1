"""The `process` backend: a command as a process group of its own, without a shell."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

import trio

from ..errors import InvalidSpecError
from ..records import Outcome, Status, WorkloadSpec
from . import Execution, Log
from .process_group import ProcessGroup

__all__ = ["ProcessBackend"]

READ_BYTES = 120 * 1024
"""One read of a pipe: one write to the log. With the start of a line from the read before, lines of
up to 4 KiB still make two batches of 64 KiB."""

PIPE_BYTES = 256 * 1024
"""What a pipe holds before the command blocks, where the kernel lets us choose."""

POLL_SECONDS = 0.05
"""How often a stopped group is looked at: the kernel tells when a child ends, but not a group."""

WINDOW = (24, 80)
"""The rows and columns of a terminal, unless its workload says otherwise."""

DRAIN_SECONDS = 2.0
"""How long a command that has exited is read on while something else holds its pipes open."""


_threads = trio.CapacityLimiter(40)
"""Of their own: an end must not wait for what others do in threads."""

_in_thread = partial(trio.to_thread.run_sync, limiter=_threads)


class ProcessBackend:
    """See `Backend` for the methods.

    The command gets PATH, HOME and LANG of the server and what its spec gives, no other variable;
    its standard input is empty; stdout and stderr are separate streams, or one terminal with `pty`,
    which has as many COLUMNS and LINES as its environment says, or else 80 and 24, and is of the
    kind that its TERM says, or else xterm-256color.
    """

    def check(self, spec: WorkloadSpec) -> None:
        if not spec.command or not spec.command[0]:
            raise InvalidSpecError("command: give the program, and its arguments")
        for text in (*spec.command, *spec.env, *spec.env.values(), spec.cwd or ""):
            if "\0" in text:
                raise InvalidSpecError("command, env, cwd: they can't hold NUL")
        for name in spec.env:
            if not name or "=" in name:
                raise InvalidSpecError(f"env: {name!r} is not a variable's name")

    async def run(self, execution: Execution) -> Outcome:
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # The kernel reaps by itself then, and tells nobody how a command ended.
            raise InvalidSpecError("the server ignores SIGCHLD, so no exit code can be known")
        spec = execution.spec
        environment = _environment(spec)
        _check_startable(spec, environment)
        with ExitStack() as stack:
            # In this thread and not in a worker: the parent-death signal goes by the thread.
            process, readers = _spawn(spec, environment, stack)
            group = stack.enter_context(ProcessGroup(process))
            await execution.remember(group.handle)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_stop_when_asked, group, execution, readers)
                async with trio.open_nursery() as reading:
                    for reader in readers:
                        reading.start_soon(reader.run, execution.log.clone(), group)
                    await group.wait()
                    if execution.stop.status is None:
                        _expire(readers)
                if execution.stop.status is None:
                    nursery.cancel_scope.cancel()
            await _in_thread(group.end)
        return _outcome(process.returncode)

    async def reap(self, handle: str) -> None:
        await _in_thread(ProcessGroup.kill_remains, handle)


async def _stop_when_asked(
    group: ProcessGroup, execution: Execution, readers: Sequence[_Reader]
) -> None:
    """TERM, grace, KILL to the whole group, of which the command itself may have exited."""

    async def until_gone() -> None:
        await group.wait()
        while True:
            if not await _in_thread(ProcessGroup.members, group.handle):
                return
            await trio.sleep(POLL_SECONDS)

    await execution.stop.wait()
    for reader in readers:
        reader.expire(math.inf)
    await _in_thread(group.send, signal.SIGTERM)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_after, until_gone, nursery.cancel_scope)
        nursery.start_soon(_cancel_after, execution.stop.wait_grace, nursery.cancel_scope)
    await _in_thread(group.send, signal.SIGKILL)
    # For good: it may have been killed before it has exited.
    await group.wait()
    _expire(readers)


def _expire(readers: Iterable[_Reader]) -> None:
    """The command has exited: what else holds its pipes may do so for a while."""
    for reader in readers:
        reader.expire(trio.current_time() + DRAIN_SECONDS)


async def _cancel_after(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()


def _outcome(returncode: int | None) -> Outcome:
    if returncode is None:
        return Outcome(Status.FAILED, error="The command could not be ended.")
    if returncode == 0:
        return Outcome(Status.SUCCEEDED, exit_code=0)
    if returncode > 0:
        return Outcome(Status.FAILED, returncode, error=f"The command exited with {returncode}.")
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"SIG{-returncode}"  # a real-time signal
    return Outcome(Status.FAILED, signal=name, error=f"The command was ended by {name}.")


def _environment(spec: WorkloadSpec) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    terminal = {"TERM": "xterm-256color"} if spec.pty else {}
    return {"PATH": os.defpath, **terminal, **inherited, **spec.env}


def _check_startable(spec: WorkloadSpec, environment: dict[str, str]) -> None:
    """Raise InvalidSpecError for what `exec` would refuse, in clearer words."""
    if spec.cwd is not None and not Path(spec.cwd).is_dir():
        raise InvalidSpecError(f"cwd: there is no folder {spec.cwd}")
    program, folder = spec.command[0], spec.cwd or "."
    if "/" in program:
        path = Path(folder, program)
        found = path.is_file() and os.access(path, os.X_OK)
    else:
        # What is relative is so to where the command runs.
        places = [str(Path(folder, place)) for place in environment["PATH"].split(os.pathsep)]
        found = shutil.which(program, path=os.pathsep.join(places)) is not None
    if not found:
        raise InvalidSpecError(
            f"command: there is no program {program!r} that can be run; see PATH"
        )


def _leash() -> list[str]:
    """A prefix for the command that has the kernel kill it when this process dies."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _spawn(
    spec: WorkloadSpec, environment: dict[str, str], stack: ExitStack
) -> tuple[subprocess.Popen[bytes], list[_Reader]]:
    """Start the command; its readers are closed by the stack."""
    with ExitStack() as child_ends:

        def pair(make: Callable[[], tuple[int, int]], stream: str) -> int:
            ours, theirs = make()
            child_ends.callback(os.close, theirs)
            readers.append(_Reader(ours, stream))
            stack.callback(readers[-1].close)
            return theirs

        readers: list[_Reader] = []
        stdout = pair(os.openpty if spec.pty else os.pipe, "stdout")
        if spec.pty:
            _set_terminal(stdout, environment)
        process = subprocess.Popen(
            [*_leash(), *spec.command],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stdout if spec.pty else pair(os.pipe, "stderr"),
            cwd=spec.cwd,
            env=environment,
            start_new_session=True,
        )
    return process, readers


def _set_terminal(terminal: int, environment: dict[str, str]) -> None:
    """Give it its size, and have it leave line ends as the command writes them."""
    size = [environment.get(name, "") for name in ("LINES", "COLUMNS")]
    rows, columns = (
        int(given) if re.fullmatch("[1-9][0-9]{0,3}", given) else usual
        for given, usual in zip(size, WINDOW, strict=True)
    )
    termios.tcsetwinsize(terminal, (rows, columns))
    attributes = termios.tcgetattr(terminal)
    attributes[1] &= ~termios.ONLCR
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)


class _Reader:
    """Reads one pipe or terminal into the log. It never drops what it has read."""

    def __init__(self, fd: int, stream: str) -> None:
        self._stream = stream
        self._pipe = trio.lowlevel.FdStream(fd)
        self._deadline = math.inf
        self._receiving = trio.CancelScope()
        if sys.platform == "linux":
            # Fewer switches between the command and us; the default size works too.
            with suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def close(self) -> None:
        self._pipe.close()

    def expire(self, deadline: float) -> None:
        """Until when to wait for the end of the file."""
        self._deadline = self._receiving.deadline = deadline

    async def run(self, log: Log, group: ProcessGroup) -> None:
        """Read until the end of file or, past the deadline, until the pipe is empty."""
        with closing(log):
            while True:
                with trio.CancelScope(deadline=self._deadline) as self._receiving:
                    data = await self._receive()
                if self._receiving.cancelled_caught:
                    break
                if not data:
                    return
                await log.write(data, self._stream)
                # After a full read there is more, most likely; it is had without a wait.
                while len(data) == READ_BYTES and trio.current_time() < self._deadline:
                    if data := self._receive_ready():
                        await log.write(data, self._stream)
            await _in_thread(group.send, signal.SIGKILL)
            # Bounded: something that left the group may write on for ever.
            left = PIPE_BYTES
            while left > 0 and (data := self._receive_ready()):
                left -= len(data)
                await log.write(data, self._stream)

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._pipe.receive_some(READ_BYTES))
        except trio.BrokenResourceError as error:
            # A terminal whose other end is closed says EIO where a pipe says end of file.
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO:
                return b""
            raise

    def _receive_ready(self) -> bytes:
        try:
            return os.read(self._pipe.fileno(), READ_BYTES)
        except OSError:
            return b""
