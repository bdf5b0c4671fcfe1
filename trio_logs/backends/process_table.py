"""/proc: which processes run, and which of them belong to a session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

__all__ = ["Identity", "Member", "SessionScan"]

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Identity:
    """Tells a process from a later one with the same pid. `start` is in clock ticks since boot."""

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity:
        """That of a running process. Raises OSError if /proc can't be read, as when no file
        descriptor is free."""
        stat = _stat(pid)
        return cls(pid, stat.start if stat else 0, _boot_id())

    @classmethod
    def decode(cls, text: str) -> Identity:
        """From what `encode` has made."""
        return msgspec.json.decode(text, type=cls)

    def encode(self) -> str:
        """As JSON."""
        return msgspec.json.encode(self).decode()


class SessionScan:
    """Looks for the running processes of one session, again and again.

    `leader` started the session. A process can't enter a session from outside, so only new ones are
    examined after the first look. Use a thread: a look reads /proc for every new process of the
    machine. A system without /proc shows no processes.
    """

    def __init__(self, leader: Identity) -> None:
        self._leader = leader
        self._strangers: set[int] = set()
        self.is_sure = False

    def look(self) -> Iterator[Member]:
        """Yield each process as soon as it is found. Afterwards, `is_sure` says whether there
        can't have been others: one that exits before its examination may have forked.

        Raises OSError if /proc can't be read.
        """
        self.is_sure = True
        if self._has_ended():
            return
        listed = {int(name) for name in _names() if name.isdigit()}
        # Another process may get the pid of one that has exited.
        self._strangers &= listed
        # The newest first: a process that forks and exits at once is still there.
        for pid in sorted(listed - self._strangers, reverse=True):
            try:
                stat = _stat(pid)
            except PermissionError:
                self._strangers.add(pid)  # another user's, where /proc hides these
                continue
            if stat is None:
                self.is_sure = False
            elif stat.session != self._leader.pid or stat.start < self._leader.start:
                self._strangers.add(pid)
            elif not stat.is_zombie:
                yield Member(pid, stat.group)

    def _has_ended(self) -> bool:
        """Whether the pid of the leader, and so that of the session, is another one's now."""
        try:
            leader = _stat(self._leader.pid)
        except PermissionError:
            return True  # a process of another user
        if self._leader.boot != _boot_id():
            return True
        return leader is not None and leader.start != self._leader.start


@dataclass(frozen=True, slots=True)
class Member:
    """A running process of a session, and its process group."""

    pid: int
    group: int


@dataclass(frozen=True, slots=True)
class _Stat:
    group: int
    session: int
    start: int
    is_zombie: bool


def _names() -> list[str]:
    with suppress(FileNotFoundError), os.scandir(_PROC) as entries:
        return [entry.name for entry in entries]
    return []


def _stat(pid: int) -> _Stat | None:
    """Fields of /proc/PID/stat; see proc_pid_stat(5). None without such a process."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the name, may hold any byte; the third follows its last parenthesis.
    fields = text[text.rindex(b")") + 2 :].split()
    return _Stat(int(fields[2]), int(fields[3]), int(fields[19]), fields[0] in (b"Z", b"X"))


@cache
def _boot_id() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return ""
