"""`trio-logs logs` for a part of a log: ranges and patterns."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import environment, started, trio_logs
from tests.server_process import ServerProcess, running_server
from tests.test_cli_logs import PRINT_MODULES
from trio_logs.client import SyncClient

TEXT = b"".join(b"line %d\n" % number for number in range(1, 21)) + b"10% x\r50% y\r\nLast\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("part") / "data") as running:
        with SyncClient(running.url, running.token) as client:
            client.push(client.submit([], backend="push", name="done").id, [TEXT])
        yield running


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ("-n2", "10% x\n50% y\nLast\n"[6:]),
        ("-fn 1", "Last\n"),
        ("--from 19 --to 20", "line 19\nline 20\n"),
        ("--to 1 -f", "line 1\n"),
        ("--from 22", "Last\n"),
        ("--from 99", ""),
        ("--grep 1[0-2]$ --from 11", "line 11\nline 12\n"),
        ("--grep 1 -n 1", "10% x\n"),
        ("--grep 1. --fixed", ""),
        ("--grep LAST", ""),
        ("--grep LAST --ignore-case", "Last\n"),
        ("--grep LAST --fixed --ignore-case", "Last\n"),
        ("--grep ^line --invert", "50% y\nLast\n"),
        ("--grep -x", ""),
        ("--grep= --to 1", "line 1\n"),
        ("--grep t --color always", "Las\x1b[01;31mt\x1b[0m\n"),
        ("--grep x --color always", "10% \x1b[01;31mx\x1b[0m\n"),
        ("--grep t --color always --raw", "Last\n"),
        ("--grep line --invert --color always -n1", "Last\n"),
    ],
)
def test_a_part(data: Path, options: str, shown: str) -> None:
    found = trio_logs(data, "logs", "done", *options.split())
    assert (found.returncode, found.stderr, found.stdout) == (0, "", shown)


def test_times_and_objects_of_a_part(data: Path) -> None:
    timed = trio_logs(data, "logs", "done", "-tn1").stdout
    assert timed.endswith("Z Last\n")
    assert len(timed) == len("2026-01-31T12:00:00.000001Z Last\n")
    printed = trio_logs(data, "logs", "done", "--to", "2", "--json").stdout
    *lines, stop = map(json.loads, printed.splitlines())
    assert [line["seq"] for line in lines] == [1, 2]
    assert (stop["event"], stop["reason"], stop["next"]) == ("stop", "to", 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--from 5 --to 4", "--from 5 is after --to 4"),
        ("--from 0", "Give a number, 1 or more"),
        ("--to 0", "Give a number, 1 or more"),
        ("--fixed", "--fixed: give --grep, too"),
        ("--ignore-case", "--ignore-case: give --grep, too"),
        ("--invert", "--invert: give --grep, too"),
        ("--grep (", "--grep '(': RE2 refuses this expression: missing ): ("),
        ("--since soon", "--since 'soon': give a time such as 2026-01-31"),
        ("--until soon", "--until 'soon': give a time"),
        ("--color maybe", "--color"),
    ],
)
def test_an_error_names_its_option(data: Path, options: str, message: str) -> None:
    found = trio_logs(data, "logs", "done", *options.split())
    assert message in found.stderr
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (2, "", 1)


def test_a_pattern_is_followed_live(server: ServerProcess, data: Path) -> None:
    with SyncClient(server.url, server.token) as client:
        script = "echo old; echo hit 1; read -r x <gate; echo new; echo hit 2"
        folder = data.parent
        subprocess.run(["mkfifo", str(folder / "gate")], check=True)
        workload = client.submit(["sh", "-c", script], cwd=str(folder))
        with started(data, "logs", workload.id, "-f", "--grep", "^hit") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "hit 1\n"
            (folder / "gate").write_text("go\n")
            assert process.stdout.read() == "hit 2\n"
            assert process.wait(20) == 0


@pytest.mark.parametrize("options", [[], ["--from", "21"], ["--grep", "x"]])
def test_only_a_pattern_loads_re2(data: Path, options: list[str]) -> None:
    found = subprocess.run(
        [sys.executable, "-c", PRINT_MODULES, "logs", "done", *options],
        env=environment(data),
        capture_output=True,
        text=True,
        timeout=60,
    )
    imported = set(found.stderr.split())
    assert "trio_logs.cli.logs" in imported
    assert ("re2" in imported) == ("--grep" in options)
