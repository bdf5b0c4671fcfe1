"""A real file system that is full, and is left from within."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.command_line import PROGRAM, environment
from tests.server_process import ServerProcess
from tests.siege import case
from tests.siege.disks import submit
from tests.siege.trial import Trial
from trio_logs.store.sqlite.reserve import Reserve

SIZE = "32m"
MOUNT = f"""
mountpoint -q "$0" || mount -t tmpfs -o size={SIZE} none "$0" || exit 99
[ -e "$0/token" ] || (umask 077; echo a-token > "$0/token")
exec "$@"
"""


def have_no_reserve(patch: pytest.MonkeyPatch) -> None:
    """Nothing is kept for a full disk."""
    patch.setattr(Reserve, "take", lambda reserve: False)


class Volume:
    """The file system, as the server sees it."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self.folder = Path(f"/proc/{server.process.pid}/root", folder.relative_to("/"))

    def fill(self) -> None:
        """Leave no room."""
        with suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))


@contextmanager
def mounted(trial: Trial) -> Iterator[tuple[str, ...]]:
    """A prefix that runs commands where the file system is mounted on the data folder."""
    trial.data.mkdir(mode=0o700)
    # The mount hides this one, which is for the clients here.
    (trial.data / "token").write_text("a-token\n")
    # It holds the namespace, so that a second server finds the same file system.
    command = ["unshare", "--mount", "sh", "-c", MOUNT, str(trial.data), "cat"]
    pipe = subprocess.PIPE
    try:
        holder = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        trial.need(False, "unshare")
        raise
    with holder:
        try:
            assert holder.stdin is not None
            assert holder.stdout is not None
            with suppress(BrokenPipeError):
                holder.stdin.write(b"\n")
                holder.stdin.flush()
            trial.need(holder.stdout.read(1), "a file system that may be mounted")
            yield ("nsenter", "--mount", f"--target={holder.pid}", "--wd=.")
        finally:
            holder.kill()


def fill_with_history(trial: Trial, server: ServerProcess, folder: Path) -> list[str]:
    """Four finished workloads of a megabyte or more, and no room."""
    size = 2_000_000 if trial.is_short else 3_000_000
    script = f"head -c {size} /dev/urandom | base64"
    old = [submit(server, "sh", "-c", script) for _ in range(4)]
    for each in old:
        trial.wait_for(
            lambda each=each: server.get(f"/v1/workloads/{each}").json()["status"] != "running"
        )
        trial.wait_for(
            lambda each=each: bool(server.get(f"/v1/workloads/{each}").json()["finished_at"])
        )
    Volume(server, folder).fill()
    # A submission may still find room in the log of SQLite.
    for _ in range(100):
        answer = server.post("/v1/workloads", {"command": ["sh", "-c", script]})
        if answer.status_code == 503:
            break
        trial.wait_for(
            lambda: server.metric("trio_logs_workloads_running") == 0 or _is_full(server)
        )
    return old


def _is_full(server: ServerProcess) -> bool:
    return any("the disk is full" in line for line in server.lines)


def works(server: ServerProcess) -> bool:
    """Whether the service runs a workload to its durable end."""
    answer = server.post("/v1/workloads", {"command": ["echo", "hi"]})
    if answer.status_code != 201:
        return False
    log = server.get(answer.json()["logs_url"])
    return "event: end" in log.text


@case(have_no_reserve, in_suite=True)
def left_by_rm(trial: Trial) -> None:
    """`rm` works, and then everything does."""
    with (
        mounted(trial) as prefix,
        trial.server("--store-patience", "1", prefix=prefix) as server,
    ):
        with trial.healthy(server):
            old = fill_with_history(trial, server, trial.data)
            with server.client() as client:
                for each in old[:3]:
                    assert client.delete(f"/v1/workloads/{each}").status_code == 204
            trial.wait_for(lambda: works(server))
        assert server.get(f"/v1/workloads/{old[3]}/logs").text.count("event: end") == 1
        assert server.stop() == 0


@case(have_no_reserve)
def left_by_prune(trial: Trial) -> None:
    """The same with the command that deletes by age and status."""
    with (
        mounted(trial) as prefix,
        trial.server("--store-patience", "1", prefix=prefix) as server,
    ):
        fill_with_history(trial, server, trial.data)
        command = [*PROGRAM, "prune", "--status", "succeeded", "--server", server.url]
        done = subprocess.run(
            command,
            env=environment(trial.folder, TRIO_LOGS_TOKEN=server.token),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        trial.wait_for(lambda: works(server))
        assert server.stop() == 0


@case(have_no_reserve)
def left_by_a_smaller_bound(trial: Trial) -> None:
    """A restart after `kill -9`, with a bound that is smaller than what is there."""
    with mounted(trial) as prefix:
        with trial.server("--store-patience", "1", prefix=prefix) as server:
            fill_with_history(trial, server, trial.data)
            server.kill()
        arguments = ("--store-patience", "1", "--history-bytes", "3000000")
        try:
            with trial.server(*arguments, prefix=prefix) as server:
                trial.wait_for(lambda: works(server))
                assert server.metric("trio_logs_history_bytes") <= 3_000_000
                assert server.stop() == 0
        except RuntimeError as error:
            raise AssertionError(f"the restart failed: {error}") from error
