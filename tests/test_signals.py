"""Signals of stops, and sizes of terminals, with real processes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trio.testing

from tests.live import Live, RawStream, open_live
from tests.pushing import create
from tests.stage import engine
from tests.test_api import problem
from trio_logs import __version__
from trio_logs.backends import Stop
from trio_logs.engine import EngineLimits
from trio_logs.errors import ConflictError, InvalidSpecError
from trio_logs.records import Reason, Status, WorkloadSpec
from trio_logs.settings import Settings

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]

TRAPS = """
import os, signal, sys
def tell(number, frame):
    # A signal may come during the print of another one, which can't be entered twice.
    os.write(1, signal.Signals(number).name.encode() + b"\\n")
    if number == signal.SIGQUIT:
        sys.exit(7)
for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP", "SIGQUIT"):
    signal.signal(getattr(signal, name), tell)
print("ready", flush=True)
while True:
    signal.pause()
"""
SIZES = """
import os, signal, sys
def tell(*_):
    size = os.get_terminal_size(1)
    os.write(1, b"%d %d\\n" % (size.columns, size.lines))
signal.signal(signal.SIGWINCH, tell)
tell()
while True:
    signal.pause()
"""


@pytest.fixture
async def live(open_server: OpenServer) -> AsyncIterator[Live]:
    async with open_server() as opened:
        yield opened


async def stop(live: Live, workload: str, **body: Any) -> httpx2.Response:
    return await live.client.post(f"/v1/workloads/{workload}/stop", json=body)


async def resize(live: Live, workload: str, **body: Any) -> httpx2.Response:
    return await live.client.post(f"/v1/workloads/{workload}/resize", json=body)


async def log_of(live: Live, workload: str, mark: str) -> RawStream:
    """Its log, read up to that text."""
    stream = await live.follow(f"/v1/workloads/{workload}/logs")
    await stream.read_until(mark.encode())
    return stream


async def test_each_stop_sends_its_own_signal(live: Live) -> None:
    workload = (await live.submit(sys.executable, "-c", TRAPS))["id"]
    log = await log_of(live, workload, "data: ready\n")
    async with log.stream:
        for body, name in (
            ({"signal": "SIGINT", "grace": 60}, "SIGINT"),
            ({}, "SIGTERM"),
            ({"signal": "SIGUSR1", "grace": 600}, "SIGUSR1"),
            ({"signal": None, "grace": None}, "SIGTERM"),
            ({"signal": "SIGHUP"}, "SIGHUP"),
        ):
            log.body = b""
            answer = await stop(live, workload, **body)
            assert (answer.status_code, answer.json()["status"]) == (202, "running")
            await log.read_until(f"data: {name}\n".encode())
        await stop(live, workload, signal="SIGQUIT")
        ended = await live.finished(workload)
        await log.read_until(b"event: end")
    # The first stop decides how it ends, and its exit code stays.
    assert (ended["status"], ended["reason"], ended["exit_code"]) == (
        "stopped",
        "stop_requested",
        7,
    )
    # A finished workload does not change.
    assert (await stop(live, workload, signal="SIGINT")).json() == ended


async def test_a_later_stop_shortens_the_grace(live: Live) -> None:
    workload = (await live.submit(sys.executable, "-c", TRAPS))["id"]
    log = await log_of(live, workload, "data: ready\n")
    async with log.stream:
        await stop(live, workload, signal="SIGINT", grace=3600)
        await log.read_until(b"data: SIGINT\n")
        await stop(live, workload, signal="SIGUSR1", grace=0)
        ended = await live.finished(workload)
    assert (ended["status"], ended["signal"]) == ("stopped", "SIGKILL")


async def test_signals_that_end_or_pause_at_once(live: Live) -> None:
    for body, expected in (
        ({"signal": "SIGKILL", "grace": 3600}, "SIGKILL"),
        ({"signal": "SIGINT", "grace": 3600}, "SIGINT"),
        ({"signal": "SIGSTOP", "grace": 0}, "SIGKILL"),
    ):
        workload = (await live.submit("sh", "-c", "echo ready; exec sleep 3600"))["id"]
        log = await log_of(live, workload, "data: ready\n")
        async with log.stream:
            await stop(live, workload, **body)
            assert (await live.finished(workload))["signal"] == expected


async def test_signals_that_no_backend_sends(live: Live, tmp_path: Path) -> None:
    process = (await live.submit("sleep", "3600"))["id"]
    pushed = await create(live)
    for name in ("SIGFOO", "INT", "sigint", "", "9", "SIG"):
        problem(await stop(live, process, signal=name), 422)
    problem(await stop(live, process, signal=9), 422)
    assert "'push' can't send SIGTERM" in problem(await stop(live, pushed, signal="SIGTERM"), 422)
    # Nothing was stopped by these.
    for workload in (process, pushed):
        assert (await live.client.get(f"/v1/workloads/{workload}")).json()["status"] == "running"
        await stop(live, workload, grace=0)
        await live.finished(workload)
    problem(await stop(live, pushed, signal="SIGTERM"), 422)
    problem(await stop(live, "nope", signal="SIGTERM"), 404)


async def test_a_backend_without_signals_is_stopped_as_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with engine() as parts:
        workload = await parts.submit("until stop")
        await parts.stage.started.wait()
        with pytest.raises(InvalidSpecError, match="leave it out"):
            await parts.engine.stop(workload.id, signal="SIGTERM")
        with pytest.raises(ConflictError, match="no terminal"):
            await parts.engine.resize(workload.id, 80, 24)
        await parts.engine.stop(workload.id)
        assert (await parts.engine.finished(workload.id)).status == "stopped"
        spec = WorkloadSpec(("wait",), backend="stage", pty=True)
        parts.stage.started = trio.Event()
        terminal, _ = await parts.engine.submit(spec)
        await parts.stage.started.wait()
        with pytest.raises(ConflictError, match="'stage' can't resize"):
            await parts.engine.resize(terminal.id, 80, 24)


async def test_signals_are_sent_in_order_and_each_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stop = Stop()

    def request(name: str | None = None) -> None:
        stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 10, "", name)

    for name in ("SIGINT", None, "SIGINT", "SIGHUP"):
        request(name)
    assert await stop.signals() == ["SIGINT", "SIGTERM", "SIGHUP"]
    with trio.move_on_after(1) as scope:
        await stop.signals()
    assert scope.cancelled_caught
    request("SIGINT")
    assert await stop.signals() == ["SIGINT"]


async def test_a_terminal_is_resized(live: Live) -> None:
    fields = {"pty": True, "env": {"COLUMNS": "100", "LINES": "30"}}
    workload = (await live.submit(sys.executable, "-c", SIZES, **fields))["id"]
    log = await log_of(live, workload, "data: 100 30\n")
    async with log.stream:
        for columns, rows in ((120, 40), (1, 1), (65_535, 65_535)):
            answer = await resize(live, workload, columns=columns, rows=rows)
            assert (answer.status_code, answer.content) == (204, b"")
            await log.read_until(f"data: {columns} {rows}\n".encode())
        # As from the kernel, there is no signal if the size stays.
        await resize(live, workload, columns=65_535, rows=65_535)
        await resize(live, workload, columns=7, rows=8)
        await log.read_until(b"data: 7 8\n")
        assert log.body.count(b"data: 65535 65535\n") == 1
        await stop(live, workload, grace=0)
        await live.finished(workload)
    assert "does not run" in problem(await resize(live, workload, columns=80, rows=24), 409)


async def test_a_child_with_a_group_of_its_own_learns_the_size(live: Live) -> None:
    """As in a shell with job control."""
    script = f"set -m; {sys.executable} -c '{SIZES}' & wait"
    workload = (await live.submit("sh", "-c", script, pty=True))["id"]
    log = await log_of(live, workload, "data: 80 24\n")
    async with log.stream:
        await resize(live, workload, columns=90, rows=30)
        await log.read_until(b"data: 90 30\n")


async def test_what_has_no_size(tmp_path: Path) -> None:
    async with open_live(Settings(data=tmp_path, engine=EngineLimits(running=1))) as live:
        plain = (await live.submit("sleep", "3600"))["id"]
        queued = (await live.submit("sleep", "3600", pty=True))["id"]
        assert "no terminal" in problem(await resize(live, plain, columns=80, rows=24), 409)
        assert "does not run" in problem(await resize(live, queued, columns=80, rows=24), 409)
        problem(await resize(live, "nope", columns=80, rows=24), 404)
        for body in (
            {},
            {"columns": 80},
            {"columns": 0, "rows": 24},
            {"columns": 80, "rows": -1},
            {"columns": 65_536, "rows": 24},
            {"columns": 80.5, "rows": 24},
            {"columns": "80", "rows": 24},
            {"columns": True, "rows": 24},
            {"columns": None, "rows": 24},
            {"columns": 80, "rows": 24, "x": 1},
        ):
            problem(await resize(live, queued, **body), 422)
        problem(await live.client.post(f"/v1/workloads/{queued}/resize", content=b""), 400)


async def test_the_version(live: Live) -> None:
    answer = await live.client.get("/v1/version")
    assert answer.json() == {"version": __version__, "api": 1}
    headers = {"Authorization": "Bearer wrong"}
    problem(await live.client.get("/v1/version", headers=headers), 401)
