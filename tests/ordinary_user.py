"""A service of an ordinary user, in a control group that is delegated to that user.

Run it as root, with the folder of an empty group: it enters the group, and becomes that user. It
prints what was found out, as JSON: what is left of a daemon, what was logged, and the groups.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import trio
from structlog.testing import capture_logs

from tests.test_process import run
from trio_logs.backends import proc

NOBODY = 65534

DAEMON = "setsid sh -c 'sleep 600 >/dev/null 2>&1 & echo $!'"
"""A command that leaves a daemon in a session of its own, and prints its pid."""


async def end_daemon() -> bool:
    """Whether a daemon has ended with its command."""
    pid = int((await run("sh", "-c", DAEMON)).written["stdout"])
    stat = proc.stat(pid)
    return stat is None or stat.is_zombie


async def run_setuid() -> str:
    """The output of a command that runs as root."""
    return (await run("umount", "--version")).written["stdout"].decode()


def main(group: Path) -> None:
    # What Python imports later, the user could not read.
    trio.run(run_setuid)
    (group / "cgroup.procs").write_text(str(os.getpid()))
    # Somebody else's process, which /proc may hide.
    (group / f"trio-logs-1-1-{'0' * 16}").mkdir()
    # As systemd does with `Delegate=`.
    for path in (group, *(group / f"cgroup.{name}" for name in ("procs", "threads"))):
        os.chown(path, NOBODY, NOBODY)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    with capture_logs() as logs:
        found = {
            "ended": trio.run(end_daemon),
            "setuid": trio.run(run_setuid),
            "logs": [each["event"] for each in logs],
            "groups": [each.name for each in group.iterdir() if each.is_dir()],
        }
    print(json.dumps(found))


main(Path(sys.argv[1]))
