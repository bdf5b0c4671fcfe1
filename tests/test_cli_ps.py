"""`trio-logs ps`: the table, and what it lists."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import trio

from tests.command_line import PROGRAM, environment, trio_logs
from tests.server_process import ServerProcess, running_server
from tests.stores import append, running, workload
from trio_logs.cli.table import make_table, short_ids
from trio_logs.client import Status, SyncClient, Workload
from trio_logs.records import Outcome, WorkloadSpec, now
from trio_logs.store.sqlite import SQLiteStore

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
SECONDS = 1_000_000


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
    title, shown = make_table([msgspec.structs.replace(WORKLOAD, **changes)], NOW, 119)
    assert title.split() == ["ID", "NAME", "STATUS", "EXIT", "CREATED", "TOOK", "LINES", "COMMAND"]
    assert row in re.sub(" +", " ", shown)


@pytest.mark.usefixtures("kolkata")
@pytest.mark.parametrize("columns", [None, 120])
def test_a_wide_table_has_local_times_with_their_zone(columns: int | None) -> None:
    [_, row] = make_table([WORKLOAD], NOW, columns)
    assert (
        row == "0123  -     running  -     2026-01-31 17:29:56+05:30  3.0s      5  sh -c 'echo a b'"
    )


LONG = msgspec.structs.replace(
    WORKLOAD,
    id="0123456789abcdef0123",
    name="a-name-of-many-letters-and-more",
    status=Status.TIMED_OUT,
    signal="SIGTERM",
    created_at=NOW - timedelta(minutes=125),
    started_at=NOW - timedelta(minutes=121),
    lines=1_234_567,
    command=["日本" * 50],
)


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (30, "ef0123  a-name-of-…  timed_out"),
        (40, "ef0123  a-name-of-many-lette…  timed_out"),
        (60, "ef0123  a-name-of-many-lette…  timed_out  SIGTERM  2h 5m ago"),
        (80, "ef0123  a-name-of-many-letters-a…  timed_out  SIGTERM  2h 5m ago  2h 1m  1234567"),
        (
            110,
            "ef0123  a-name-of-many-letters-and-mo…  timed_out  SIGTERM  2h 5m ago  2h 1m  1234567"
            "  '日本日本日本日本日本…",
        ),
    ],
)
def test_a_narrow_table_has_fewer_columns(columns: int, row: str) -> None:
    _, shown, other = make_table([LONG, WORKLOAD], NOW, columns)
    assert shown == row
    assert re.match(r"0123    -  +running( |$)", other)


@pytest.mark.parametrize("columns", [60, 80])
def test_usual_workloads_at_usual_widths(columns: int) -> None:
    usual = msgspec.structs.replace(
        LONG, name="nightly-build-42", status=Status.FAILED, exit_code=1, signal=None
    )
    title, row = make_table([usual], NOW, columns)
    if columns == 60:
        assert title == "ID      NAME              STATUS  EXIT  CREATED    TOOK"
        assert row == "ef0123  nightly-build-42  failed  1     2h 5m ago  2h 1m"
    else:
        assert title == "ID      NAME              STATUS  EXIT  CREATED    TOOK     LINES  COMMAND"
        assert row.startswith(
            "ef0123  nightly-build-42  failed  1     2h 5m ago  2h 1m  1234567  '日"
        )


def test_a_table_is_coloured_where_asked() -> None:
    title, row = make_table([WORKLOAD], NOW, 60, colour=True)
    assert re.fullmatch(r"\x1b\[1mID .*\x1b\[0m", title)
    assert re.match(r"0123 +-  +\x1b\[34mrunning *\x1b\[0m  ", row)


def test_short_ids_are_longer_where_they_are_ambiguous() -> None:
    ids = ["0000aaaaaa", "0001aaaaaa", "0002bbbbbb", "0010cccccc", "1010cccccc"]
    listed = [msgspec.structs.replace(WORKLOAD, id=each) for each in ids]
    shown = ["0aaaaaa", "1aaaaaa", "bbbbbb", "0010cccccc", "1010cccccc"]
    assert short_ids(listed) == shown
    # A name counts before a part of an id.
    listed.append(msgspec.structs.replace(WORKLOAD, id="0003dddddd", name="bbbbbb"))
    assert short_ids(listed) == [*shown[:2], "2bbbbbb", *shown[3:], "dddddd"]


def fill(data: Path) -> None:
    """52 workloads; one of them failed an hour ago, and the newest runs."""

    async def create() -> None:
        data.mkdir(parents=True)
        async with running(SQLiteStore(data / "trio_logs.db")) as store:
            for number in range(52):
                created_at = now() - (3600 * SECONDS if number < 2 else 0)
                spec = WorkloadSpec(("true",), name=f"n{number % 50}", labels={"n": f"{number}"})
                record = replace(workload(f"{number:04}ffffff"), spec=spec, created_at=created_at)
                await store.create(record)
                status = Status.FAILED if number == 1 else Status.SUCCEEDED
                outcome = Outcome(status, exit_code=0)
                await append(store, record.id, [], outcome=outcome, finished_at=created_at + 1)

    trio.run(create)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("ps") / "data"
    fill(data)
    with running_server(data) as opened:
        yield opened


def ids(text: str) -> list[int]:
    """The numbers of the workloads of `fill`, from whole ids at the start of each line."""
    return [int(line[:4]) for line in text.splitlines() if re.match(r"\d{4}ffffff( |$)", line)]


@pytest.mark.parametrize(
    ("arguments", "found", "told"),
    [
        ([], range(51, 1, -1), "trio-logs: 2 more: -a lists all of them\n"),
        (["-q"], range(51, 1, -1), "trio-logs: 2 more: -a lists all of them\n"),
        (["-a"], range(51, -1, -1), ""),
        (["--all", "--quiet"], range(51, -1, -1), ""),
        (["--limit", "2"], [51, 50], ""),
        (["-n", "51"], range(51, 0, -1), ""),
        (["--name", "n1"], [51, 1], ""),
        (["--since", "30m"], range(51, 1, -1), ""),
        (["-q", "--status", "failed", "--status", "lost"], [1], ""),
        (["--label", "n=7"], [7], ""),
        (["--name", "n1", "--label", "n=7"], [], ""),
    ],
)
def test_what_is_listed(
    server: ServerProcess, arguments: list[str], found: list[int], told: str
) -> None:
    listed = trio_logs(server.data, "ps", *arguments)
    assert (listed.returncode, listed.stderr) == (0, told)
    assert ids(listed.stdout) == [*found]
    quiet = bool({"-q", "--quiet"} & set(arguments))
    assert listed.stdout.startswith("ID ") is not quiet
    assert not re.search(r" $", listed.stdout, re.MULTILINE)


def test_objects(server: ServerProcess) -> None:
    with SyncClient(server.url, server.token) as client:
        [newest] = client.list(limit=1)
    found = trio_logs(server.data, "ps", "--json", "--limit", "1")
    assert json.loads(found.stdout) == json.loads(msgspec.json.encode(newest))
    assert found.stdout.count("\n") == 1
    found = trio_logs(server.data, "inspect", "n3", newest.id[:8])
    assert (found.returncode, found.stderr) == (0, "")
    first, second = found.stdout.split("\n}\n{\n")
    assert json.loads(first + "}")["name"] == "n3"
    assert json.loads("{" + second) == json.loads(msgspec.json.encode(newest))
    assert '\n  "name": "n3",\n' in found.stdout
    wire = server.get(f"/v1/workloads/{newest.id}").json()
    assert list(json.loads("{" + second)) == list(wire)


@contextmanager
def watched(server: ServerProcess, kind: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """`ps --watch` in a terminal of this kind; the descriptor has what it draws."""
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen(
            [*PROGRAM, "ps", "--watch"],
            env=environment(server.data, TERM=kind),
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield ours, process
            finally:
                process.kill()
    finally:
        os.close(ours)
        os.close(theirs)


def test_watching_needs_a_terminal_that_can_draw(server: ServerProcess) -> None:
    with watched(server, "dumb") as (_, process):
        assert process.wait(60) == 2
        assert process.stderr is not None
        assert "ps --watch needs a terminal that is not dumb" in process.stderr.read()


def test_the_first_table_has_rows(server: ServerProcess) -> None:
    with watched(server, "xterm") as (terminal, _):
        drawn = b""
        while b"n3" not in drawn:
            drawn += os.read(terminal, 4096)
        assert drawn.count(b"\x1b[H\x1b[J") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "0"], "Give a number, 1 or more"),
        (["--limit", "-1"], "Give a number, 1 or more"),
        (["--watch"], "ps --watch needs a terminal"),
        (["--status", "done"], "succeeded"),
        (["--label", "a"], "write K=V"),
        (["--since", "soon"], "--since 'soon': give a time"),
        (["--since", "99999999999999"], "--since '99999999999999': there is no such time"),
        (["-q", "--json"], "ps: give --json or -q, not both"),
        (["--name", "\udce9"], "--name: '\\udce9' is not UTF-8"),
    ],
)
def test_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    found = trio_logs(tmp_path, "ps", *arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
