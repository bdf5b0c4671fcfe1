"""A process and its descendants: waited for, signalled and, after a crash, found again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import msgspec
import trio

from ..threads import Threads

__all__ = ["ProcessGroup"]

_PROC = Path("/proc")

END_SECONDS = 5.0
"""How long `end` waits for a killed child: enough for the scans of /proc when 100 workloads end at
once. A child outlives SIGKILL while the kernel holds it, as in a read from a dead network disk, or
while a debugger holds it."""

POLL_SECONDS = 0.05
"""How often a child is looked at where the kernel can't announce its end."""


@dataclass(frozen=True, slots=True)
class _Identity:
    """Tells a process from a later one with the same pid. `start` is in clock ticks since boot."""

    pid: int
    start: int
    boot: str


class ProcessGroup:
    """A child that leads a session of its own, and the other processes of that session.

    These are the members of its process group, and of groups that the session made later, as
    `timeout` and shells with job control do. The child is reaped by `end` or `reap` only: until
    then no stranger can get its pid, which is the id of the group and of the session.

    No method blocks Trio's thread: /proc is scanned in `threads`.
    """

    def __init__(self, process: subprocess.Popen[bytes], threads: Threads) -> None:
        self._process = process
        self._threads = threads

    @cached_property
    def handle(self) -> str:
        """The argument of `members` and `kill_remains`. Take it first while the child runs.

        Raises OSError if /proc can't be read, as when no file descriptor is free.
        """
        stat = _stat(self._process.pid)
        identity = _Identity(self._process.pid, stat.start if stat else 0, _boot_id())
        return msgspec.json.encode(identity).decode()

    async def wait(self) -> None:
        """Wait until the child exits. It is not reaped, and other members may go on."""
        try:
            pidfd = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):
            # Not Linux, or no file descriptor is free.
            await _poll(self._has_exited)
            return
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)

    def _has_exited(self) -> bool:
        try:
            return self._peek() is not None
        except ChildProcessError:
            return True  # other code of this process has reaped it

    def _peek(self) -> os.waitid_result | None:
        flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return os.waitid(os.P_PID, self._process.pid, flags)

    @property
    def exit_code(self) -> int | None:
        """As `Popen.returncode`, negative for a signal, and also known before the child is reaped.
        None while the child runs, or a debugger holds it."""
        if self._process.returncode is None:
            with suppress(ChildProcessError):
                if (found := self._peek()) is not None:
                    exited = found.si_code == os.CLD_EXITED
                    return found.si_status if exited else -found.si_status
        return self._process.returncode

    async def send(self, number: signal.Signals) -> None:
        """Send a signal to all members. A cancellation may leave out those outside the child's
        process group."""
        self._send_to_group(number)
        # Without a free descriptor, no other member can be found now.
        with suppress(OSError):
            await self._threads.run(
                partial(_send_to_others, self.handle, number), abandon_on_cancel=True
            )

    def _send_to_group(self, number: signal.Signals) -> None:
        # No process is left, or (macOS) only zombies are.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def has_members(self) -> bool:
        """Whether any member still runs. False if /proc can't be read."""
        with suppress(OSError):
            find = partial(self.members, self.handle)
            return bool(await self._threads.run(find, abandon_on_cancel=True))
        return False

    async def end(self) -> bool:
        """Kill all members and reap the child; return whether it is reaped.

        A cancellation waits for this, `END_SECONDS` at most. If it returns False, an owner that
        lives on has to run `reap`.
        """
        with trio.move_on_after(END_SECONDS, shield=True):
            await self.reap()
        return self._process.returncode is not None

    async def reap(self) -> None:
        """Kill all members and reap the child, however long that takes."""
        # At once, without a thread: this reaches most members whatever the threads do.
        self._send_to_group(signal.SIGKILL)
        all_killed = await self._kill_all()
        await self.wait()
        # The child keeps its pid, which identifies its session, until the other members are killed.
        while not all_killed:
            await trio.sleep(POLL_SECONDS)
            all_killed = await self._kill_all()
        # A debugger's wait comes first: until then, the child has exited, and can't be reaped.
        await _poll(lambda: self._process.poll() is not None)

    async def _kill_all(self) -> bool:
        with suppress(OSError):  # no file descriptor is free
            await self.kill_remains(self.handle, self._threads)
            return True
        return False

    @staticmethod
    def members(handle: str) -> list[int]:
        """The pids of the running members of a group that this or an earlier server started.

        It reads /proc for every process of the machine: use a thread. A system without /proc shows
        no members. Raises OSError if /proc can't be read.
        """
        identity = msgspec.json.decode(handle, type=_Identity)
        leader = _stat(identity.pid)
        if identity.boot != _boot_id() or (leader and leader.start != identity.start):
            return []  # another boot, or a stranger has the pid now
        found = []
        for entry in _PROC.iterdir() if _PROC.is_dir() else ():
            stat = _stat(int(entry.name)) if entry.name.isdigit() else None
            if stat and stat.session == identity.pid and stat.start >= identity.start:
                found.append(int(entry.name))
        return found

    @classmethod
    async def kill_remains(cls, handle: str, threads: Threads) -> list[int]:
        """Kill the running members of a group; return their pids. Raises OSError as `members`."""
        killed: list[int] = []
        # A member may fork during a scan; the next scan finds its child. Each scan is a call of its
        # own, so that a fork bomb can't keep a thread for ever.
        while left := await threads.run(
            partial(_kill_others, handle, killed), abandon_on_cancel=True
        ):
            killed += left
        return killed


async def _poll(is_over: Callable[[], bool]) -> None:
    """Wait for a state that the kernel doesn't announce."""
    while True:
        if is_over():
            return
        await trio.sleep(POLL_SECONDS)


def _kill_others(handle: str, killed: Sequence[int]) -> list[int]:
    """Kill the members that are not yet in `killed`; return their pids."""
    found = [pid for pid in ProcessGroup.members(handle) if pid not in killed]
    for pid in found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return found


def _send_to_others(handle: str, number: signal.Signals) -> None:
    """Send a signal to the members outside the process group of the child."""
    leader = msgspec.json.decode(handle, type=_Identity).pid
    for pid in ProcessGroup.members(handle):
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) != leader:
                os.kill(pid, number)


@dataclass(frozen=True, slots=True)
class _Stat:
    session: int
    start: int


def _stat(pid: int) -> _Stat | None:
    """Two fields of /proc/PID/stat; see proc_pid_stat(5). None without such a process, or if it is
    a zombie."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The second field, the name, may hold any byte; the third follows its last parenthesis.
    fields = text[text.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return _Stat(session=int(fields[3]), start=int(fields[19]))


@cache
def _boot_id() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return ""
