"""Control groups: each holds a command and all that it starts, whatever their sessions.

A process is born in the group of its parent. Only one that may write to another group can leave.
The kernel kills all processes of a group at once, so that none can fork in between. See cgroups(7),
and "Control Group v2" in the documentation of Linux.
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

__all__ = ["Cgroups", "entrance", "is_of_a_command", "kill", "processes", "remove"]

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

MAX_GROUPS = 1000
"""Groups below that of a command that are looked into. The kernel kills what runs in the others,
too."""


class Cgroups:
    """Makes the groups of commands, below the group of this service.

    It makes none before Linux 5.14, or where the service may not write to its own group. Under
    systemd, a service that runs as root also needs `Delegate=`.
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

        The group is removed at the end of the block, unless a process still runs in it.
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
            # Mostly it is gone by now. This runs in Trio's thread, so it looks into no group.
            with suppress(OSError):
                group.rmdir()


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
        # Below a threaded domain, a new group is `domain invalid`: no process can enter it.
        kind = Path(group, "cgroup.type").read_text().strip()
        return kind == "domain" and os.access(Path(group, _KILL), os.W_OK)
    return False


def _remove_left(parent: Path) -> None:
    """Remove the empty groups of dead services. `reap` ends the groups of unfinished workloads."""
    for group in parent.iterdir():
        # /proc may hide another user's process. That user's service removes its own groups. Where a
        # descriptor is lacking, the next start tries again.
        with suppress(OSError):
            if match := _NAME.fullmatch(group.name):
                pid, start = map(int, match.groups())
                if proc.start(pid) != start:
                    remove(group)


def is_of_a_command(group: str) -> bool:
    """Whether a folder has the name of a group that `Cgroups` makes."""
    return _NAME.fullmatch(Path(group).name) is not None


def entrance(group: str) -> str:
    """The file to which a process writes `0` to enter a group; /dev/null if there is no group."""
    return f"{group}/{_ENTER}" if group else os.devnull


def remove(group: Path) -> bool:
    """Remove a group, and all groups below it. Return False if a process runs in one of them."""
    with suppress(OSError):
        # The kernel removes no group in which a process runs.
        group.rmdir()
        return True
    if _is_populated(group):
        return False
    # The command may have made groups of its own.
    for folder in reversed(_tree(group)):
        with suppress(OSError):
            folder.rmdir()
    return not _is_populated(group)


def kill(group: Path) -> bool:
    """Have the kernel kill all processes in a group and in groups below it. Return False if it
    can't, as in a threaded group. Raises OSError if no file descriptor is free."""
    with _unless_lacking():
        descriptor = os.open(group / _KILL, os.O_WRONLY)
        try:
            os.write(descriptor, b"1")
        finally:
            os.close(descriptor)
        return True
    return False


def processes(group: Path) -> list[int]:
    """The pids of the running processes in a group and in groups below it; in a threaded group, of
    the threads. Raises OSError if no file descriptor is free."""
    return [pid for folder in _tree(group) for pid in _listed(folder)]


def _is_populated(group: Path) -> bool:
    """Whether a process runs in a group, or in one below it. Raises OSError if no file descriptor
    is free."""
    with suppress(FileNotFoundError):
        with _unless_lacking():
            return b"populated 1" in (group / "cgroup.events").read_bytes()
        return group.exists()
    return False


def _tree(group: Path) -> list[Path]:
    """A group and the groups below it, parents before children, MAX_GROUPS at most."""
    folders = [group]
    for folder in folders:
        if len(folders) < MAX_GROUPS:
            with _unless_lacking(), os.scandir(folder) as entries:
                below = [each.name for each in entries if each.is_dir(follow_symlinks=False)]
                folders += [folder / name for name in below]
    return folders


def _listed(group: Path) -> list[int]:
    # The first file can't be read in a threaded group.
    for name in (_ENTER, "cgroup.threads"):
        with _unless_lacking():
            pids = (group / name).read_text().split()
            # 0 stands for a process that this process can't see.
            return [int(pid) for pid in pids if pid != "0"]
    return []


@contextmanager
def _unless_lacking() -> Iterator[None]:
    """Ignore the errors of a group that is gone, threaded or out of reach. Raise those of a system
    that lacks something, since a later call may do better."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
