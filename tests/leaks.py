"""What a test leaves behind: tasks, file descriptors, threads, processes, control groups,
subscriptions.

`no_leaks` looks before and after each test; a leak is an error that names it. What a fixture of a
module or session has opened before is not looked at, nor what such a process starts meanwhile.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from tests import forked
from trio_logs.backends import proc
from trio_logs.broker import LogBroker

__all__ = ["Before", "no_leaks", "pytest_collection_modifyitems", "run"]

T = TypeVar("T")

PATIENCE = 1.0
"""Seconds for what is on its way out, such as a process that was killed a moment ago."""

MARK = f"/trio-logs-tests-{os.getpid()}"
"""A folder that is not there, on the PATH of all that tests start: an orphan keeps its environment,
and PATH is what even a workload inherits."""

os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], MARK])


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Set up before a test's other fixtures and torn down after them."""
    before = Before()
    with _made(LogBroker) as brokers:
        yield
    _fail_if(before.left(brokers))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Have `run` run the tests that pytest-trio runs."""
    for item in items:
        if item.get_closest_marker("trio") is not None:
            item.add_marker(pytest.mark.trio(run=run), append=False)


def run(test: Callable[[], Awaitable[T]], **options: Any) -> T:
    """`trio.run`, which fails if a task is left once the test and its fixtures are over."""

    async def watched() -> T:
        before = set(_tasks())
        result = await test()
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        _fail_if([str(task) for task in _tasks() if task not in before])
        return result

    return trio.run(watched, **options)


def _fail_if(left: Sequence[str]) -> None:
    if left:
        pytest.fail("the test left behind:\n" + "\n".join(left), pytrace=False)


def _tasks() -> Iterator[trio.lowlevel.Task]:
    """All tasks of the run, from its root."""
    found = [trio.lowlevel.current_root_task()]
    while found:
        task = found.pop()
        if task is not None:
            yield task
            found += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


@contextmanager
def _made(kind: type[T]) -> Iterator[list[T]]:
    """The objects of that class that are made meanwhile. They are kept: one that is let go while it
    holds something has leaked that too."""
    made: list[T] = []
    initialize = kind.__init__

    def remember(self: T, *arguments: Any, **keywords: Any) -> None:
        initialize(self, *arguments, **keywords)
        made.append(self)

    kind.__init__ = remember  # type: ignore[assignment,method-assign]
    try:
        yield made
    finally:
        kind.__init__ = initialize  # type: ignore[method-assign]


class Before:
    """What there was when it was made."""

    def __init__(self) -> None:
        self._descriptors = _descriptors()
        self._threads = set(threading.enumerate())
        self._processes = _processes()
        self._groups = _groups()

    def left(self, brokers: Sequence[LogBroker]) -> list[str]:
        """What was not there before, or is held of the brokers, and stays."""
        deadline = time.monotonic() + PATIENCE
        while True:
            groups = [f"control group {group}" for group in sorted(_groups() - self._groups)]
            left = [
                *self._opened(),
                *self._started(),
                *self._spawned(),
                *groups,
                *_entered(brokers),
            ]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.01)

    def _opened(self) -> Iterator[str]:
        for number, target in sorted(_descriptors() - self._descriptors):
            yield f"descriptor {number}: {_ends(number) or target}"

    def _started(self) -> Iterator[str]:
        for thread in threading.enumerate():
            # Trio keeps a worker for its next job for 10 seconds; while at work it is named by it.
            idle = thread.name.startswith("Trio thread ")
            if thread not in self._threads and not idle:
                yield f"thread {thread.name!r}"

    def _spawned(self) -> Iterator[str]:
        new = _processes() - self._processes
        for pid in sorted(new):
            ancestor: int | None = pid
            ours = False
            while ancestor in new:
                ours = ours or ancestor in forked.pids
                ancestor = _parent(ancestor)
            if ancestor is None:
                continue  # it is gone
            orphan = _marked(pid) and not _marked(ancestor)
            if ancestor == os.getpid() or ours or orphan:
                yield f"process {pid}: {_command(pid)}"


def _descriptors() -> set[tuple[int, str]]:
    """The numbers of all open descriptors, and what they point at."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        # The one that lists is gone.
        with suppress(FileNotFoundError):
            found.add((int(path.name), str(path.readlink())))
    return found


def _ends(descriptor: int) -> str:
    """Where a socket is bound and connected; nothing for what is none."""
    ends = []
    with suppress(OSError):
        found = socket.socket(fileno=descriptor)
        try:
            ends.append(f"socket {found.getsockname()}")
            ends.append(f"to {found.getpeername()}")
        finally:
            found.detach()
    return " ".join(ends)


def _entered(brokers: Sequence[LogBroker]) -> Iterator[str]:
    for broker in brokers:
        if count := broker.statistics().subscriptions:
            yield f"subscriptions: {count} of {broker}"


def _processes() -> set[int]:
    """The pids of the whole machine: an orphan may be anywhere."""
    return {int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()}


def _groups() -> set[Path]:
    """The control groups of commands that this process has started."""
    own = proc.cgroup()
    return set(own.glob(f"trio-logs-{os.getpid()}-*")) if own is not None else set()


def _parent(pid: int) -> int | None:
    """None if the process is gone. A zombie has its parent still."""
    with suppress(OSError):
        # A name may hold any byte.
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    return None


def _marked(pid: int) -> bool:
    """Whether tests have started it. What may not be looked at is somebody else's."""
    with suppress(OSError):
        return MARK.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    return False


def _command(pid: int) -> str:
    """The command line, or the name of a process that has none any more, as a zombie."""
    with suppress(OSError):
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        if line:
            return line.decode(errors="replace").strip()
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip() + " (zombie)"
    return "gone"
