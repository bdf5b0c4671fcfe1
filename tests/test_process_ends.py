"""The ends of commands that leave something behind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.live import Live
from tests.test_process import execution, gone
from trio_logs.backends import Stop
from trio_logs.backends.process_table import Identity, SessionScan
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


def test_a_look_is_not_sure_if_a_process_vanished(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have forked."""
    scan = SessionScan(Identity.of(1))
    monkeypatch.setattr("trio_logs.backends.process_table._names", lambda: ["1", "4194305"])
    list(scan.look())
    assert not scan.is_sure
    monkeypatch.setattr("trio_logs.backends.process_table._names", lambda: ["1"])
    list(scan.look())
    assert scan.is_sure


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
    with trio.fail_after(20):
        while not list(SessionScan(Identity.decode(handle)).look()):
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
