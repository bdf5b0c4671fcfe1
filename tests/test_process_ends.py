"""The ends of commands that leave something behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.live import Live
from tests.test_process import execution, gone, new_table
from trio_logs.backends import Stop, proc
from trio_logs.backends.posix_spawn import Child, posix_spawn
from trio_logs.backends.process_group import ProcessGroup
from trio_logs.backends.process_identity import Identity
from trio_logs.records import Reason, Status

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

CHAINS = """
import os, sys, time
pulse = sys.argv[1]
open(pulse, "w").close()
for _ in range(4):
    if not os.fork():
        break
else:
    print("up", flush=True)
    time.sleep(50)
while os.path.exists(pulse):
    if os.fork():
        os._exit(0)
    os.setpgid(0, 0)
    os.utime(pulse)
    time.sleep(0.005)
"""
"""Four chains of processes: each link leaves the process group, forks the next link, and exits.
They end by themselves when their file is deleted."""


@pytest.fixture(params=["cgroup", "session"], autouse=True)
def reach(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the control groups that commands get where that is possible, and without them."""
    if request.param == "session":
        monkeypatch.setattr(proc, "cgroup", lambda: None)


async def test_a_chain_that_forks_and_leaves_its_group_ends(tmp_path: Path) -> None:
    pulse = tmp_path / "pulse"
    command = (sys.executable, "-S", "-c", CHAINS, str(pulse))
    try:
        async with execution(*command) as (one, finished):
            await one.first_line()
            one.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 0.2, "")
        assert finished[0].outcome.signal == "SIGTERM"
        before = pulse.stat().st_mtime_ns
        await trio.sleep(0.2)
        assert pulse.stat().st_mtime_ns == before
    finally:
        pulse.unlink()


FAST_CHAINS = """
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **arguments) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t end = now.tv_sec + 12;
    int chains = 4, links = 0;
    signal(SIGCHLD, SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    while (chains && fork())
        chains--;
    if (!chains)
        return sleep(12);
    do {
        if (fork() > 0)
            _exit(0);
        setpgid(0, 0);
        usleep(1000);
        if (++links == 30 && write(1, ".", 1) != 1)
            return 1;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < end && !access(arguments[0], F_OK));
}
"""
"""Each link of these chains is gone before a look has examined it. They end after 12 s, or once
their program is deleted. Their parent has the kernel reap all links at once: otherwise the system
runs out of pids."""


async def test_chains_that_are_faster_than_a_look_end(tmp_path: Path) -> None:
    chains, (output, theirs) = tmp_path / "chains", os.pipe()
    compiling = ["cc", "-x", "c", "-o", str(chains), "-"]
    await trio.run_process(compiling, stdin=FAST_CHAINS.encode())
    child = posix_spawn(str(chains), [str(chains)], {}, cwd=None, stdout=theirs, stderr=None)
    os.close(theirs)
    async with trio.lowlevel.FdStream(output) as stream:
        with new_table() as table:
            group = ProcessGroup(child, table)
            assert group.leader
            running = 0
            while running < 4:
                running += len(await stream.receive_some())
            with trio.fail_after(10):
                await group.reap()
        # No link holds the pipe any more.
        with trio.fail_after(1):
            assert await stream.receive_some() == b""


