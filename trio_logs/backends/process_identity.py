"""Which process is meant, whatever becomes of its pid."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from . import proc

__all__ = ["Identity", "Member"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Tells a process from a later one with the same pid. `start` is in clock ticks since boot.
    `cgroup` is the folder of its control group, if it has one of its own."""

    pid: int
    start: int
    boot: str
    cgroup: str = ""

    @classmethod
    def of(cls, pid: int, cgroup: str = "") -> Identity:
        """That of a running process. Raises OSError if /proc can't be read, as when no file
        descriptor is free."""
        return cls(pid, proc.start(pid), proc.boot_id(), cgroup)

    @classmethod
    def decode(cls, text: str) -> Identity:
        """From what `encode` has made."""
        return msgspec.json.decode(text, type=cls)

    def encode(self) -> str:
        """As JSON."""
        return msgspec.json.encode(self).decode()

    def is_replaced(self) -> bool:
        """Whether the pid is another process's now, or of an earlier boot."""
        if self.boot != proc.boot_id():
            return True
        try:
            stat = proc.stat(self.pid)
        except PermissionError:
            return True  # a process of another user
        return stat is not None and stat.start != self.start


@dataclass(frozen=True, slots=True)
class Member:
    """A running process of a session, its process group, and its start as in `Identity`."""

    pid: int
    group: int
    start: int

    def is_same(self) -> bool:
        """Whether the process still runs. Raises OSError if /proc can't be read."""
        stat = proc.stat(self.pid)
        return stat is not None and stat.start == self.start and not stat.is_zombie
