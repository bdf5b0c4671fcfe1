"""How commands find workloads: by id, by name, by the start or end of an id."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.command_line import trio_logs
from tests.live import Live, open_live
from tests.server_process import ServerProcess
from tests.stores import append, workload
from trio_logs.cli.choose import Rule, choose_all, choose_each
from trio_logs.cli.exits import UsageError
from trio_logs.client import Client, SyncClient
from trio_logs.errors import WorkloadNotFoundError
from trio_logs.records import Outcome, Status, WorkloadSpec, now
from trio_logs.settings import Settings

# Id, name, outcome, oldest first. The last two run.
RECORDS = (
    ("0a01aaaaaa", "build", Status.SUCCEEDED),
    ("0a02bbbbbb", "build", Status.FAILED),
    ("0a03cccccc", "test", Status.SUCCEEDED),
    ("0a04dddddd", "bbbbbb", Status.SUCCEEDED),
    ("0a05eeeeee", "lint", Status.SUCCEEDED),
    ("0a06eeeeee", "lint", None),
    ("0a07ffffff", "build", Status.SUCCEEDED),
    ("0a08aaaaaa", None, Status.SUCCEEDED),
    ("0a09111111", "twice", None),
    ("0a0a222222", "twice", None),
)


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    async with open_live(Settings(data=tmp_path / "data")) as opened:
        # All at one time: then ids tell which is older.
        created_at = now()
        for workload_id, name, status in RECORDS:
            spec = WorkloadSpec(("true",), name=name)
            record = replace(workload(workload_id), spec=spec, created_at=created_at)
            await opened.service.store.create(record)
            if status is None:
                await opened.service.store.start(workload_id, record.created_at)
            else:
                outcome = Outcome(status)
                await append(opened.service.store, workload_id, [], outcome=outcome, finished_at=1)
        yield opened


@pytest.fixture
async def client(live: Live) -> AsyncIterator[Client]:
    async with Client(live.url, live.service.token) as opened:
        yield opened


@pytest.mark.parametrize(
    ("rule", "given", "found"),
    [
        (Rule.NEWEST, "0a01aaaaaa", "0a01aaaaaa"),
        (Rule.NEWEST, "build", "0a07ffffff"),
        (Rule.NEWEST, "test", "0a03cccccc"),
        (Rule.NEWEST, "0a03", "0a03cccccc"),
        (Rule.NEWEST, "cccccc", "0a03cccccc"),
        # A name counts before a part of an id.
        (Rule.NEWEST, "bbbbbb", "0a04dddddd"),
        (
            Rule.NEWEST,
            "aaaaaa",
            "'aaaaaa' fits 0a08aaaaaa (succeeded, *), 0a01aaaaaa ('build', *",
        ),
        (Rule.NEWEST, "0a0", "'0a0' fits *, and more: give more of the id"),
        # A part of an id is its start or end.
        (Rule.NEWEST, "3ccc", "no workload has the id or name '3ccc'"),
        (Rule.NEWEST, "buil", "no workload has the id or name 'buil'"),
        (Rule.NEWEST, "no such/name", "no workload has the id or name 'no such/name'"),
        (Rule.PREVIOUS, "build", "0a02bbbbbb"),
        (Rule.PREVIOUS, "0a02bbbbbb", "0a01aaaaaa"),
        (Rule.PREVIOUS, "0a01aaaaaa", "no workload named 'build' is older than 0a01aaaaaa"),
        (Rule.PREVIOUS, "test", "no workload named 'test' is older than 0a03cccccc"),
        (Rule.PREVIOUS, "0a08aaaaaa", "0a08aaaaaa has no name"),
        (Rule.UNENDED, "lint", "0a06eeeeee"),
        (Rule.UNENDED, "0a05eeeeee", "0a05eeeeee"),
        (Rule.UNENDED, "0a07", "0a07ffffff"),
        (Rule.UNENDED, "build", "no workload named 'build' is queued or runs; * 0a07ffffff"),
        (Rule.UNENDED, "test", "no workload named 'test' is queued or runs"),
        (Rule.UNENDED, "twice", "'twice' fits 0a0a222222 *, 0a09111111 *: give an id"),
        (Rule.UNENDED, "nobody", "no workload has the id or name 'nobody'"),
        (Rule.ONLY, "test", "0a03cccccc"),
        (Rule.ONLY, "lint", "'lint' fits 0a06eeeeee *, 0a05eeeeee *: give an id"),
        (Rule.ONLY, "cccccc", "0a03cccccc"),
    ],
)
async def test_what_a_text_means(client: Client, rule: Rule, given: str, found: str) -> None:
    chosen, errors = await choose_each(client, "test", [given], rule=rule)
    said = [each.id for each in chosen] + [str(error) for error in errors]
    assert len(said) == 1
    assert fnmatchcase(said[0], f"{found}*")


async def test_several_texts(client: Client) -> None:
    told: list[str] = []

    async def notice(text: str) -> None:
        told.append(text)

    texts = ["build", "0a07", "nobody", "test", "lint"]
    chosen, errors = await choose_each(client, "test", texts, notice=notice)
    assert [each.id for each in chosen] == ["0a07ffffff", "0a03cccccc", "0a06eeeeee"]
    assert len(errors) == 1
    assert [re.sub(r", 20.*", "", each) for each in told] == [
        "several workloads are named 'build': this is the newest, 0a07ffffff (succeeded",
        "several workloads are named 'lint': this is the newest, 0a06eeeeee (running",
    ]
    with pytest.raises(WorkloadNotFoundError, match="'nobody'"):
        await choose_all(client, "test", texts, notice=notice)
    for malformed in ([], ["build", ""], ["\udcff"]):
        with pytest.raises(UsageError, match=r"^test: "):
            await choose_all(client, "test", malformed)


def test_commands_and_names(server: ServerProcess) -> None:
    """What each command does with a name that several workloads have."""
    with SyncClient(server.url, server.token) as client:
        first = client.submit(["echo", "first"], name="job")
        list(client.follow(first.id))
        second = client.submit(["sh", "-c", "echo second; exec sleep 60"], name="job")
        gone = client.submit(["true"])
        list(client.follow(gone.id))
    found = trio_logs(server.data, "logs", "--no-follow", "job", TZ="Asia/Kolkata")
    assert found.returncode == 0
    # `echo` may not have run yet.
    assert found.stdout in ("", "second\n")
    told = f"trio-logs: several workloads are named 'job': this is the newest, {second.id} "
    when = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\+05:30"
    assert re.fullmatch(rf"{told}\(running, {when}\)\n", found.stderr)
    found = trio_logs(server.data, "wait", "--timeout", "0", "job")
    assert (found.returncode, found.stdout) == (124, "")
    newest, late = found.stderr.splitlines()
    assert newest.startswith(told)
    assert late == f"trio-logs: {second.id} has not ended after 0 s"
    found = trio_logs(server.data, "logs", "--previous", "job")
    assert (found.returncode, found.stdout, found.stderr) == (0, "first\n", "")
    found = trio_logs(server.data, "logs", "-p", "--label", "a=b")
    assert found.returncode == 2
    # The others are deleted all the same, and the last error gives the code.
    found = trio_logs(server.data, "rm", "--force", "nobody", "job", gone.id)
    assert (found.returncode, found.stdout) == (66, f"{gone.id}\n")
    assert found.stderr.count("\n") == 2
    assert f"'job' fits {second.id} ('job', running, " in found.stderr
    found = trio_logs(server.data, "stop", "job")
    assert (found.returncode, found.stdout) == (0, f"{second.id}\n")
    found = trio_logs(server.data, "stop", "job")
    assert found.returncode == 66
    assert found.stderr.startswith("trio-logs: no workload named 'job' is queued or runs; ")
    # The short id, which `ps` shows.
    found = trio_logs(server.data, "logs", first.id[-6:])
    assert (found.returncode, found.stdout, found.stderr) == (0, "first\n", "")
