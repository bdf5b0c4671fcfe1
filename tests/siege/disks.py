"""A disk that hangs, is slow, fails each write, or does not sync."""

from __future__ import annotations

import errno
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import apsw
import httpx2
import pytest

from tests.command_line import PROGRAM
from tests.live import parse_events
from tests.preloaded_disk import CHANGES, COMPILER, PreloadedDisk
from tests.server_process import ServerProcess
from tests.siege import case
from tests.siege.trial import Trial
from trio_logs.broker.commits import Commits
from trio_logs.errors import StoreError
from trio_logs.service import Service
from trio_logs.store.sqlite.transactions import Transactions

MIB = 1024 * 1024

WRITER = "i=0; while [ ! -e {gate} ]; do i=$((i+1)); echo line $i; sleep 0.01; done"
"""A workload that writes a line a hundred times a second until a file is there."""


@contextmanager
def disk_of(trial: Trial) -> Iterator[PreloadedDisk]:
    """The disk of the data folder."""
    trial.need(COMPILER, "a C compiler")
    trial.data.mkdir(mode=0o700)
    disk = PreloadedDisk(trial.folder / "rules", trial.data)
    try:
        yield disk
    finally:
        disk.healthy()


def submit(server: ServerProcess, *command: str) -> str:
    answer = server.post("/v1/workloads", {"command": command})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def start_writer(server: ServerProcess, trial: Trial) -> str:
    """Start it, and wait for its first lines."""
    writer = submit(server, "sh", "-c", WRITER.format(gate=trial.folder / "gate"))
    trial.wait_for(lambda: server.get(f"/v1/workloads/{writer}").json()["lines"] > 0)
    return writer


def check_log(server: ServerProcess, workload: str, *, gaps_allowed: bool) -> None:
    """The log has ended, and each line of it is there once, or in a gap that says why."""
    events = parse_events(server.get(f"/v1/workloads/{workload}/logs").content)
    place = 1
    for name, number, content in events[:-1]:
        if name == "gap":
            assert gaps_allowed, content
            assert (content["from"], content["reason"]) == (place, "store"), content
            place = content["to"] + 1
        else:
            assert (number, content) == (str(place), f"line {place}")
            place += 1
    name, _, content = events[-1]
    assert (name, content["lines"], content["status"]) == ("end", place - 1, "succeeded")


def status_of(server: ServerProcess) -> int:
    return server.get("/readyz").status_code


# Patches that belong to the checks.


def ready_at_once(patch: pytest.MonkeyPatch) -> None:
    """`/readyz` tells after a fraction of a second."""
    patch.setattr("trio_logs.api.metrics.STORE_WAIT_SECONDS", 0.2)


def close_soon(patch: pytest.MonkeyPatch) -> None:
    """The close of the store gives a disk that hangs less time, and so does a start."""
    patch.setattr("trio_logs.store.sqlite.database.CLOSE_SECONDS", 0.2)
    patch.setattr("trio_logs.store.sqlite.database.READS_SECONDS", 0.1)
    patch.setattr("trio_logs.cli.serving.START_SECONDS", 0.2)


def patches(trial: Trial) -> tuple[Callable[[pytest.MonkeyPatch], None], ...]:
    return (ready_at_once, close_soon) if trial.is_short else ()


# Faults.


def threads_keep_the_process(patch: pytest.MonkeyPatch) -> None:
    """Python waits for each thread at the end, also for one that hangs."""
    start: Any = threading.Thread.start

    def careless(thread: threading.Thread) -> None:
        thread.daemon = False
        start(thread)

    patch.setattr(threading.Thread, "start", careless)


def be_always_ready(patch: pytest.MonkeyPatch) -> None:
    """`/readyz` ignores how long writes wait."""
    patch.setattr(Service, "store_wait", lambda service: 0.0)


def ignore_failed_checkpoints(patch: pytest.MonkeyPatch) -> None:
    """A failed checkpoint does not stop writes, as in SQLite itself."""
    checkpoint: Any = Transactions.checkpoint

    def careless(transactions: Transactions, *arguments: Any) -> None:
        try:
            checkpoint(transactions, *arguments)
        except apsw.Error:
            transactions._has_failed = False

    patch.setattr(Transactions, "checkpoint", careless)


def take_failures_for_success(patch: pytest.MonkeyPatch) -> None:
    """Lines that the store did not take count as stored."""
    append: Any = Commits._append

    async def careless(commits: Commits, *arguments: Any) -> None:
        try:
            await append(commits, *arguments)
        except StoreError:
            if commits.ending is not None:
                raise

    patch.setattr(Commits, "_append", careless)


@case(threads_keep_the_process, in_suite=True)
def hung(trial: Trial) -> None:
    """Two signals end the service, whatever its threads do."""
    with (
        disk_of(trial) as disk,
        trial.server(prefix=disk.prefix, patches=patches(trial)) as server,
    ):
        start_writer(server, trial)
        with trial.healthy(server):
            disk.hang(*CHANGES, "read")
            trial.wait_for(lambda: disk.met("write") > 0)
            trial.wait_for(lambda: status_of(server) == 503)
        # The second signal comes once the first one has been heard, which `/readyz` tells.
        server.process.terminate()
        trial.wait_for(lambda: "shutting down" in "".join(server.lines))
        server.process.terminate()
        # The close of the store has 5 s; the rest takes no time.
        server.process.wait(trial.patience if trial.is_short else 10)


