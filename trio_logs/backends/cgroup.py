"""Control groups: the kernel keeps all processes that a command starts in the command's group.

A process is born in the group of its parent, whatever session it makes later. The kernel kills all
processes of a group at once, so that none can fork in between. See cgroups(7), and "Control Group
v2" in the documentation of Linux.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from . import proc

__all__ = ["Cgroups", "end", "entrance", "processes"]

_log = structlog.get_logger("trio_logs.backends.process")

_NAME = re.compile("trio-logs-([0-9]+)-([0-9]+)-[0-9a-f]{16}")
"""The name of a group: the pid and the start of the service that made it, and a random number."""

_SYSTEMD = Path("/run/systemd/system")
"""A folder that exists while systemd is the init system; see sd_booted(3)."""

_DELEGATED = ("trusted.delegate", "user.delegate")
"""The extended attributes with which systemd marks a group that it leaves to its service."""

_KILL = "cgroup.kill"
"""The file that kills a group. Linux has it since 5.14, and not in the group at the root."""


class Cgroups:
    """Makes the groups of commands, below the group of this service.

    It makes none where the group of the service is not the service's to divide: under systemd
    without `Delegate=`, without permission, on another system, or before Linux 5.14.
    """

    def __init__(self) -> None:
        own = proc.cgroup()
        self._parent = own if own is not None and _is_delegated(own) else None
        self._prefix = f"trio-logs-{os.getpid()}-{proc.start(os.getpid())}-"
        if self._parent is not None:
            _remove_left(self._parent)

    @contextmanager
    def new(self) -> Iterator[str]:
        """The folder of a new group for one command; empty if the command gets no group.

        A group that is left at the end of the block, because a process survives, stays.
        """
        if self._parent is None:
            yield ""
            return
        group = self._parent / (self._prefix + secrets.token_hex(8))
        try:
            group.mkdir()
        except OSError as error:
            _log.warning("a command starts without a control group", error=str(error))
            yield ""
            return
        try:
            yield str(group) if (group / _KILL).exists() else ""
        finally:
            _remove(str(group))


def _is_delegated(group: Path) -> bool:
    # Root may write everywhere, but systemd expects to be the only writer of its groups.
    if os.geteuid() == 0 and _SYSTEMD.exists():
        return any(_attribute(group, name) == b"1" for name in _DELEGATED)
    writes = os.R_OK | os.W_OK | os.X_OK
    return os.access(group, writes) and os.access(group / "cgroup.procs", os.W_OK)


def _attribute(path: Path, name: str) -> bytes:
    with suppress(OSError):
        return os.getxattr(path, name)
    return b""


def _remove_left(parent: Path) -> None:
    """Remove the empty groups of services that died while they started a command. `reap` removes
    the others: their services have stored a handle."""
    for group in parent.iterdir():
        if match := _NAME.fullmatch(group.name):
            pid, start = map(int, match.groups())
            if proc.start(pid) != start:
                _remove(str(group))


def entrance(group: str) -> str:
    """The file to which a process writes `0` to enter a group; for no group, one that takes
    everything."""
    return f"{group}/cgroup.procs" if group else os.devnull


def processes(group: str) -> list[int]:
    """The pids of the running processes in a group and in groups below it. Raises OSError if no
    file descriptor is free."""
    return [pid for folder in _tree(group) for pid in _listed(folder)]


def end(group: str) -> list[int] | None:
    """Remove a group in which no process runs, and return None. Otherwise kill its processes, and
    return the pids of those that have not exited yet. Raises OSError if no file descriptor is
    free."""
    if _remove(group):
        return None
    with _unless_gone(), Path(group, _KILL).open("r+") as file:
        file.write("1")
    left = processes(group)
    # The command may have made groups of its own.
    if not left and all(_remove(folder) for folder in reversed(_tree(group))):
        return None
    return left


def _remove(group: str) -> bool:
    """Whether the group is gone now. The kernel removes none in which a process runs."""
    try:
        Path(group).rmdir()
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


def _tree(group: str) -> list[str]:
    """A group and all groups below it, each behind the one that it is in."""
    folders = [group]
    for folder in folders:
        with _unless_gone(), os.scandir(folder) as entries:
            folders += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return folders


def _listed(group: str) -> list[int]:
    with _unless_gone():
        # 0 stands for a process that this process can't see.
        pids = Path(group, "cgroup.procs").read_text().split()
        return [int(pid) for pid in pids if pid != "0"]
    return []


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Ignore that a group is gone, or is not this process's, but not that no descriptor is free."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
