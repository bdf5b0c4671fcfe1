"""Trees of processes that do not end when they are asked to."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio

from tests.server_process import ServerProcess
from tests.siege import Plant, case
from tests.siege.trial import Trial
from tests.test_process_ends import FAST_CHAINS
from trio_logs.backends.cgroup import Cgroups
from trio_logs.backends.process_group import ProcessGroup

GRACE = 2.0
FORCE = 10.0
"""Seconds after the grace in which all is over, as `docs/explanation/shutdown.md` says."""

REST = "(trap '' TERM; echo up; exec sleep 600) & wait"
"""A command that ends when it is asked to, and leaves a process that does not."""


def look_again_and_again(patch: pytest.MonkeyPatch) -> None:
    """Each group examines /proc 20 times a second during its grace."""

    async def poll(group: ProcessGroup) -> None:
        await group.wait()
        while (await group._table.look(group.leader)).members:
            await trio.sleep(0.05)

    patch.setattr(ProcessGroup, "wait_empty", poll)


@contextmanager
def processes(count: int) -> Iterator[None]:
    """So many processes of others, which each look at /proc finds."""
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen(["sleep", "600"]))
            stack.callback(process.kill)
        yield


def start(server: ServerProcess, count: int) -> list[str]:
    """Start so many commands; return their ids once each has its rest."""
    with server.client() as client:
        ids = [
            str(client.post("/v1/workloads", json={"command": ["sh", "-c", REST]}).json()["id"])
            for _ in range(count)
        ]
        for each in ids:
            with client.stream("GET", f"/v1/workloads/{each}/logs") as log:
                assert any("data: up" in line for line in log.iter_lines())
    return ids


def cpu_seconds(server: ServerProcess) -> float:
    """The time that the server has used, in user and in system mode; see proc_pid_stat(5)."""
    stat = Path(f"/proc/{server.process.pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@case(look_again_and_again)
def stops(trial: Trial) -> None:
    """Many groups stop at once: nobody waits for that, their grace costs nothing, and a shutdown
    keeps its bound."""
    groups, beside = (10, 20) if trial.is_short else (100, 300)
    arguments = ("--max-running", str(groups), "--grace", str(GRACE))
    with processes(beside), trial.server(*arguments) as server:
        ids = start(server, groups)
        with trial.healthy(server):
            with ThreadPoolExecutor(8) as threads:
                stop = {"grace": 3600}
                list(threads.map(lambda each: server.post(f"/v1/workloads/{each}/stop", stop), ids))
            # The storm goes on while `/healthz` is measured.
            time.sleep(3)
        before = cpu_seconds(server)
        # The span over which the CPU time counts.
        time.sleep(3)
        spent = cpu_seconds(server) - before
        print(f"    {spent / 3:.1%} of a core while {groups} groups have their grace")
        assert spent / 3 < 0.05
        started = time.monotonic()
        assert server.stop(60) == 0
        took = time.monotonic() - started
        print(f"    shutdown with {groups} groups and a grace of {GRACE:g} s: {took:.1f} s")
        assert took < GRACE + FORCE


def is_over(server: ServerProcess, workload: str) -> bool:
    record = server.get(f"/v1/workloads/{workload}").json()
    return record["status"] not in ("queued", "running")


def is_open(pipe: int) -> bool:
    """Whether a process can write to a pipe that is not blocking."""
    try:
        while os.read(pipe, 100):
            pass
    except BlockingIOError:
        return True
    return False


def no_groups(patch: pytest.MonkeyPatch) -> None:
    """Commands have no control group, as where the service may make none."""
    patch.setattr("trio_logs.backends.proc.cgroup", lambda: None)


def only_the_process_group(patch: pytest.MonkeyPatch) -> None:
    """A kill is for the process group alone, and commands have no control group."""

    async def send(group: ProcessGroup, number: signal.Signals, *, apart_from: int = 0) -> None:
        group._send_to_group(number)

    async def kill_remains(*_: object) -> None: ...

    no_groups(patch)
    patch.setattr(ProcessGroup, "send", send)
    patch.setattr(ProcessGroup, "kill_remains", staticmethod(kill_remains))


def no_kernel_kill(patch: pytest.MonkeyPatch) -> None:
    """The kernel is not asked to kill a control group: another of its files is written."""
    patch.setattr("trio_logs.backends.cgroup._KILL", "cgroup.max.descendants")


@case(only_the_process_group, no_kernel_kill)
def chains(trial: Trial) -> None:
    """Chains of processes, of which each is gone before a look finds it: none outlives its
    workload."""
    with Cgroups().new() as group:
        # Only a group holds those which leave their sessions, too.
        leave = "setsid()" if group else "setpgid(0, 0)"
    end_chains(trial, FAST_CHAINS.replace("setpgid(0, 0)", leave))


@case(only_the_process_group)
def chains_without_groups(trial: Trial) -> None:
    """The same where commands have no control groups."""
    end_chains(trial, FAST_CHAINS, no_groups)


def end_chains(trial: Trial, source: str, *patches: Plant) -> None:
    trial.need(shutil.which("cc"), "a C compiler")
    count = 1 if trial.is_short else 3
    program = trial.folder / "chains"
    subprocess.run(["cc", "-x", "c", "-o", str(program), "-"], input=source.encode(), check=True)
    arguments = ("--max-running", str(count))
    with ExitStack() as stack, trial.server(*arguments, patches=patches) as server:
        stack.callback(program.unlink)
        pipes, ids = [], []
        for number in range(count):
            # All links have it open, so its end tells that none is left.
            fifo = trial.folder / str(number)
            os.mkfifo(fifo)
            pipes.append(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
            stack.callback(os.close, pipes[-1])
            command = ["sh", "-c", 'exec "$0" 1>"$1"', str(program), str(fifo)]
            ids.append(server.post("/v1/workloads", {"command": command}).json()["id"])
        for pipe in pipes:
            trial.wait_for(lambda pipe=pipe: select.select([pipe], [], [], 0)[0])
            os.read(pipe, 100)
        for each in ids:
            server.post(f"/v1/workloads/{each}/stop", {"grace": 0})
        for each in ids:
            trial.wait_for(lambda each=each: is_over(server, each))
        assert not any(map(is_open, pipes))
