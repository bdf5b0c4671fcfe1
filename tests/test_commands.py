"""The commands as a user runs them, and the app under stock Hypercorn."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from tests.command_line import PROGRAM, environment, started, trio_logs
from tests.live import parse_events
from tests.server_process import running_server
from trio_logs.cli import CLIENTS, OTHERS, create_app
from trio_logs.errors import InvalidRequestError
from trio_logs.server import Bind, TCPBind


def test_serve_prints_its_address_and_exits_0(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as server:
        assert server.lines == [f"Listening on {server.url}\n"]
        assert server.get("/readyz").status_code == 200
        # On loopback, only names of this machine are answered.
        evil = server.get("/readyz", Host="evil.example")
        assert evil.status_code == 421
        assert server.stop() == 0
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_this_machine_is_answered_whatever_other_names_are_allowed(tmp_path: Path) -> None:
    """Also where the service knows none of its own names."""
    path = tmp_path / "socket"
    arguments = ("serve", "--bind", f"unix:{path}", "--allowed-host", "Logs.Example")
    with started(tmp_path, *arguments) as server:
        assert server.stderr is not None
        assert server.stderr.readline() == f"Listening on unix:{path}\n"
        found = trio_logs(tmp_path, "ps")
        assert (found.returncode, found.stderr) == (0, "")
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path))) as client:
            for host, status in (("logs.example", 200), ("[::1]", 200), ("evil.example", 421)):
                assert client.get(f"http://{host}/readyz").status_code == status


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
    prefix = ("env", f"PYTHONPATH={tmp_path}")
    with running_server(tmp_path / "data", "--import", "jobs", prefix=prefix) as server:
        body = {"backend": "function", "command": ["greet", "you"]}
        workload = server.post("/v1/workloads", body).json()
        events = parse_events(server.get(workload["logs_url"]).content)
    assert [event[2] for event in events[:-1]] == ["hello you"]
    assert events[-1][2]["status"] == "succeeded"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--bind", "8000"], 2, "--bind '8000': give HOST:PORT"),
        (["--bind", "127.0.0.1:70000"], 2, "give HOST:PORT"),
        (["--keyfile", "x"], 2, "--keyfile: give its certificate with --certfile"),
        (["--import", "no_such"], 2, "--import no_such: No module named 'no_such'; it must be"),
        (["--import", "./jobs.py"], 2, "--import './jobs.py': give a module's name"),
        (["--bind", "unix:/no/such/x"], 1, "can't listen on unix:/no/such/x: No such file"),
        (["--data", "/dev/null/x"], 1, "can't use the data folder"),
    ],
)
def test_errors_are_one_line(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    found = trio_logs(tmp_path, "serve", *arguments)
    assert found.returncode == code
    assert message in found.stderr
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "bounds"),
    [
        ("--max-running", "0", "number, 1 or more"),
        ("--grace", "-1", "duration, 0s or more"),
        ("--grace", "nan", "duration, 0s or more"),
        ("--grace", "inf", "duration, 0s or more"),
        ("--write-timeout", "0", "duration, from 1s to 1d"),
        ("--max-connections", "0", "number, 1 or more"),
        ("--max-connections-per-peer", "0", "number, 1 or more"),
        ("--history-bytes", "-5", "number, 1 or more"),
        ("--history-bytes", "0", "number, 1 or more"),
        ("--history-age", "0", "duration, from 1s to 36500d"),
        ("--history-age", "1e305", "duration, from 1s to 36500d"),
    ],
)
def test_numbers_that_make_no_sense(tmp_path: Path, option: str, value: str, bounds: str) -> None:
    found = trio_logs(tmp_path, "serve", option, value)
    assert found.returncode == 2
    assert option in found.stderr
    assert f"Give a {bounds}." in found.stderr
    assert found.stderr.count("\n") == 1


def test_each_number_has_its_bounds() -> None:
    for option in create_app([])["serve"].assemble_argument_collection():
        if option.hint in (int, float, int | None):
            assert option.parameter.validator, option.names


def test_a_token_that_can_not_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIO_LOGS_TOKEN", "two words")
    found = trio_logs(tmp_path, "serve")
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert "two words" not in found.stderr


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        found = trio_logs(tmp_path, "serve", "--bind", bind)
    assert found.returncode == 1
    assert f"trio-logs: can't listen on {bind}: Address already in use" in found.stderr
    assert "--bind 127.0.0.1:0 takes a free port" in found.stderr
    assert found.stderr.count("\n") == 1


def test_help_tells_the_data_folder_and_has_commands_in_order(tmp_path: Path) -> None:
    shown = trio_logs(tmp_path, "serve", "--help", COLUMNS="200").stdout
    assert f"[env: TRIO_LOGS_DATA] [default: {tmp_path}]" in shown
    shown = trio_logs(tmp_path, "--help").stdout
    listed = re.findall(r"^│ (\w+) ", shown, re.MULTILINE)
    assert listed == [*CLIENTS, *OTHERS]


@pytest.mark.parametrize("command", [*CLIENTS, *OTHERS])
def test_each_command_imports_what_it_needs(tmp_path: Path, command: str) -> None:
    """Started, not forked off a process in which others have imported it already."""
    found = subprocess.run(
        [*PROGRAM, command, "--help"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert f"Usage: trio-logs {command}" in found.stdout


def test_the_demo_shows_a_command_that_can_be_copied(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"
    shown = trio_logs(tmp_path, "demo", COLUMNS="60", http_proxy=nobody).stdout
    assert re.search(r"^\$ curl -N -H .* http://127\S+/v1/workloads/\w+/logs$", shown, re.MULTILINE)


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
                httpx2.get(f"{url}/readyz", verify=False).raise_for_status()
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