@case(threads_keep_the_process)
def hung_shutdown(trial: Trial) -> None:
    """One signal: what the documentation adds up to for a grace of 1 s is 26 s."""
    with disk_of(trial) as disk, trial.server("--grace", "1", prefix=disk.prefix) as server:
        start_writer(server, trial)
        disk.hang(*CHANGES, "read")
        trial.wait_for(lambda: disk.met("write") > 0)
        start = time.monotonic()
        server.process.terminate()
        assert server.process.wait(40 if trial.plant is None else 30) == 1
        assert time.monotonic() - start < 30
        assert any("lines are lost" in line for line in server.lines)


@case(threads_keep_the_process)
def hung_start(trial: Trial) -> None:
    """A signal ends a start that waits for the disk."""
    with disk_of(trial) as disk:
        with trial.server(prefix=disk.prefix) as server:
            assert server.stop() == 0
        disk.hang(*CHANGES, "read")
        command = [
            *disk.prefix,
            *trial.prefix(*patches(trial)),
            *PROGRAM,
            "serve",
            "--data",
            str(trial.data),
        ]
        with subprocess.Popen([*command, "--bind", "127.0.0.1:0"]) as process:
            try:
                trial.wait_for(
                    lambda: disk.met("write") + disk.met("truncate") + disk.met("read") > 0
                )
                process.terminate()
                assert process.wait(trial.patience) == 0
            finally:
                process.kill()


@case(be_always_ready)
def slow(trial: Trial) -> None:
    """Each change takes a second: the service waits, says so, and loses nothing."""
    with (
        disk_of(trial) as disk,
        trial.server(prefix=disk.prefix, patches=patches(trial)) as server,
    ):
        writer = start_writer(server, trial)
        with trial.healthy(server):
            disk.slow(0.3 if trial.is_short else 1)
            # The writes of more tasks wait for more of them.
            for _ in range(1 if trial.is_short else 4):
                threading.Thread(target=_submit_quietly, args=(server,)).start()
            trial.wait_for(lambda: status_of(server) == 503)
            assert server.metric("trio_logs_store_oldest_wait_seconds") > 0
        disk.healthy()
        (trial.folder / "gate").touch()
        trial.wait_for(lambda: status_of(server) == 200)
        check_log(server, writer, gaps_allowed=False)
        assert server.stop() == 0


def _submit_quietly(server: ServerProcess) -> None:
    with suppress(httpx2.HTTPError):
        server.post("/v1/workloads", {"command": ["true"]})


def _breaks(trial: Trial, code: int) -> None:
    """Each write fails for longer than the patience."""
    with (
        disk_of(trial) as disk,
        trial.server(
            "--store-patience", "0.5", prefix=disk.prefix, patches=patches(trial)
        ) as server,
    ):
        writer = start_writer(server, trial)
        with trial.healthy(server):
            disk.fail("write", code=code)
            # Lines are delivered from memory then.
            trial.wait_for(lambda: server.metric("trio_logs_lines_unsaved") > 5)
            trial.wait_for(lambda: status_of(server) == 503)
            answer = server.post("/v1/workloads", {"command": ["true"]})
            assert (answer.status_code, answer.json()["reason"]) == (503, "store")
        disk.healthy()
        trial.wait_for(lambda: status_of(server) == 200)
        (trial.folder / "gate").touch()
        check_log(server, writer, gaps_allowed=True)
        assert server.stop() == 0
        assert not any("Traceback" in line for line in server.lines)


@case(take_failures_for_success)
def io_error(trial: Trial) -> None:
    """EIO: lines come from memory, and are stored once the disk works."""
    _breaks(trial, errno.EIO)


@case(take_failures_for_success)
def no_space(trial: Trial) -> None:
    """ENOSPC, with which not even the reserve helps."""
    _breaks(trial, errno.ENOSPC)


@case(ignore_failed_checkpoints)
def no_sync(trial: Trial) -> None:
    """EIO of each fdatasync: the log of SQLite does not grow on, and nothing is lost."""
    with (
        disk_of(trial) as disk,
        trial.server(prefix=disk.prefix, patches=patches(trial)) as server,
    ):
        with trial.healthy(server):
            disk.fail("sync")
            # More than the write-ahead log takes without a checkpoint: 60,000 lines.
            script = "head -c 9000000 /dev/urandom | base64 -w 200"
            large = submit(server, "sh", "-c", script)
            trial.wait_for(lambda: disk.met("sync") > 0)
            trial.wait_for(lambda: status_of(server) == 503)
            assert (trial.data / "trio_logs.db-wal").stat().st_size < 7 * MIB
        disk.healthy()
        trial.wait_for(lambda: status_of(server) == 200)
        events = parse_events(server.get(f"/v1/workloads/{large}/logs").content)
        assert [name for name, *_ in events[-1:]] == ["end"]
        assert len(events) == 60_001
        assert server.stop() == 0
