"""What a look for processes looks for, and what it has found."""

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
    """What a look has found. `is_sure`: it has missed no member. `is_last`: there is no need for
    another look, since the kernel has removed the control group, and so no process was in it."""

    members: list[Member]
    is_sure: bool
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
        self.error: OSError | None = None
        self._visit = visit
        # By pid and start: most processes are found in the control group and in the session.
        self._members: dict[tuple[int, int], Member] = {}
        self._is_last = False

    def found(self, pid: int, stat: Stat, *, is_killed: bool = False) -> None:
        """The thread has found a process. `is_killed`: there is no need to visit it."""
        if (pid, stat.start) in self._members:
            return
        member = self._members[pid, stat.start] = Member(pid, stat.group, stat.start)
        if self._visit is not None and not is_killed:
            self._visit(member)

    def answer(self) -> Found:
        """What the look has found. Raises the OSError of the look."""
        if self.error is not None:
            raise self.error
        return Found(list(self._members.values()), self.is_sure, self._is_last)

    def look_into_cgroup(self) -> None:
        """Find the processes in the control group. With `kills`, have the kernel kill them first.
        Raises OSError if no file descriptor is free."""
        if not self.leader.cgroup or self.leader.boot != proc.boot_id():
            return
        group = Path(self.leader.cgroup)
        pids = cgroup.end(group) if self.kills else cgroup.processes(group)
        if pids is None:
            # What the leader has started was born in its group, if it has entered that at all.
            path = proc.cgroup_path(self.leader.pid)
            self._is_last = path is not None and path.name == group.name
        for pid in pids or ():
            with suppress(PermissionError):
                stat = proc.stat(pid)
                # In this order: the pid may be another process's by now.
                path = proc.cgroup_path(pid)
                is_member = path is not None and group.name in path.parts
                if is_member and stat is not None and not stat.is_zombie:
                    self.found(pid, stat, is_killed=self.kills)


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
        """All that was missed has been found out."""
        self._set_sure(True)

    def _set_sure(self, is_sure: bool) -> None:
        for searches in self._searches.values():
            for search in searches:
                search.is_sure = is_sure
