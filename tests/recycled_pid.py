"""A new member of a session gets the pid of an earlier process while the session is killed.

Run it by `unshare --pid --fork --mount-proc`, with the kind of the earlier process: `member` of the
session, or `stranger`, of another session. It prints whether the new member was killed.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from tests.test_process import new_table
from trio_logs.backends import proc, process_table
from trio_logs.backends.process_group import ProcessGroup
from trio_logs.backends.process_identity import Identity, Member
from trio_logs.backends.process_search import Found
from trio_logs.backends.process_table import ProcessTable

LEADER = """
import os, sys
for line in sys.stdin:
    if line == "wait\\n":
        print(os.wait()[0], flush=True)
    elif pid := os.fork():
        try:
            os.setpgid(pid, pid)
        except PermissionError:
            pass  # it has done that itself
        print(pid, flush=True)
    else:
        os.setpgid(0, 0)
        os.execlp("sleep", "sleep", "600")
"""
"""A command that starts a member, or waits for one to end, and prints its pid."""


class Recycling:
    """A table whose first look finds the earlier process alone. After that look, this process has
    ended, and the new member has its pid."""

    def __init__(self, table: ProcessTable, earlier: int, recycle: Callable[[], None]) -> None:
        self._table = table
        self._earlier = earlier
        self._recycle: Callable[[], None] | None = recycle

    async def look(self, leader: Identity, visit: Callable[[Member], None], **how: bool) -> Found:
        if self._recycle is None:
            return await self._table.look(leader, visit, **how)
        listed = proc.listed
        proc.listed = lambda: {self._earlier: listed()[self._earlier]}
        found = await self._table.look(leader, visit)
        proc.listed = listed
        self._recycle()
        self._recycle = None
        return found


def main(kind: str) -> None:
    leader = subprocess.Popen(
        [sys.executable, "-S", "-c", LEADER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def ask(what: str) -> int:
        assert leader.stdin
        assert leader.stdout
        print(what, file=leader.stdin, flush=True)
        return int(leader.stdout.readline())

    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    earlier = ask("start") if kind == "member" else stranger.pid
    descriptors: list[int] = []
    # It would find the new member, whatever the table knows of its pid.
    process_table.Births.examine = lambda births, wanted: None

    def recycle() -> None:
        if kind == "member":
            assert ask("wait") == earlier
        else:
            stranger.kill()
            stranger.wait()
        # A start is known to 10 ms, and no pid recurs as fast.
        time.sleep(0.02)
        # See proc_sys_kernel(5): the next process gets the pid after this one.
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(earlier - 1))
        assert ask("start") == earlier
        descriptors.append(os.pidfd_open(earlier))

    async def kill() -> None:
        with new_table() as table:
            recycling: Any = Recycling(table, earlier, recycle)
            await ProcessGroup.kill_remains(Identity.of(leader.pid), recycling)

    trio.run(kill)
    print("killed" if select.select(descriptors, [], [], 5)[0] else "alive")


main(sys.argv[1])
