"""The questions that one look for processes answers, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from . import cgroup, proc
from .proc import Stat
from .process_identity import Identity, Member

__all__ = ["Found", "Search", "Sessions"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a look has found.

    `is_sure`: it has missed no member. `is_populated`: a process runs in the control group, though
    it may be none of `members`, where /proc hides it. `is_last`: the control group of the command
    was empty, and is removed. If such a look is also sure, and found no member, none is left.
    """

    members: list[Member]
    is_sure: bool
    is_populated: bool = False
    is_last: bool = False


class Search:
    """One task's question; the thread of the table answers it."""

    def __init__(
        self, leader: Identity, visit: Callable[[Member], None] | None, kills: bool
    ) -> None:
        self.leader = leader
        self.kills = kills
        self.is_sure = True
        self.is_done = False
        self.error: Exception | None = None
        self._visit = visit
        # By pid and start: most processes are found in the control group and in the session.
        self._members: dict[tuple[int, int], Member] = {}
        self._is_populated = self._is_last = False

    def found(self, pid: int, stat: Stat, *, is_killed: bool = False) -> None:
        """The thread has found a process. `is_killed`: there is no need to visit it."""
        if (pid, stat.start) in self._members:
            return
        member = self._members[pid, stat.start] = Member(pid, stat.group, stat.start)
        if self._visit is not None and not is_killed:
            self._visit(member)

    def answer(self) -> Found:
        """What the look has found. Raises the exception of the look."""
        if self.error is not None:
            raise self.error
        members = list(self._members.values())
        return Found(members, self.is_sure, self._is_populated, self._is_last)

    def look_into_cgroup(self) -> None:
        """Find the processes in the control group. With `kills`, have the kernel kill them first.
        Raises OSError if no file descriptor is free."""
        if not self.leader.cgroup or self.leader.boot != proc.boot_id():
            return
        group = Path(self.leader.cgroup)
        is_killed = False
        if self.kills:
            if cgroup.remove(group):
                # If the leader never entered its group, the empty group proves nothing.
                path = proc.cgroup_path(self.leader.pid)
                self._is_last = path is not None and path.name == group.name
                return
            self._is_populated = True
            is_killed = cgroup.kill(group)
        for pid in cgroup.processes(group):
            with suppress(PermissionError):
                stat = proc.stat(pid)
                # Read the group last: it tells whether the pid is still a member's.
                path = proc.cgroup_path(pid)
                is_member = path is not None and group.name in path.parts
                if is_member and stat is not None and not stat.is_zombie:
                    self.found(pid, stat, is_killed=is_killed)


class Sessions:
    """The searches of one look, by the sessions of their leaders. It is empty if there is none."""

    def __init__(self, searches: Iterable[Search]) -> None:
        self._searches: dict[int, list[Search]] = {}
        for search in searches:
            self._searches.setdefault(search.leader.pid, []).append(search)

    def __len__(self) -> int:
        return len(self._searches)

    def __contains__(self, session: int) -> bool:
        return session in self._searches

    def tell(self, pid: int, stat: Stat) -> bool:
        """Report a process; return whether it is a member, and so may have forked."""
        searches = self._searches.get(stat.session, [])
        if stat.is_zombie and pid == stat.session:
            return False  # the leader, which stays a zombie until it is reaped
        for search in searches:
            if stat.is_zombie:
                search.is_sure = False
            # A process older than the leader belongs to an earlier session with the same id.
            elif stat.start >= search.leader.start:
                search.found(pid, stat)
        return bool(searches)

    def miss(self) -> None:
        """A process exited before its examination: it may have been a member that forked."""
        self._set_sure(False)

    def miss_none(self) -> None:
        """All processes that were born meanwhile were examined, so none was missed."""
        self._set_sure(True)

    def _set_sure(self, is_sure: bool) -> None:
        for searches in self._searches.values():
            for search in searches:
                search.is_sure = is_sure
