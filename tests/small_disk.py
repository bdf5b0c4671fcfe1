"""A server on a disk that a test can fill: a file system of its own where root may mount one, or
else a limit on the size of files, beyond which the system refuses each write."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.command_line import STARTED
from tests.server_process import ServerProcess, running_server

__all__ = ["LimitedFiles", "SmallDisk", "server_on_small_disk"]

# The token is that outside: the folder there is hidden by the mount, which ends with the server.
MOUNT = """
TRIO_LOGS_TOKEN=$(cat "$0/token") && export TRIO_LOGS_TOKEN
mount -t tmpfs -o size=6m none "$0" && exec "$@"
"""

MOUNTED = ("unshare", "--mount", "sh", "-c", MOUNT)


class SmallDisk:
    """A small file system on the folder, as the process sees it."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._filler = Path(f"/proc/{pid}/root", folder.relative_to("/"), "filler")

    def fill(self) -> None:
        """Leave no room."""
        with suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink()


class LimitedFiles:
    """The files of a process can't be written to."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def fill(self) -> None:
        """Refuse each write to a file."""
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def free(self) -> None:
        """Refuse none any more."""
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, unlimited)


@contextmanager
def server_on_small_disk(
    data: Path, *arguments: str
) -> Iterator[tuple[ServerProcess, SmallDisk | LimitedFiles]]:
    """A running server, and its disk, which has a few MB."""
    data.mkdir()
    (data / "token").write_text("a-token\n")
    if _can_mount(data):
        with running_server(data, *arguments, prefix=(*MOUNTED, str(data))) as server:
            yield server, SmallDisk(server.process.pid, data)
    else:
        with running_server(data, *arguments, prefix=STARTED) as server:
            yield server, LimitedFiles(server.process.pid)


def _can_mount(folder: Path) -> bool:
    try:
        probe = subprocess.run([*MOUNTED, str(folder), "true"], check=False, capture_output=True)
    except FileNotFoundError:
        return False
    return probe.returncode == 0
