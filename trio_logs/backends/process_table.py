"""Which processes run, and which of them belong to a session or to a control group."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from ..threads import Threads
from . import cgroup, proc
from .proc import Stat
from .process_identity import Identity, Member

__all__ = ["Found", "ProcessTable"]

KNOWN_SECONDS = 1.0
"""How long the table knows the session of a process without a new examination: the process may
start a session of its own."""

CHASE_SECONDS = 0.1
"""How long a chase goes on at most, if it finds members all the time."""

_HIDDEN = -1
"""The session of a zombie, and of a process that /proc hides."""

_PIDS = 2**22
"""The largest pid_max; see proc_sys_kernel(5)."""


class ProcessTable:
    """Looks for the running processes of sessions and control groups. A look at /proc costs some
    milliseconds, so all tasks that ask while one is under way share the next one.

    Use it in Trio's thread. `threads` has one thread: it makes all looks. A system without /proc
    shows no processes.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        # For the next look. Bound: the tasks that wait for it, a few for each workload.
        self._asked: deque[_Search] = deque()
        # Used in the thread alone: the session of each process, by its pid and the inode of its
        # folder in /proc, and when that was found out. A fork bomb wraps small pids in a second;
        # the next process with a pid has a new inode.
        self._sessions: dict[tuple[int, int], int] = {}
        self._known_since = -math.inf

    async def look(
        self,
        leader: Identity,
        visit: Callable[[Member], None] | None = None,
        *,
        kills: bool = False,
        chases: bool = False,
    ) -> Found:
        """Find the running processes of the control group of `leader`, and of the session that it
        started.

        The thread calls `visit` with each one as soon as it has found it. With `kills`, the kernel
        has killed those in the control group by then, and the group is removed once it is empty.
        With `chases`, the look also searches for processes that fork and exit meanwhile.

        A cancellation returns at once: a look that is under way, and its visits, go on. Raises
        OSError if /proc can't be read, as when no file descriptor is free.
        """
        search = _Search(leader, visit, kills, chases)
        self._asked.append(search)
        try:
            await self._threads.run(partial(self._answer, search), abandon_on_cancel=True)
        finally:
            with suppress(ValueError):
                self._asked.remove(search)
        if search.error is not None:
            raise search.error
        return Found(list(search.members.values()), search.is_sure, search.is_last)

    def _answer(self, search: _Search) -> None:
        """Make one look for this search and all others that wait, unless that is done already."""
        if search.is_done:
            return
        searches = []
        # Trio's thread may append meanwhile: only what is taken here is answered.
        while self._asked:
            searches.append(self._asked.popleft())
        try:
            self._look(searches)
        except OSError as error:
            for each in searches:
                each.error = error
        for each in searches:
            each.is_done = True

    def _look(self, searches: Iterable[_Search]) -> None:
        for search in searches:
            _look_into_cgroup(search)
        wanted: dict[int, list[_Search]] = {}
        for search in searches:
            if not search.leader.is_replaced():
                wanted.setdefault(search.leader.pid, []).append(search)
        if not wanted:
            return
        begun = time.monotonic()
        listed = proc.listed()
        self._forget(listed.items())
        # A child of the service leaves this session when it starts.
        ours = os.getsid(0)
        newest = proc.newest()
        # The newest first: a process that forks and exits at once is still there.
        for process in sorted(listed.items(), key=lambda each: (newest - each[0]) % _PIDS):
            pid, _ = process
            session = self._sessions.get(process, ours)
            if session != ours and session not in wanted:
                continue
            try:
                stat = proc.stat(pid)
            except PermissionError:
                self._sessions[process] = _HIDDEN  # another user's, where /proc hides these
                continue
            if stat is None:
                # One that exits before its examination may have forked.
                for search in chain.from_iterable(wanted.values()):
                    search.is_sure = False
                continue
            self._sessions[process] = _HIDDEN if stat.is_zombie else stat.session
            _tell(wanted, pid, stat)
        if any(search.chases for search in searches):
            is_sure = _chase(wanted, time.monotonic() - begun)
            for search in chain.from_iterable(wanted.values()):
                search.is_sure = is_sure

    def _forget(self, listed: Collection[tuple[int, int]]) -> None:
        """Forget the sessions of processes that are gone, and all sessions once they are old."""
        if time.monotonic() - self._known_since > KNOWN_SECONDS:
            self._known_since = time.monotonic()
            self._sessions = {}
        self._sessions = {each: self._sessions[each] for each in listed if each in self._sessions}


class _Search:
    """One task's question; the thread answers it."""

    def __init__(
        self,
        leader: Identity,
        visit: Callable[[Member], None] | None,
        kills: bool,
        chases: bool,
    ) -> None:
        self.leader = leader
        # By pid and start: most processes are found in the control group and in the session.
        self.members: dict[tuple[int, int], Member] = {}
        self.is_sure = True
        self.is_last = False
        self.is_done = False
        self.error: OSError | None = None
        self.kills = kills
        self.chases = chases
        self._visit = visit

    def found(self, pid: int, stat: Stat) -> None:
        """The thread has found a process."""
        if (pid, stat.start) in self.members:
            return
        member = self.members[pid, stat.start] = Member(pid, stat.group, stat.start)
        if self._visit is not None:
            self._visit(member)


@dataclass(frozen=True, slots=True)
class Found:
    """What a look has found. `is_sure`: there can't have been other members, since no process
    exited before its examination. `is_last`: there is no need for another look, since the kernel
    has removed the control group, and so no process was in it."""

    members: list[Member]
    is_sure: bool
    is_last: bool = False


def _tell(wanted: Mapping[int, Iterable[_Search]], pid: int, stat: Stat) -> bool:
    """Report a process to the searches for its session; return whether there are any."""
    searches = () if stat.is_zombie else wanted.get(stat.session, ())
    for search in searches:
        # A process older than the leader belongs to an earlier session with the same id.
        if stat.start >= search.leader.start:
            search.found(pid, stat)
    return bool(searches)


def _look_into_cgroup(search: _Search) -> None:
    """Report the processes in the control group of the search. With `kills`, kill them first."""
    leader = search.leader
    if not leader.cgroup or leader.boot != proc.boot_id():
        return
    look = cgroup.end if search.kills else cgroup.processes
    pids = look(leader.cgroup)
    if pids is None:
        # All that the leader started was born in its group, if it has entered that at all.
        path = proc.cgroup_path(leader.pid)
        search.is_last = path is not None and path.name == Path(leader.cgroup).name
    for pid in pids or ():
        with suppress(PermissionError):
            if (stat := proc.stat(pid)) is not None and not stat.is_zombie:
                search.found(pid, stat)


def _chase(wanted: Mapping[int, Iterable[_Search]], seconds: float) -> bool:
    """Examine the newest process, until for so long none was a member; return whether that was so.

    In a chain, each link forks the next one and exits. If a link is gone before the look that lists
    it has examined it, the next one is the newest process for a moment, sooner than a look takes.
    """
    examined = 0
    now = time.monotonic()
    last, quiet = now + seconds + CHASE_SECONDS, now + seconds
    while now < quiet:
        if now > last:
            return False
        pid = proc.newest()
        if pid != examined:
            examined = pid
            with suppress(PermissionError):
                if (stat := proc.stat(pid)) is not None and _tell(wanted, pid, stat):
                    quiet = time.monotonic() + seconds
        now = time.monotonic()
    return True
