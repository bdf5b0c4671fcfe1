"""Processes where the system is at a limit, or where SIGKILL ends none."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from tests.command_line import STARTED
from tests.live import open_live
from tests.server_process import ServerProcess, running_server
from tests.test_process import children, new_table
from trio_logs import Batch, LogBroker, Status, WorkloadSpec, open_broker
from trio_logs.backends import Execution, serving
from trio_logs.backends.posix_spawn import posix_spawn
from trio_logs.backends.process import ProcessBackend
from trio_logs.backends.process_group import ProcessGroup
from trio_logs.errors import NotStartedError
from trio_logs.records import Outcome, Reason
from trio_logs.settings import Settings
from trio_logs.store.memory import MemoryStore

HELD = """
import ctypes, os, sys, time
from trio_logs.backends import proc

libc = ctypes.CDLL(None)
PR_SET_PTRACER, PTRACE_SEIZE = 0x59616D61, 0x4206
libc.prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)  # where Yama limits ptrace
if os.fork() == 0:
    # Out of the reach of the server.
    os.setsid()
    group = proc.cgroup()
    if group is not None and group.name.startswith("trio-logs-"):
        (group.parent / "cgroup.procs").write_text("0")
    failed = libc.ptrace(PTRACE_SEIZE, os.getppid(), None, ctypes.c_void_p(int(sys.argv[1])))
    print("no ptrace" if failed else "held", flush=True)
    os.closerange(0, 3)
    open(sys.argv[2]).close()
    os._exit(0)
