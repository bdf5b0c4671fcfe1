"""What a service left behind when it was killed: the processes of its commands."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog
import trio

from . import proc
from .cgroup import is_of_a_command
from .process_group import END_SECONDS, ProcessGroup
from .process_identity import Identity
from .process_table import ProcessTable

__all__ = ["end_remains"]

_log = structlog.get_logger("trio_logs.backends.process")


async def end_remains(handle: str, table: ProcessTable, unended: trio.Nursery) -> None:
    """Kill the processes of a command. `handle` is from `ProcessGroup.handle`.

    Those that survive SIGKILL for `END_SECONDS` are left to a task in `unended`. Raises OSError if
    /proc can't be read, or if no file descriptor is free.
    """
    leader = _without_foreign_cgroup(Identity.decode(handle))
    if os.getsid(0) == leader.pid and not leader.is_replaced():
        _say_own(leader)
        return
    with trio.move_on_after(END_SECONDS) as scope:
        await ProcessGroup.kill_remains(leader, table)
    if scope.cancelled_caught:
        _log.warning(
            "processes of an earlier service survive SIGKILL: the service kills them until they"
            " end",
            session=leader.pid,
        )
        unended.start_soon(_kill_remains, leader, table)


def _without_foreign_cgroup(leader: Identity) -> Identity:
    """Drop a control group that is no command's, or in which this service runs: a workload may have
    started the service."""
    group = Path(leader.cgroup)
    if not leader.cgroup or not is_of_a_command(leader.cgroup):
        return replace(leader, cgroup="")
    own = proc.cgroup_path("self")
    if own is not None and group.name in own.parts:
        _say_own(leader)
        return replace(leader, cgroup="")
    return leader


def _say_own(leader: Identity) -> None:
    _log.warning(
        "a workload of an earlier service started this service: other processes of that workload"
        " may go on",
        session=leader.pid,
    )


async def _kill_remains(leader: Identity, table: ProcessTable) -> None:
    with suppress(OSError):  # no file descriptor is free: the next start tries again
        await ProcessGroup.kill_remains(leader, table)
