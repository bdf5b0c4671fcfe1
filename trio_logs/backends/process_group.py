"""A process and all that it started: waited for, signalled and, after a crash, found again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import trio

__all__ = ["ProcessGroup"]

_PROC = Path("/proc")

REAP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Identity:
    """What tells a process from a later one with the same pid. `start` is in clock ticks since
    boot."""

    pid: int
    start: int
    boot: str


class ProcessGroup:
    """A child that leads a session of its own, and what it started: those of its process group, and
    those of its session that made groups of their own, as `timeout` and shells with job control do.

    As a context manager it kills what is left of them and then reaps the child: until then the
    child's pid, which is the group's id, can't be taken over by a stranger.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @cached_property
    def handle(self) -> str:
        """What `members` and `kill_remains` need. Take it first while the child runs."""
        stat = _stat(self._process.pid)
        identity = _Identity(self._process.pid, stat.start if stat else 0, _boot_id())
        return msgspec.json.encode(identity).decode()

    async def wait(self) -> None:
        """Wait until the child exits; it is not reaped yet, and what it started may go on."""
        if sys.platform == "linux":
            pidfd = os.pidfd_open(self._process.pid)
            try:
                await trio.lowlevel.wait_readable(pidfd)
            finally:
                os.close(pidfd)
        else:
            await trio.to_thread.run_sync(
                os.waitid,
                os.P_PID,
                self._process.pid,
                os.WEXITED | os.WNOWAIT,
                abandon_on_cancel=True,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all of them. It looks at every process of the machine: use a thread."""
        # Nobody is left, or (macOS) only zombies: both are what we want.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
        for pid in self.members(self.handle):
            with suppress(ProcessLookupError, PermissionError):
                if os.getpgid(pid) != self._process.pid:
                    os.kill(pid, number)

    def end(self) -> None:
        """Kill what is left, and reap the child. It may take a second: use a thread."""
        self.send(signal.SIGKILL)
        # The child has exited or was just killed; only one that changed its user may go on.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.returncode is None:
            self.end()

    @staticmethod
    def members(handle: str) -> list[int]:
        """The pids of what still runs of a group that this or an earlier server started.

        They are found through /proc; on a system without it, none are.
        """
        identity = msgspec.json.decode(handle, type=_Identity)
        leader = _stat(identity.pid)
        if identity.boot != _boot_id() or (leader and leader.start != identity.start):
            return []  # another boot, or the pid was taken over by a stranger
        found = []
        for entry in _PROC.iterdir() if _PROC.is_dir() else ():
            stat = _stat(int(entry.name)) if entry.name.isdigit() else None
            if stat and stat.session == identity.pid and stat.start >= identity.start:
                found.append(int(entry.name))
        return found

    @classmethod
    def kill_remains(cls, handle: str) -> list[int]:
        """Kill what still runs of a group whose server died; return the pids."""
        killed: list[int] = []
        # A member may fork while we look; another round finds the child.
        while left := [pid for pid in cls.members(handle) if pid not in killed]:
            for pid in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            killed += left
        return killed


@dataclass(frozen=True, slots=True)
class _Stat:
    session: int
    start: int


def _stat(pid: int) -> _Stat | None:
    """From /proc/PID/stat; see proc_pid_stat(5). None if there is no such process, or only its
    zombie."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The second field, the name, may hold any byte; fields count on from the third.
    fields = text[text.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return _Stat(session=int(fields[3]), start=int(fields[19]))


def _boot_id() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return ""