time.sleep(50)
"""
"""A command in the hands of a debugger, until the fifo of its second argument is opened."""

ZOMBIE, ALIVE = "0", "64"
"""Options of PTRACE_SEIZE. With none, SIGKILL leaves a zombie that only the debugger can reap; with
PTRACE_O_TRACEEXIT, the command does not even exit."""


class LongestStep(trio.abc.Instrument):
    """For how long one step of a task has held Trio's thread at most, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = math.inf

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.monotonic()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.seconds = max(self.seconds, time.monotonic() - self._began)


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that survives SIGKILL is waited for in vain."""
    monkeypatch.setattr("trio_logs.backends.process_group.END_SECONDS", 0.5)


@pytest.fixture
def fifos(tmp_path: Path) -> Iterator[list[Path]]:
    """Fifos that debuggers wait for; they go on at the end of the test at the latest."""
    fifos = [tmp_path / str(number) for number in range(3)]
    for fifo in fifos:
        os.mkfifo(fifo)
    yield fifos
    for fifo in fifos:
        release(fifo)


def release(fifo: Path) -> None:
    """Have the debugger that waits for the fifo end."""
    if fifo.exists():
        # For reading, too, so as not to wait for a debugger that never came.
        descriptor = os.open(fifo, os.O_RDWR)
        fifo.unlink()
        os.close(descriptor)


async def forget(handle: str) -> None:
    """For tests in which no server dies."""


async def hold(broker: LogBroker, fifo: Path, how: str) -> Execution:
    log = await broker.open(fifo.name)
    spec = WorkloadSpec((sys.executable, "-c", HELD, how, str(fifo)))
    return Execution(fifo.name, spec, log, forget)


async def until_held(broker: LogBroker, execution: Execution) -> None:
    with broker.subscribe(execution.id, 1) as subscription, trio.fail_after(20):
        [batch, *_] = await subscription.receive()
    assert isinstance(batch, Batch)
    assert batch.data == b"held\n"


async def until_children(are: list[str]) -> None:
    """Wait until no other children are left, nor zombies of them."""
    with trio.fail_after(5):
        while children() != are:
            await trio.sleep(0.01)


@pytest.mark.parametrize("how", [ZOMBIE, ALIVE])
async def test_a_command_that_survives_sigkill_blocks_nothing(fifos: list[Path], how: str) -> None:
    before = children()
    backend = ProcessBackend()
    longest = LongestStep()
    async with open_broker() as broker, serving({"process": backend}):
        async with trio.open_nursery() as nursery:
            held = [await hold(broker, fifo, how) for fifo in fifos]
            for execution in held:
                nursery.start_soon(backend.run, execution)
            for execution in held:
                await until_held(broker, execution)
            trio.lowlevel.add_instrument(longest)
            nursery.cancel_scope.cancel()
        trio.lowlevel.remove_instrument(longest)
        assert longest.seconds < 0.5
        assert len(children()) == len(before) + 3
        for fifo in fifos:
            release(fifo)
        # The backend reaps them as soon as that is possible.
        await until_children(before)


async def test_a_command_that_survives_sigkill_has_an_outcome(fifos: list[Path]) -> None:
    before = children()
    backend = ProcessBackend()
    outcomes: list[Outcome] = []
    async with open_broker() as broker, serving({"process": backend}):
        execution = await hold(broker, fifos[0], ZOMBIE)

        async def run() -> None:
            outcomes.append(await backend.run(execution))

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await until_held(broker, execution)
                execution.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 0, "")
        [pid] = set(children()) - set(before)
        error = f"The command could not be ended: process {pid} survives SIGKILL."
        assert outcomes == [Outcome(Status.FAILED, error=error, reason=Reason.EXCEPTION)]
        release(fifos[0])
        await until_children(before)


async def test_what_survives_sigkill_is_waited_for_and_in_the_log_of_the_service(
    fifos: list[Path],
) -> None:
    """A process of the command, too, after the command itself."""
    before = children()
    backend = ProcessBackend()
    outcomes: list[Outcome] = []
    async with open_broker() as broker, serving({"process": backend}):
        log = await broker.open("w")
        held = (sys.executable, "-c", HELD, ALIVE, str(fifos[0]))
        spec = WorkloadSpec(("sh", "-c", 'trap "exit 7" TERM; "$@" & wait', "sh", *held))
        execution = Execution("w", spec, log, forget)

        async def run() -> None:
            outcomes.append(await backend.run(execution))

        with trio.fail_after(20), capture_logs() as logs:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await until_held(broker, execution)
                execution.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 0.1, "")
        assert outcomes[0].exit_code == 7
        assert [(each["workload"], each["processes"]) for each in logs] == [("w", 1)]
        assert "survive SIGKILL" in logs[0]["event"]
        assert children() != before
        release(fifos[0])
        await until_children(before)


@contextmanager
def descriptors(free: int) -> Iterator[None]:
    """Within the block, this process can open so many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        # Fill the holes below the highest one.
        highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        taken = 0
        while taken < highest:
            taken = os.dup(0)
            stack.callback(os.close, taken)
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1 + free, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("pty", [False, True])
async def test_each_descriptor_that_is_lacking(pty: bool) -> None:
    """The command runs, or it is not started, and says why; nothing of it is left."""
    before = children()
    backend = ProcessBackend()
    ran: list[bool] = []
    async with open_broker() as broker, serving({"process": backend}):
        opened = open_descriptors()
        for free in range(20):
            with await broker.open(str(free)) as log:
                spec = WorkloadSpec(("sh", "-c", "echo ran; exit 7"), pty=pty)
                with descriptors(free), trio.fail_after(20):
                    found = await run_or_say_why(backend, Execution(str(free), spec, log, forget))
            end = await broker.close(str(free))
            ran.append(isinstance(found, Outcome))
            if isinstance(found, Outcome):
                assert (found.exit_code, end.bytes) == (7, 4)
            else:
                assert "(RLIMIT_NOFILE)" in found
                assert end.bytes == 0
            assert children() == before
            assert open_descriptors() == opened
    assert ran == sorted(ran)
    assert set(ran) == {False, True}


async def test_a_group_is_not_empty_while_its_members_can_not_be_looked_for() -> None:
    """So a stop leaves them their grace."""
    arguments = ["sh", "-c", "sleep 50 & exit 0"]
    with new_table() as table:
        child = posix_spawn("/bin/sh", arguments, {}, cwd=None, stdout=1, stderr=None)
        group = ProcessGroup(child, table)
        assert group.leader
        try:
            await group.wait()
            with descriptors(0), trio.move_on_after(0.2) as waiting:
                await group.wait_empty()
            assert waiting.cancelled_caught
            # With a free descriptor, the wait ends with the last member.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(group.wait_empty)
                await trio.testing.wait_all_tasks_blocked()
                await group.send(signal.SIGTERM)
        finally:
            await group.end()


