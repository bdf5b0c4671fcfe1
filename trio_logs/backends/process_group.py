"""A process and its descendants: waited for, signalled and, after a crash, found again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial

import trio

from ..threads import Threads
from .posix_spawn import Child
from .process_table import Identity, Member, SessionScan

__all__ = ["ProcessGroup"]

END_SECONDS = 5.0
"""How long `end` waits for a killed child: enough for the scans of /proc when 100 workloads end at
once. A child outlives SIGKILL while the kernel holds it, as in a read from a dead network disk, or
while a debugger holds it."""

POLL_SECONDS = 0.05
"""How often a child is looked at where the kernel can't announce its end."""

LOOKS = 3
"""Looks that have to find no member. Only the first one examines all processes."""

MAX_UNSURE = 5
"""Looks more, at most, where processes of others vanish before their examination."""


class ProcessGroup:
    """A child that leads a session of its own, and the other processes of that session.

    These are the members of its process group, and of groups that the session made later, as
    `timeout` and shells with job control do. The child is reaped by `end` or `reap` only: until
    then no stranger can get its pid, which is the id of the group and of the session.

    No method blocks Trio's thread: /proc is scanned in `threads`.
    """

    def __init__(self, process: Child | subprocess.Popen[bytes], threads: Threads) -> None:
        self._process = process
        self._threads = threads

    @cached_property
    def handle(self) -> str:
        """The argument of `members` and `kill_remains`. Take it first while the child runs.

        Raises OSError if /proc can't be read, as when no file descriptor is free.
        """
        return Identity.of(self._process.pid).encode()

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

    async def send(self, number: signal.Signals, *, apart_from: int = 0) -> None:
        """Send a signal to all members, but not to the process group `apart_from`. A cancellation
        may leave out those outside the child's process group."""
        if apart_from != self._process.pid:
            self._send_to_group(number)
        # Without a free descriptor, no other member can be found now.
        with suppress(OSError):
            send = partial(_send_to_others, self.handle, number, apart_from)
            await self._threads.run(send, abandon_on_cancel=True)

    def _send_to_group(self, number: signal.Signals) -> None:
        # No process is left, or (macOS) only zombies are.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def has_members(self) -> bool:
        """Whether any member still runs; True if /proc can't be read."""
        try:
            find = partial(self.members, self.handle)
            return bool(await self._threads.run(find, abandon_on_cancel=True))
        except OSError:
            return True  # no file descriptor is free

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

        Use a thread, as for `SessionScan`. Raises OSError if /proc can't be read.
        """
        return [member.pid for member in SessionScan(Identity.decode(handle)).look()]

    @classmethod
    async def kill_remains(cls, handle: str, threads: Threads) -> list[int]:
        """Kill the running members of a group; return their pids. Raises OSError as `members`.

        A member may fork and exit during a look, and the next look finds its child. So it ends
        once several looks in a row have found nothing.
        """
        killed: list[int] = []
        scan = SessionScan(Identity.decode(handle))
        # A call of its own after each find, so that a fork bomb can't keep a thread for ever.
        while found := await threads.run(
            partial(_kill_found, scan, killed), abandon_on_cancel=True
        ):
            killed += found
        return killed


async def _poll(is_over: Callable[[], bool]) -> None:
    """Wait for a state that the kernel doesn't announce."""
    while True:
        if is_over():
            return
        await trio.sleep(POLL_SECONDS)


def _kill_found(scan: SessionScan, killed: Sequence[int]) -> list[int]:
    """Look until a look finds members that are not yet in `killed`, or several find none. Kill
    those members; return their pids."""
    found: list[int] = []
    quiet = unsure = 0
    while not found and quiet < LOOKS and unsure < MAX_UNSURE:
        for member in scan.look():
            if member.pid not in killed:
                found.append(member.pid)
                _kill(member)
        if scan.is_sure:
            quiet += 1
        else:
            unsure += 1
    return found


def _kill(member: Member) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if member.group == member.pid:
            # Its child, which may have been born just now, is in its group.
            os.killpg(member.group, signal.SIGKILL)
        else:
            os.kill(member.pid, signal.SIGKILL)


def _send_to_others(handle: str, number: signal.Signals, apart_from: int) -> None:
    """Send a signal to the members outside these process groups: the child's, and `apart_from`."""
    others = {Identity.decode(handle).pid, apart_from}
    for member in SessionScan(Identity.decode(handle)).look():
        if member.group not in others:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(member.pid, number)
