"""The processes that are born during a look."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import chain

from . import proc
from .process_search import Sessions

__all__ = ["Births"]

CHASE_SECONDS = 0.1
"""How long `examine` goes on at most, where processes are born all the time."""


class Births:
    """The processes that are born from now on. They have later pids.

    In a chain, each link forks the next one and exits. If a link is gone before its examination, or
    has left the session, it may have forked before that: its child has a later pid.

    The births up to the pid `newest` are known. `are_examined`: all of them could be examined.
    """

    def __init__(self) -> None:
        self.newest = proc.newest()
        # Where /proc does not tell the newest pid, nothing is known.
        self.are_examined = self.newest > 0

    def examine(self, wanted: Sessions) -> None:
        """Examine those that were born by now, then those that were born meanwhile, until a round
        finds none that may have forked; for `CHASE_SECONDS` at most.

        The newest come first: of a chain, only the newest link can be caught.
        """
        end = time.monotonic() + CHASE_SECONDS
        may_fork = self.newest > 0
        absent: set[int] = set()
        while may_fork:
            before, self.newest = self.newest, proc.newest()
            may_fork = False
            # A pid is given out a moment before /proc shows it.
            again, absent = absent, set()
            for pid in chain(again, proc.pids_between(before, self.newest)):
                if time.monotonic() > end:
                    self.are_examined = False
                    return
                with suppress(PermissionError):
                    stat = proc.stat(pid)
                    if stat is None:
                        if pid not in again:
                            absent.add(pid)
                            may_fork = True
                    elif stat.session == pid:
                        may_fork = True
                    # The further threads of a process have pids, too.
                    elif stat.session in wanted and proc.is_process(pid):
                        may_fork = wanted.tell(pid, stat) or may_fork
