"""A low limit on open files."""

from __future__ import annotations

import select

import pytest

from tests.command_line import STARTED
from tests.siege import case
from tests.siege.trial import Trial
from tests.test_descriptors import idle_clients

LIMIT = 256


def share_nothing(patch: pytest.MonkeyPatch) -> None:
    """Connections may take all descriptors."""
    patch.setattr("trio_logs.cli.serve.fit", lambda limits, settings: (limits, settings))


@case(share_nothing, in_suite=True)
def idle(trial: Trial) -> None:
    """Clients that hold all connections they can get make no workload fail."""
    prefix = ("prlimit", f"--nofile={LIMIT}:{LIMIT}", *STARTED)
    with trial.server(prefix=prefix) as server, server.client() as client:
        client.get("/healthz")
        with trial.healthy(server), idle_clients(server, 300) as held:
            # The server accepts no more once it refuses some; without a share, it never does.
            select.select(held, [], [], 1)
            for _ in range(3 if trial.is_short else 100):
                made = client.post("/v1/workloads", json={"command": ["echo", "ran"]}).json()
                log = client.get(f"/v1/workloads/{made['id']}/logs").text
                assert '"status":"succeeded"' in log, log
            listed = client.get("/v1/workloads?status=failed").json()["workloads"]
            assert listed == []
        assert server.stop() == 0
