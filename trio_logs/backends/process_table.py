"""Which processes run, and which of them belong to a session or to a control group."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial

from ..threads import Threads
from . import proc
from .process_births import Births
from .process_identity import Identity, Member
from .process_search import Found, Search, Sessions

__all__ = ["ProcessTable"]

KNOWN_SECONDS = 1.0
"""How long the table knows the session of a process without a new examination: the process may
start a session of its own."""

_HIDDEN = -1
"""The session of a zombie, and of a process that /proc hides."""

_PIDS = 2**22
"""The largest pid_max; see proc_sys_kernel(5)."""


class ProcessTable:
    """Looks for the running processes of sessions and control groups. A look costs milliseconds,
    and up to 0.2 s more where processes are born all the time. So all tasks that ask while one is
    under way share the next one.

    Use it in Trio's thread. `threads` has one thread: it makes all looks. A system without /proc
    shows no processes.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        # For the next look. Bound: the tasks that wait for it, a few for each workload.
        self._asked: deque[Search] = deque()
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
    ) -> Found:
        """Find the running processes of the control group of `leader`, and of the session that it
        started.

        The thread calls `visit` with each one as soon as it has found it. With `kills`, the kernel
        kills the processes in the control group, which are not visited, and the group is removed
        once it is empty. Such a look also searches for processes that are born meanwhile.

        A cancellation returns at once: a look that is under way, and its visits, go on. Raises
        OSError if /proc can't be read, as when no file descriptor is free.
        """
        search = Search(leader, visit, kills)
        self._asked.append(search)
        try:
            await self._threads.run(partial(self._answer, search), abandon_on_cancel=True)
        finally:
            with suppress(ValueError):
                self._asked.remove(search)
        return search.answer()

    def _answer(self, search: Search) -> None:
        """Make one look for this search and all others that wait, unless that is done already."""
        if search.is_done:
            return
        searches = []
        # Trio's thread may append meanwhile: only what is taken here is answered.
        while self._asked:
            searches.append(self._asked.popleft())
        try:
            self._look(searches)
        except Exception as error:  # each task raises it
            for each in searches:
                each.error = error
        for each in searches:
            each.is_done = True

    def _look(self, searches: Collection[Search]) -> None:
        for search in searches:
            try:
                search.look_into_cgroup()
            except OSError as error:
                search.error = error
        wanted = Sessions(each for each in searches if not each.leader.is_replaced())
        if not wanted:
            return
        kills = any(search.kills for search in searches)
        births = Births()
        listed = proc.listed()
        if kills:
            # Before the list: its examination takes so long that a chain gets far ahead.
            births.examine(wanted)
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
                wanted.miss()
            else:
                self._sessions[process] = _HIDDEN if stat.is_zombie else stat.session
                wanted.tell(pid, stat)
        if kills:
            births.examine(wanted)
            if births.are_examined:
                wanted.miss_none()

    def _forget(self, listed: Collection[tuple[int, int]]) -> None:
        """Forget the sessions of processes that are gone, and all sessions once they are old."""
        if time.monotonic() - self._known_since > KNOWN_SECONDS:
            self._known_since = time.monotonic()
            self._sessions = {}
        self._sessions = {each: self._sessions[each] for each in listed if each in self._sessions}
