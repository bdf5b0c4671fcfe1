"""A wall clock that is set while the service runs, and while it is down."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from tests.server_process import ServerProcess
from tests.siege import case
from tests.siege.trial import Trial
from tests.test_clock import echo, wrong_clock_prefix
from trio_logs.records.clock import SteadyClock

DAY = 86_400
STEPS = (2 * DAY, -7200, 3600, 40 * DAY)
WRONG_SECONDS = 13
"""Longer than the time between two looks at the age of the history."""


def believe_it(patch: pytest.MonkeyPatch) -> None:
    """Times are those of the wall clock, whatever it says."""
    patch.setattr(SteadyClock, "believed", lambda clock, wall, elapsed: wall)
    patch.setattr(SteadyClock, "read", lambda clock, wall, elapsed: wall)
    patch.setattr(SteadyClock, "follows", lambda clock, wall: True)
    patch.setattr(SteadyClock, "steady_for", lambda clock, elapsed: math.inf)


def check(server: ServerProcess, records: list[dict[str, object]]) -> None:
    """All logs are there, and the list and the times are in order."""
    with server.client() as client:
        for each in records:
            assert "data: x" in client.get(f"/v1/workloads/{each['id']}/logs").text, each
        listed = client.get("/v1/workloads?limit=500").json()["workloads"]
    assert [each["id"] for each in listed] == [each["id"] for each in records][::-1]
    times = [each[name] for each in records for name in ("created_at", "finished_at")]
    assert times == sorted(times)  # type: ignore[type-var]


def step(server: ServerProcess, offset: Path, seconds: float) -> None:
    """Set the clock; wait until the service has looked at its history."""
    offset.write_text(str(seconds))
    time.sleep(WRONG_SECONDS)
    server.get("/healthz")


@case(believe_it)
def steps(trial: Trial) -> None:
    """A clock that is wrong for 13 s."""
    prefix, offset = wrong_clock_prefix(trial.folder)
    with trial.server("--record-age", "90d", prefix=prefix) as server:
        records = [echo(server)]
        for seconds in STEPS:
            step(server, offset, seconds)
            records.append(echo(server))
            check(server, records)
            step(server, offset, 0)
            records.append(echo(server))
            check(server, records)


@case(believe_it, in_suite=True)
def restarts(trial: Trial) -> None:
    """A clock that was set while the service was down."""
    prefix, offset = wrong_clock_prefix(trial.folder)
    records: list[dict[str, object]] = []
    for seconds in (0, 40 * DAY, -7200) if trial.is_short else (0, *STEPS, 400 * DAY):
        offset.write_text(str(seconds))
        with trial.server(prefix=prefix) as server:
            records.append(echo(server))
            check(server, records)
            assert server.stop() == 0