async def test_a_look_is_not_sure_if_a_process_vanished(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have forked."""
    with new_table() as table:
        monkeypatch.setattr(proc, "listed", lambda: {1: 1, 4194305: 2})
        assert not (await table.look(Identity.of(1))).is_sure
        monkeypatch.setattr(proc, "listed", lambda: {1: 1})
        assert (await table.look(Identity.of(1))).is_sure


@pytest.mark.parametrize("earlier", ["member", "stranger"])
def test_a_member_with_the_pid_of_an_earlier_process_is_killed(earlier: str) -> None:
    """Where pids wrap quickly, as a small pid_max has them do under a fork bomb."""
    namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        namespace += ["--user", "--map-root-user"]
    command = [*namespace, sys.executable, "-m", "tests.recycled_pid", earlier]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert told.stdout == "killed\n"


async def test_groups_that_stop_at_once_share_their_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look for each one, again and again, would stall the service. While members have their
    grace, there is none at all."""
    looks: list[int] = []
    listed = proc.listed
    monkeypatch.setattr(proc, "listed", lambda: looks.append(1) or listed())
    with new_table() as table:
        groups = [ProcessGroup(left_behind(), table) for _ in range(40)]
        try:
            for group in groups:
                assert group.leader
                await group.wait()
            async with trio.open_nursery() as nursery:
                for group in groups:
                    nursery.start_soon(group.wait_empty)
                with trio.fail_after(20):
                    while waiting_for_descriptors() < len(groups):
                        await trio.sleep(0.01)
                assert len(looks) <= 2
                await trio.sleep(0.3)
                assert len(looks) <= 2
                for group in groups:
                    nursery.start_soon(group.send, signal.SIGTERM)
        finally:
            async with trio.open_nursery() as nursery:
                for group in groups:
                    nursery.start_soon(group.end)


def left_behind() -> Child:
    """A command that exits, and leaves a process in its group."""
    arguments = ["sh", "-c", "sleep 50 & exit 0"]
    return posix_spawn("/bin/sh", arguments, {}, cwd=None, stdout=1, stderr=None)


def waiting_for_descriptors() -> int:
    """How many tasks wait for a descriptor to become readable."""
    found = trio.lowlevel.current_statistics().io_statistics
    return int(found.tasks_waiting_read)


THREADED = """
import ctypes, os, threading, time
if os.fork() == 0:
    os.setpgid(0, 0)
    threading.Thread(target=time.sleep, args=(50,)).start()
    print(os.getpid(), flush=True)
    ctypes.CDLL(None).pthread_exit(None)
time.sleep(50)
"""
"""A process whose first thread has ended; to /proc/PID/stat, that is the state of a zombie."""


async def test_a_process_whose_first_thread_has_ended_is_a_member() -> None:
    async with execution(sys.executable, "-c", THREADED) as (one, finished):
        pid = int(await one.first_line())
        with trio.fail_after(20):
            while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                await trio.sleep(0.01)
        one.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 0.1, "")
    assert finished[0].outcome.signal == "SIGTERM"
    with trio.fail_after(5):
        while len(list(Path(f"/proc/{pid}/task").glob("*"))) > 1:
            await trio.sleep(0.01)


@pytest.mark.parametrize("stopped", [False, True])
async def test_the_exit_of_the_command_decides_the_status(
    open_server: OpenServer, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """What it left is ended at the time-out, or by the stop."""
    monkeypatch.setattr("trio_logs.backends.process.DRAIN_SECONDS", 600.0)
    async with open_server() as live:
        timeout = 3600 if stopped else 0.5
        script = "sleep 50 & echo $!; exit 0"
        workload = await live.submit("sh", "-c", script, timeout=timeout)
        if stopped:
            stream = await live.follow(workload["logs_url"])
            async with stream.stream:
                await stream.read_until(b"data: ")
            await until_exited(live, workload["id"])
            await live.client.post(f"/v1/workloads/{workload['id']}/stop", json={"grace": 3600})
        record = await live.finished(workload["id"])
        assert (record["status"], record["reason"], record["exit_code"], record["error"]) == (
            "succeeded",
            "exited",
            0,
            None,
        )
        [(_, _, pid), _] = await live.events(workload["id"])
        await gone(int(pid))


async def until_exited(live: Live, workload: str) -> None:
    """Wait until a command is a zombie."""
    handle = next(
        handle for each, handle in await live.service.store.unfinished() if each.id == workload
    )
    assert handle is not None
    with trio.fail_after(20), new_table() as table:
        while not (await table.look(Identity.decode(handle))).members:
            await trio.sleep(0.01)
        await gone(Identity.decode(handle).pid)


async def test_which_requests_decide(autojump_clock: trio.testing.MockClock) -> None:
    def request(stop: Stop) -> None:
        stop.request(Status.TIMED_OUT, Reason.TIMEOUT, 10, "It ran into its time-out.")

    stop = Stop()
    assert not stop.requested
    request(stop)
    # It has exited before the signal was sent.
    stop.exited()
    assert (stop.requested, stop.status, stop.reason, stop.error) == (True, None, None, "")
    request(stop)
    # What it left gets the signal all the same.
    assert await stop.signals() == ["SIGTERM"]
    assert stop.status is None

    stop = Stop()
    request(stop)
    await stop.signals()
    stop.exited()
    assert (stop.status, stop.reason) == (Status.TIMED_OUT, Reason.TIMEOUT)
