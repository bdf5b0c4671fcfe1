"""Reads of /proc; see proc(5). A system without /proc shows no processes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = [
    "Stat",
    "boot_id",
    "cgroup",
    "cgroup_path",
    "is_process",
    "listed",
    "newest",
    "pids_between",
    "start",
    "stat",
]

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Stat:
    """Fields of /proc/PID/stat. `start` is in clock ticks since boot. A zombie has exited, and
    waits for its parent."""

    group: int
    session: int
    start: int
    is_zombie: bool


def listed() -> dict[int, int]:
    """The pids in /proc, each with the inode of its folder."""
    with suppress(FileNotFoundError), os.scandir(_PROC) as entries:
        return {int(entry.name): entry.inode() for entry in entries if entry.name.isdigit()}
    return {}


def newest() -> int:
    """The pid that the pid namespace of this process gave out last; 0 if that is not known. See
    proc_sys_kernel(5) and proc_loadavg(5)."""
    with suppress(FileNotFoundError):
        return int((_PROC / "sys/kernel/ns_last_pid").read_bytes())
    # Not in an older kernel. In some containers, loadavg is that of the host.
    with suppress(FileNotFoundError):
        return int((_PROC / "loadavg").read_bytes().split()[-1])
    return 0


def pids_between(before: int, newest: int) -> Iterator[int]:
    """The pids that the system gave out after `before`, from `newest` back. After the largest pid,
    it starts again with small ones; see proc_sys_kernel(5)."""
    if newest < before:
        yield from range(newest, 0, -1)
        with suppress(FileNotFoundError):
            newest = int((_PROC / "sys/kernel/pid_max").read_bytes()) - 1
    yield from range(newest, before, -1)


def is_process(pid: int) -> bool:
    """False for the id of a thread other than a process's first one. True if it is gone meanwhile.
    Raises PermissionError as `stat` does."""
    with suppress(FileNotFoundError, ProcessLookupError):
        text = (_PROC / str(pid) / "status").read_bytes()
        return b"\nTgid:\t%d\n" % pid in text
    return True


def stat(pid: int) -> Stat | None:
    """That of a process; see proc_pid_stat(5). None without such a process. Raises PermissionError
    for another user's process, where /proc hides these."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the name, may hold any byte; the third follows its last parenthesis.
    fields = text[text.rindex(b")") + 2 :].split()
    # The first thread may have ended before the others.
    is_zombie = fields[0] in (b"Z", b"X") and int(fields[17]) < 2
    return Stat(int(fields[2]), int(fields[3]), int(fields[19]), is_zombie)


def start(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 without such a process. Raises as `stat`
    does."""
    found = stat(pid)
    return found.start if found else 0


def cgroup() -> Path | None:
    """The folder of the control group, of version 2, in which this process runs; None if no mount
    shows it. See cgroups(7) and proc_pid_mountinfo(5)."""
    path = cgroup_path("self")
    # A path with `..` leads out of the cgroup namespace.
    if path is None or ".." in path.parts:
        return None
    with suppress(FileNotFoundError):
        # A name may hold any byte but NUL. A line end in a mount's name is escaped.
        for line in (_PROC / "self" / "mountinfo").read_bytes().split(b"\n"):
            before, _, after = line.partition(b" - ")
            if after.startswith(b"cgroup2 "):
                root, place = (_plain(field) for field in before.split(b" ")[3:5])
                if path.is_relative_to(root):
                    return Path(place) / path.relative_to(root)
    return None


def cgroup_path(pid: int | str) -> Path | None:
    """The path of a process's control group in its hierarchy; a zombie's group may have been
    removed. None without such a process or hierarchy, or where /proc hides it."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        # The name of a group can't hold a line end.
        for line in (_PROC / str(pid) / "cgroup").read_bytes().split(b"\n"):
            if line.startswith(b"0::"):
                return Path(os.fsdecode(line[3:].removesuffix(b" (deleted)")))
    return None


def _plain(field: bytes) -> str:
    """A path of mountinfo, in which octal numbers stand for spaces, line ends and backslashes."""
    plain = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)
    return os.fsdecode(plain)


@cache
def boot_id() -> str:
    """Differs after each boot."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return ""
