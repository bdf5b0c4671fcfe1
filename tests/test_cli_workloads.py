"""`trio-logs ps`, `stop`, `rerun` and `rm`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from tests.command_line import trio_logs
from tests.server_process import ServerProcess, running_server
from trio_logs.cli.table import make_table
from trio_logs.client import Status, SyncClient, Workload

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
WORKLOAD = Workload(
    id="0123",
    name=None,
    backend="process",
    command=["sh", "-c", "echo a b"],
    labels={},
    status=Status.RUNNING,
    exit_code=None,
    signal=None,
    error=None,
    created_at=NOW - timedelta(seconds=4),
    started_at=NOW - timedelta(seconds=3),
    finished_at=None,
    lines=5,
    bytes=9,
    logs_url="",
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path / "data") as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[SyncClient]:
    with SyncClient(server.url, server.token) as opened:
        yield opened


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({}, "0123 - running - 4.0s ago 3.0s 5 sh -c 'echo a b'"),
        ({"status": Status.QUEUED, "started_at": None}, "0123 - queued - 4.0s ago - 5 sh -c"),
        ({"exit_code": 0, "status": Status.SUCCEEDED}, "0123 - succeeded 0 4.0s"),
        ({"signal": "SIGKILL", "status": Status.FAILED}, "0123 - failed SIGKILL 4.0s"),
        ({"finished_at": NOW + timedelta(days=2, minutes=5)}, "4.0s ago 2d 0h 5"),
        ({"created_at": NOW - timedelta(minutes=61)}, "1h 1m ago"),
        ({"created_at": NOW + timedelta(seconds=1)}, "0.0s ago"),
        ({"name": "a\x1b[2J\x1b]0;t\x07b\nc"}, "0123 ab⏎c running"),
        ({"name": "[bold]x[/]"}, "0123 [bold]x[/] running"),
        ({"name": "a\tb\rc\u2028d"}, "0123 a⇥b␍c⏎d running"),
        ({"command": ["\x9b2Jx", "a\nb\tc"]}, "5 'x' 'a⏎b⇥c'"),
    ],
)
def test_rows(changes: dict[str, object], row: str) -> None:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(make_table([msgspec.structs.replace(WORKLOAD, **changes)], NOW))
    title, shown = capture.get().splitlines()
    assert title.split() == ["ID", "NAME", "STATUS", "EXIT", "CREATED", "TOOK", "LINES", "COMMAND"]
    assert row in re.sub(" +", " ", shown)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_only_names_and_commands_are_cut(width: int) -> None:
    long = msgspec.structs.replace(
        WORKLOAD, id="0123456789abcdef0123", name="n" * 50, command=["日本" * 100]
    )
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(make_table([long, WORKLOAD], NOW))
    title, shown, short = capture.get().splitlines()
    assert title.split() == ["ID", "NAME", "STATUS", "EXIT", "CREATED", "TOOK", "LINES", "COMMAND"]
    row = r"0123456789abcdef0123  n{6,29}…  running  -     4\.0s ago  3\.0s      5  '日本日.*…"
    assert re.fullmatch(row, shown.rstrip())
    assert re.match(r"0123 +-  +running  -     4\.0s ago  3\.0s      5  sh -c", short)


def test_listing(server: ServerProcess, client: SyncClient) -> None:
    long = "x" * 500
    good = client.submit(["echo", long], name="good" * 20, labels={"a": "b"})
    bad = client.submit(["false"], labels={"a": "c"})
    for workload in (good, bad):
        list(client.follow(workload.id))
    listed = trio_logs(server.data, "ps")
    title, first, second = listed.stdout.splitlines()
    assert (listed.returncode, listed.stderr) == (0, "")
    assert (first.split()[0], second.split()[0]) == (bad.id, good.id)
    assert "good" * 20 in second
    assert second.endswith(long)
    assert not {title[-1], first[-1]} & {" "}
    for arguments in (["--status", "succeeded"], ["--label", "a=b"]):
        found = trio_logs(server.data, "ps", *arguments).stdout.splitlines()[1:]
        assert [line.split()[0] for line in found] == [good.id]
    assert [each.id for each in client.list(limit=1)] == [bad.id]
    assert list(client.list(limit=0)) == []
    newest = trio_logs(server.data, "ps", "--json", "--limit", "1")
    assert json.loads(newest.stdout) == json.loads(msgspec.json.encode(client.get(bad.id)))


def test_stopping_and_forgetting(server: ServerProcess, client: SyncClient) -> None:
    one, two, three = (
        client.submit(["sh", "-c", "exec sleep 60"], name=name) for name in ("one", "two", "3")
    )
    gone = client.submit(["true"])
    list(client.follow(gone.id))
    refused = trio_logs(server.data, "rm", "one", gone.id, "two")
    assert (refused.returncode, refused.stdout) == (1, f"{gone.id}\n")
    assert refused.stderr.splitlines() == [
        f"trio-logs: {each.id}: the workload is running: stop it first; `rm --force` stops it"
        for each in (one, two)
    ]
    stopped = trio_logs(server.data, "stop", "one", two.id, one.id)
    assert (stopped.returncode, stopped.stdout) == (0, f"{one.id}\n{two.id}\n")
    for workload in (one, two):
        assert client.get(workload.id).status is Status.STOPPED
    assert trio_logs(server.data, "rm", "one", "two").returncode == 0
    assert [each.id for each in client.list()] == [three.id]
    assert trio_logs(server.data, "rm", "--force", "3").stdout == f"{three.id}\n"
    assert list(client.list()) == []


def test_the_grace_is_passed_on(server: ServerProcess, client: SyncClient) -> None:
    deaf = client.submit(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"])
    with closing(client.follow(deaf.id)) as log:
        next(log)
    assert trio_logs(server.data, "stop", "--grace", "0.1", deaf.id, timeout=8).returncode == 0
    assert client.get(deaf.id).signal == "SIGKILL"


@pytest.mark.parametrize("written", ["INT", "SIGINT", "int", "2"])
def test_a_signal_is_passed_on(server: ServerProcess, client: SyncClient, written: str) -> None:
    one = client.submit(["sh", "-c", "trap 'exit 9' INT; echo ready; while :; do sleep 0.05; done"])
    with closing(client.follow(one.id)) as log:
        next(log)
    assert trio_logs(server.data, "stop", "--signal", written, one.id).returncode == 0
    assert client.get(one.id).exit_code == 9


def test_running_again(server: ServerProcess, client: SyncClient) -> None:
    one = client.submit(["true"], name="one")
    two = client.submit(["true"])
    found = trio_logs(server.data, "rerun", "one", two.id)
    assert (found.returncode, found.stderr) == (0, "")
    made = [client.get(each) for each in found.stdout.split()]
    assert [each.rerun_of for each in made] == [one.id, two.id]
    pushed = client.submit([], backend="push")
    refused = trio_logs(server.data, "rerun", pushed.id)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "came from a client" in refused.stderr
    assert trio_logs(server.data, "rerun", "nobody").returncode == 66
    unknown = trio_logs(server.data, "stop", "--signal", "SIGFOO", two.id)
    assert unknown.returncode == 2
    assert "can't send SIGFOO" in unknown.stderr


def test_nothing_happens_if_one_can_not_be_told(server: ServerProcess, client: SyncClient) -> None:
    workload = client.submit(["sh", "-c", "exec sleep 60"])
    found = trio_logs(server.data, "stop", workload.id, "nobody")
    assert (found.returncode, found.stdout) == (66, "")
    assert not client.get(workload.id).status.final


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stop"], "stop: give an id or a name"),
        (["rm"], "rm: give an id or a name"),
        (["rerun"], "rerun: give an id or a name"),
        (["stop", "x", "--signal", "not one"], "give a name such as INT"),
        (["stop", "x", "--signal", "99"], "give a name such as INT"),
        (["rm", "x", ""], "rm: an id is empty"),
        (["stop", "x", "--grace", "nan"], "Give a number, 0 or more"),
        (["stop", "x", "--grace", "inf"], "Give a number, 0 or more"),
        (["ps", "--limit", "0"], "Give a number, 1 or more"),
        (["ps", "--limit", "-1"], "Give a number, 1 or more"),
        (["ps", "--watch"], "ps --watch needs a terminal"),
        (["ps", "--status", "done"], "succeeded"),
        (["ps", "--label", "a"], "write K=V"),
    ],
)
def test_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    found = trio_logs(tmp_path, *arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
