"""The limit on open files: raised for this process, not for the processes that it starts.

Some programs close every descriptor up to the limit when they start, and select(2) takes none above
1,023. So a raised limit would make them slow or break them.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

__all__ = ["Shares", "give_system_limit", "open_now", "raise_limit", "system_limit"]

SERVICE = 64
"""Descriptors of the service itself: 18 of the store's nine connections, those of its listeners,
its lock and its event loop, about 30 in all, and some that are open for a moment."""

WORKLOAD = 3
"""Descriptors of a running command: its two outputs, or its terminal, and that of its process,
which takes the place of its gate."""

STARTING = 8
"""Descriptors more of the commands that are just started, and of the look at /proc."""

_system: int | None = None
"""The soft limit that this process was started with, once it is raised."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How many sockets, and workloads at once, a limit on open files has room for.

    Without these shares, clients that hold all descriptors would make workloads fail.
    """

    sockets: int
    running: int

    @classmethod
    def of(cls, limit: int, *, already_open: int, sockets: int, running: int) -> Shares:
        """The shares of a limit, at most what is asked for.

        If the limit has no room for both, each gets half of it, or more where the other asks for
        less. Each gets one at least.
        """
        free = max(0, limit - already_open - SERVICE - STARTING)
        workloads = running * WORKLOAD
        if sockets + workloads > free:
            workloads = min(workloads, max(free // 2, free - sockets))
            sockets = min(sockets, free - workloads)
        return cls(max(1, sockets), max(1, workloads // WORKLOAD))


def open_now() -> int:
    """How many descriptors are open now."""
    # Faster than pathlib, and without the descriptor of the folder itself.
    return len(os.listdir("/dev/fd")) - 1  # noqa: PTH208


def raise_limit(wanted: int) -> int:
    """Raise the soft limit on open files to `wanted`, as far as the hard limit allows. Return the
    soft limit."""
    global _system
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    if wanted <= soft:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if _system is None:
        _system = soft
    return wanted


@contextmanager
def system_limit() -> Iterator[None]:
    """Within the block, a process starts with the limit that this one was started with.

    Open descriptors stay open. Another thread can't open one above the limit meanwhile: keep the
    block short.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _system is None or _system >= soft:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (_system, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def give_system_limit(pid: int) -> None:
    """Give a child the limit that this process was started with. It had this one's until now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _system is not None and _system < soft:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (_system, hard))
