"""The limit on open files: clients can't take what workloads and queries need."""

from __future__ import annotations

import dataclasses
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.command_line import STARTED
from tests.server_process import ServerProcess, running_server
from trio_logs.cli import descriptors
from trio_logs.cli.descriptors import fit, per_peer
from trio_logs.open_files import SERVICE, STARTING, Shares
from trio_logs.server import ServerLimits
from trio_logs.settings import Settings

OWN = SERVICE + STARTING + 3


@pytest.mark.parametrize(
    ("free", "sockets", "running", "shares"),
    [
        (130, 100, 10, (100, 10)),
        (129, 100, 10, (99, 10)),
        # Each gets half.
        (60, 1000, 1000, (30, 10)),
        # What one does not ask for goes to the other.
        (60, 3, 1000, (3, 19)),
        (60, 1000, 2, (54, 2)),
        # The least of all.
        (0, 100, 10, (1, 1)),
        (-50, 100, 10, (1, 1)),
    ],
)
def test_shares(free: int, sockets: int, running: int, shares: tuple[int, int]) -> None:
    found = Shares.of(OWN + free, already_open=3, sockets=sockets, running=running)
    assert (found.sockets, found.running) == shares


def test_what_the_limit_has_room_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = ServerLimits(write_timeout=7), Settings(tmp_path, heartbeat=8)
    monkeypatch.setattr(descriptors, "open_now", lambda: 3)
    monkeypatch.setattr(descriptors, "raise_limit", lambda wanted: wanted)
    assert fit(*asked) == asked
    monkeypatch.setattr(descriptors, "raise_limit", lambda wanted: 1024)
    limits, settings = fit(*asked)
    assert limits == dataclasses.replace(asked[0], connections=584)
    # Streams leave connections for other requests.
    assert settings == dataclasses.replace(asked[1], max_streams=530)
    assert (per_peer(584), per_peer(11_000), per_peer(1)) == (292, 1000, 1)


@contextmanager
def idle_clients(server: ServerProcess, count: int) -> Iterator[list[socket.socket]]:
    """Connections that send nothing, and have no token."""
    host, port = server.url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        opened = [
            stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(count)
        ]
        yield opened


def test_idle_clients_take_no_descriptor_of_a_workload(tmp_path: Path) -> None:
    prefix = ("prlimit", "--nofile=256:256", *STARTED)
    with running_server(tmp_path / "data", prefix=prefix) as server:
        fitted = re.search("connections=([0-9]+) limit=256 running=([0-9]+)", server.lines[0])
        assert fitted is not None, server.lines
        connections, running = map(int, fitted.groups())
        with server.client() as client:
            client.get("/healthz")
            with idle_clients(server, 300) as idle:
                # The server has accepted all that it accepts once it refuses one.
                assert b" 503 " in idle[connections].recv(100)
                submitted = [
                    client.post("/v1/workloads", json={"command": ["sh", "-c", "echo ran"]}).json()
                    for _ in range(running)
                ]
                for workload in submitted:
                    log = client.get(f"/v1/workloads/{workload['id']}/logs").text
                    assert "data: ran" in log
                    assert '"status":"succeeded"' in log
                metrics = client.get("/metrics").text
        assert "trio_logs_accepts_exhausted_total 0" in metrics
        assert server.stop() == 0
