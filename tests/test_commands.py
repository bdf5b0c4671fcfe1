"""The commands as a user runs them, and the app under stock Hypercorn."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from tests.live import parse_events
from tests.server_process import running_server
from trio_logs.errors import InvalidRequestError
from trio_logs.server import Bind, TCPBind


def trio_logs(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trio_logs", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_serve_prints_its_address_and_exits_0(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        assert server.lines == [f"Listening on {server.url}\n"]
        assert httpx2.get(f"{server.url}/readyz").status_code == 200
        # On loopback, only names of this machine are answered.
        evil = httpx2.get(f"{server.url}/readyz", headers={"Host": "evil.example"})
        assert evil.status_code == 421
        assert server.stop() == 0
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_interrupt_is_a_clean_stop_too(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
    assert not any("Traceback" in line for line in server.lines)


def test_functions_of_a_module(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(
        "from trio_logs import function\n"
        "@function('greet')\n"
        "async def greet(log, name):\n"
        "    await log.write(f'hello {name}\\n')\n"
    )
    os.environ["PYTHONPATH"] = str(tmp_path)
    try:
        with running_server(tmp_path / "data", "--import", "jobs") as server:
            body = {"backend": "function", "command": ["greet", "you"]}
            with httpx2.Client(base_url=server.url, headers=server.headers, timeout=30) as client:
                workload = client.post("/v1/workloads", json=body).json()
                events = parse_events(client.get(workload["logs_url"]).content)
    finally:
        del os.environ["PYTHONPATH"]
    assert [event[2] for event in events[:-1]] == ["hello you"]
    assert events[-1][2]["status"] == "succeeded"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--bind", "8000"], "--bind '8000': give HOST:PORT"),
        (["serve", "--bind", "127.0.0.1:70000"], "give HOST:PORT"),
        (["serve", "--data", "/dev/null/x"], "can't use the data folder"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str) -> None:
    found = trio_logs(*arguments)
    assert found.returncode == 1
    assert message in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        found = trio_logs("serve", "--bind", bind, "--data", str(tmp_path))
    assert found.returncode == 1
    assert "in use" in found.stderr
    assert found.stderr.count("\n") == 1


def test_binds() -> None:
    assert Bind.parse("[::1]:80") == TCPBind("::1", 80)
    assert Bind.parse("localhost:0").is_loopback
    assert not Bind.parse("0.0.0.0:80").is_loopback
    with pytest.raises(InvalidRequestError):
        Bind.parse(":80")


def test_under_stock_hypercorn(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {**os.environ, "TRIO_LOGS_DATA": str(tmp_path), "TRIO_LOGS_TOKEN": "t"}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "hypercorn", "-k", "trio"),
            *("--bind", f"127.0.0.1:{port}", "trio_logs.asgi:app"),
        ],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url, headers = f"http://127.0.0.1:{port}", {"Authorization": "Bearer t"}
        deadline = time.monotonic() + 20
        while True:
            try:
                httpx2.get(f"{url}/readyz").raise_for_status()
                break
            except httpx2.ConnectError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        with httpx2.Client(base_url=url, headers=headers, timeout=30) as client:
            body = {"command": ["sh", "-c", "echo one; echo two"]}
            workload = client.post("/v1/workloads", json=body).json()
            events = parse_events(client.get(workload["logs_url"]).content)
            assert [event[1] for event in events] == ["1", "2", "end"]
        process.terminate()
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.kill()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        process.stderr.close()
