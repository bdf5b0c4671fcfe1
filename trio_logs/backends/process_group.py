"""A process and its descendants: waited for, signalled and, after a crash, found again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

import trio

from .posix_spawn import Child
from .process_identity import Identity, Member
from .process_search import Found
from .process_table import ProcessTable

__all__ = ["ProcessGroup"]

END_SECONDS = 5.0
"""How long `end` waits for a killed child: enough for the scans of /proc when 100 workloads end at
once. A child outlives SIGKILL while the kernel holds it, as in a read from a dead network disk, or
while a debugger holds it."""

POLL_SECONDS = 0.05
"""How often a child is looked at where the kernel can't announce its end, and the shortest time
between two looks for the members of one group."""

LOOKS = 3
"""Looks that have to be sure, and to find no member."""

MAX_UNSURE = 5
"""Looks without a member that were not sure, after which a kill gives up."""


class ProcessGroup:
    """A child that leads a session of its own, and the other processes of that session.

    These are the members of its process group, and of groups that the session made later, as
    `timeout` and shells with job control do. If the child has a control group, all processes in it
    are members, too. The child is reaped by `end` or `reap` only: until then no stranger
    can get its pid, which is the id of the group and of the session.

    No method blocks Trio's thread: the thread of `table` examines /proc.
    """

    def __init__(
        self, process: Child | subprocess.Popen[bytes], table: ProcessTable, cgroup: str = ""
    ) -> None:
        """`cgroup` is the folder of the child's control group, if it has one."""
        self._process = process
        self._table = table
        self._cgroup = cgroup
        self._last_found = Found([], is_sure=True)

    @cached_property
    def leader(self) -> Identity:
        """The child. Take it first while the child runs.

        Raises OSError if /proc can't be read, as when no file descriptor is free.
        """
        return Identity.of(self._process.pid, self._cgroup)

    @property
    def handle(self) -> str:
        """The argument of `kill_remains`, from `leader`."""
        return self.leader.encode()

    async def wait(self) -> None:
        """Wait until the child exits. It is not reaped, and other members may go on."""
        try:
            await _until_exit(self._process.pid, lambda: True)
        except OSError:
            await _poll(self._has_exited)

    async def wait_empty(self) -> None:
        """Wait until no member runs.

        The kernel announces the end of a process, but not of a session. So this waits for one
        member after the other, and looks for the next one in between: the wait costs no CPU.
        """
        await self.wait()
        while True:
            # Without a free descriptor, wait on: the members keep their grace.
            with suppress(OSError):
                found = await self._table.look(self.leader)
                if not found.members:
                    return
                member = found.members[0]
                await _until_exit(member.pid, member.is_same)
            # So that members which exit and fork on and on cause few looks.
            await trio.sleep(POLL_SECONDS)

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
        """Send a signal to all members, but not to the process group `apart_from`; SIGWINCH only to
        those of the session, whose terminal it is about. A cancellation may leave out those outside
        the child's process group."""
        if apart_from != self._process.pid:
            self._send_to_group(number)
        others = {self._process.pid, apart_from}

        def visit(member: Member) -> None:
            if member.group not in others:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(member.pid, number)

        # Without a free descriptor, no other member can be found now.
        with suppress(OSError):
            leader = self.leader
            if number == signal.SIGWINCH:
                leader = replace(leader, cgroup="")
            await self._table.look(leader, visit, kills=number == signal.SIGKILL)

    def _send_to_group(self, number: signal.Signals) -> None:
        # No process is left, or (macOS) only zombies are.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def end(self) -> bool:
        """Kill all members, wait until they have ended, and reap the child; return whether that is
        done.

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
            await self.kill_remains(self.leader, self._table, self._looked)
            return True
        return False

    def _looked(self, found: Found) -> None:
        self._last_found = found

    @property
    def left(self) -> int:
        """How many processes an `end` that returned False has left, at least."""
        return max(1, len({member.pid for member in self._last_found.members}))

    @staticmethod
    async def kill_remains(
        leader: Identity, table: ProcessTable, looked: Callable[[Found], None] = lambda found: None
    ) -> None:
        """Kill the running members of a group that this or an earlier service started, and wait
        until they have ended. It calls `looked` with what each look has found. Raises OSError if
        /proc can't be read, or if no file descriptor is free.

        A member may fork and exit during a look, and the next look finds its child. So it ends
        after several sure looks without a member since the last kill, or once the kernel has
        removed the control group.
        """
        # A pid alone is not enough: once the pids wrap, a new member may have that of a killed one.
        killed: set[tuple[int, int]] = set()

        def visit(member: Member) -> None:
            # A killed process may take its time.
            if (member.pid, member.start) not in killed:
                killed.add((member.pid, member.start))
                _kill(member)

        quiet = unsure = 0
        while quiet < LOOKS and unsure < MAX_UNSURE:
            before = len(killed)
            found = await table.look(leader, visit, kills=True)
            looked(found)
            if found.is_last and found.is_sure and not found.members:
                return
            if found.is_populated and not found.members:
                # Where /proc hides the processes, there is nothing to wait for.
                await trio.sleep(POLL_SECONDS)
                continue
            if len(killed) > before:
                quiet = unsure = 0
            elif found.members:
                await _until_exit(found.members[0].pid, found.members[0].is_same)
            elif found.is_sure:
                quiet += 1
            else:
                unsure += 1


async def _until_exit(pid: int, is_meant: Callable[[], bool]) -> None:
    """Wait until a process exits. `is_meant` tells whether the pid, once it is held, is still that
    process's. Raises OSError where no descriptor is free, or where the system is not Linux."""
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "no file descriptors of processes")
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if is_meant():
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


async def _poll(is_over: Callable[[], bool]) -> None:
    """Wait for a state that the kernel doesn't announce."""
    while not is_over():  # noqa: ASYNC110 - there is no event
        await trio.sleep(POLL_SECONDS)


def _kill(member: Member) -> None:
    # A child that it has forked just now is in its group; it may have left the group itself.
    for kill, number in ((os.killpg, member.group), (os.kill, member.pid)):
        with suppress(ProcessLookupError, PermissionError):
            kill(number, signal.SIGKILL)