async def run_or_say_why(backend: ProcessBackend, execution: Execution) -> Outcome | str:
    try:
        return await backend.run(execution)
    except NotStartedError as error:
        return str(error)


async def test_a_command_whose_server_runs_out_of_descriptors() -> None:
    """Its end is noticed, and it is reaped, without a descriptor for it."""
    before = children()
    backend = ProcessBackend()
    stack = ExitStack()

    async def exhaust(handle: str) -> None:
        stack.enter_context(descriptors(0))

    async with open_broker() as broker, serving({"process": backend}):
        with stack, await broker.open("w") as log:
            spec = WorkloadSpec(("sh", "-c", "sleep 50 >/dev/null 2>&1 & sleep 0.1; exit 7"))
            with trio.fail_after(20):
                outcome = await backend.run(Execution("w", spec, log, exhaust))
            assert (outcome.exit_code, outcome.reason) == (7, "exited")
        await until_children(before)


async def test_no_thread_is_started_while_the_service_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with open_live(Settings(data=tmp_path), store=MemoryStore()) as live:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        ended = await live.finished(
            (await live.submit("sh", "-c", "sleep 50 >/dev/null 2>&1 & exit 7"))["id"]
        )
        assert (ended["status"], ended["exit_code"]) == ("failed", 7)
        endless = await live.submit("sh", "-c", "trap '' TERM; echo up; sleep 50")
        stream = await live.follow(endless["logs_url"])
        async with stream.stream:
            await stream.read_until(b"up")
        await live.client.post(f"/v1/workloads/{endless['id']}/stop", json={"grace": 0.1})
        ended = await live.finished(endless["id"])
        assert (ended["status"], ended["signal"]) == ("stopped", "SIGKILL")
        await live.submit("sleep", "50")


UNPRIVILEGED = (
    *("setpriv", "--reuid=65534", "--clear-groups"),
    *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
)
"""A limit on processes does not bind root. The server still has to read the files of root."""

AS_USER = UNPRIVILEGED if os.getuid() == 0 else STARTED


def limit_processes(server: ServerProcess, limit: str) -> None:
    """Set RLIMIT_NPROC of the server; see getrlimit(2). It counts the threads of the user, too."""
    command = ["prlimit", f"--pid={server.process.pid}", f"--nproc={limit}:"]
    subprocess.run([*AS_USER, *command], check=True)


def test_a_limit_on_processes_ends_nothing(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    with running_server(tmp_path / "data", prefix=AS_USER) as server:
        endless = [submit(server, "sh", "-c", "echo up; exec sleep 50") for _ in range(8)]
        limit_processes(server, "0")
        refused = finished(server, submit(server, "true"))
        assert refused["status"] == "failed"
        assert "a limit on processes is reached: raise TasksMax" in refused["error"]
        # All at once: no thread of an earlier call is idle for each of them.
        for workload in endless:
            assert server.post(f"/v1/workloads/{workload}/stop").status_code == 202
        for workload in endless:
            assert finished(server, workload)["status"] == "stopped"
        assert server.get("/healthz").status_code == 200
        limit_processes(server, str(hard) if hard != resource.RLIM_INFINITY else "unlimited")
        assert finished(server, submit(server, "true"))["status"] == "succeeded"
        submit(server, "sh", "-c", "echo up; exec sleep 50")
        limit_processes(server, "0")
        assert server.stop() == 0


def submit(server: ServerProcess, *command: str) -> str:
    answer = server.post("/v1/workloads", {"command": command})
    assert answer.status_code == 201, answer.text
    workload = str(answer.json()["id"])
    if "echo up" in command[-1]:
        with server.client() as client, client.stream("GET", f"/v1/workloads/{workload}/logs") as s:
            assert any("data: up" in line for line in s.iter_lines())
    return workload


def finished(server: ServerProcess, workload: str) -> dict[str, Any]:
    """Its record, once its log has ended."""
    assert "event: end" in server.get(f"/v1/workloads/{workload}/logs?tail=0").text
    return dict(server.get(f"/v1/workloads/{workload}").json())
