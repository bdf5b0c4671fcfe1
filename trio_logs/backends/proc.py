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
    """The pid that the system, or the pid namespace of this process, gave out last; 0 if that is
    not known. See proc_loadavg(5)."""
    with suppress(FileNotFoundError):
        return int((_PROC / "loadavg").read_bytes().split()[-1])
    return 0


def pids_between(before: int, newest: int) -> Iterator[int]:
    """The pids that the system gave out after `before`, from `newest` back. After the largest one,
    it begins anew; see proc_sys_kernel(5)."""
    if newest < before:
        yield from range(newest, 0, -1)
        with suppress(FileNotFoundError):
            newest = int((_PROC / "sys/kernel/pid_max").read_bytes()) - 1
    yield from range(newest, before, -1)


def is_process(pid: int) -> bool:
    """Whether a pid is that of a process, and not of one of its further threads. True if it is gone
    meanwhile. Raises PermissionError as `stat` does."""
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
    """The folder of the control group, of version 2, in which this process runs; None if it is not
    mounted, or out of reach. See cgroups(7) and proc_pid_mountinfo(5)."""
    path = cgroup_path("self")
    # A path with `..` leads out of the cgroup namespace.
    if path is None or ".." in path.parts:
        return None
    with suppress(FileNotFoundError):
        for line in (_PROC / "self" / "mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            root, place = (_plain(field) for field in before.split(" ")[3:5])
            if after.startswith("cgroup2 ") and path.is_relative_to(root):
                return Path(place) / path.relative_to(root)
    return None


def cgroup_path(pid: int | str) -> Path | None:
    """The path of a process's control group in its hierarchy; that of a zombie may be gone. None
    without such a process or hierarchy, or where /proc hides it."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for line in (_PROC / str(pid) / "cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return Path(line.removeprefix("0::").removesuffix(" (deleted)"))
    return None


def _plain(field: str) -> str:
    """A path of mountinfo, in which octal numbers stand for spaces, line ends and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


@cache
def boot_id() -> str:
    """Differs after each boot."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return ""
