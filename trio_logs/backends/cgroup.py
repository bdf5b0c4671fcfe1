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

__all__ = ["Cgroups", "end", "entrance", "is_of_a_command", "processes"]

_log = structlog.get_logger("trio_logs.backends.process")

_NAME = re.compile("trio-logs-([0-9]+)-([0-9]+)-[0-9a-f]{16}")
"""The name of a group: the pid and the start of the service that made it, and a random number."""

_SYSTEMD = Path("/run/systemd/system")
"""A folder that exists while systemd is the init system; see sd_booted(3)."""

_DELEGATED = ("trusted.delegate", "user.delegate")
"""The extended attributes with which systemd marks a group that it leaves to its service."""

_ENTER, _KILL = "cgroup.procs", "cgroup.kill"
"""The file by which a process enters a group, and the file that kills all in a group. Linux has
the second one since 5.14."""


class Cgroups:
    """Makes the groups of commands, below the group of this service.

    It makes none where that group is not the service's to divide, and before Linux 5.14. Under
    systemd, a group of root needs `Delegate=`; any other user just needs the permission.
    """

    def __init__(self) -> None:
        self._prefix = f"trio-logs-{os.getpid()}-{proc.start(os.getpid())}-"
        own = proc.cgroup()
        self._parent = own if own is not None and _is_delegated(own) else None
        if self._parent is not None:
            _remove_left(self._parent)
            with self.new() as group:
                if not _is_usable(group):
                    self._parent = None

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
            yield str(group)
        finally:
            _remove(group)


def _is_delegated(group: Path) -> bool:
    # Root may write everywhere, but systemd expects to be the only writer of its groups. With
    # `DelegateSubgroup=`, the mark is on the group above.
    if os.geteuid() == 0 and _SYSTEMD.exists():
        marks = (_attribute(each, name) for each in (group, group.parent) for name in _DELEGATED)
        if b"1" not in marks:
            return False
    needed = os.R_OK | os.W_OK | os.X_OK
    return os.access(group, needed) and os.access(group / _ENTER, os.W_OK)


def _attribute(path: Path, name: str) -> bytes:
    with suppress(OSError):
        return os.getxattr(path, name)
    return b""


def _is_usable(group: str) -> bool:
    """Whether processes can enter a group, and the kernel can kill them."""
    with suppress(OSError):
        # Below a group with threads of several groups, it is `domain invalid`.
        kind = Path(group, "cgroup.type").read_text().strip()
        return kind == "domain" and os.access(Path(group, _KILL), os.W_OK)
    return False


def _remove_left(parent: Path) -> None:
    """Remove the empty groups of services that died while they started a command. `reap` removes
    the others: their services have stored a handle."""
    for group in parent.iterdir():
        # /proc may hide the process of another user, whose group this is not.
        with suppress(PermissionError):
            if match := _NAME.fullmatch(group.name):
                pid, start = map(int, match.groups())
                if proc.start(pid) != start:
                    _remove(group)


def is_of_a_command(group: str) -> bool:
    """Whether a folder has the name of a group that `Cgroups` makes."""
    return _NAME.fullmatch(Path(group).name) is not None


def entrance(group: str) -> str:
    """The file to which a process writes `0` to enter a group; for no group, one that takes
    everything."""
    return f"{group}/{_ENTER}" if group else os.devnull


def processes(group: Path) -> list[int]:
    """The pids of the running processes in a group and in groups below it. Raises OSError if no
    file descriptor is free."""
    return [pid for folder in _tree(group) for pid in _listed(folder)]


def end(group: Path) -> list[int] | None:
    """Remove a group in which no process runs, and return None. Otherwise have the kernel kill its
    processes, and return the pids of those that have not exited yet. Raises OSError if no file
    descriptor is free."""
    if _remove(group):
        return None
    with _unless_gone():
        descriptor = os.open(group / _KILL, os.O_WRONLY)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)
    left = processes(group)
    # The command may have made groups of its own.
    if not left and all(_remove(folder) for folder in reversed(_tree(group))):
        return None
    return left


def _remove(group: Path) -> bool:
    """Whether the group is gone now. The kernel removes none in which a process runs."""
    try:
        group.rmdir()
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


def _tree(group: Path) -> list[Path]:
    """A group and all groups below it, parents before children."""
    folders = [group]
    for folder in folders:
        with _unless_gone(), os.scandir(folder) as entries:
            folders += [
                folder / each.name for each in entries if each.is_dir(follow_symlinks=False)
            ]
    return folders


def _listed(group: Path) -> list[int]:
    with _unless_gone():
        pids = (group / _ENTER).read_text().split()
        # 0 stands for a process that this process can't see.
        return [int(pid) for pid in pids if pid != "0"]
    return []


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Ignore the errors of a group that is gone, or in which only threads can be listed."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            raise
