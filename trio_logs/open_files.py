"""The limit on open files: raised for this process, not for the processes that it starts.

Some programs close every descriptor up to the limit when they start, and select(2) takes none above
1,023. So a raised limit would make them slow or break them.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["give_system_limit", "raise_limit", "system_limit"]

_system: int | None = None
"""The soft limit that this process was started with, once it is raised."""


def raise_limit(wanted: int) -> None:
    """Raise the soft limit on open files to `wanted`, as far as the hard limit allows."""
    global _system
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if _system is None:
        _system = soft


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
