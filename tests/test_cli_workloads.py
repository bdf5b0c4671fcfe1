"""`trio-logs stop`, `rerun`, `rm`, `inspect` and `prune`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.command_line import trio_logs
from tests.server_process import ServerProcess, running_server
from tests.stores import append, running, workload
from trio_logs.client import Status, SyncClient
from trio_logs.records import Outcome, now
from trio_logs.store.sqlite import SQLiteStore


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path / "data") as opened:
        yield opened


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
    for each in (one, two):
        assert client.get(each.id).status is Status.STOPPED
    assert trio_logs(server.data, "rm", "one", "two").returncode == 0
    assert [each.id for each in client.list()] == [three.id]
    assert trio_logs(server.data, "rm", "-f", "3").stdout == f"{three.id}\n"
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
    assert trio_logs(server.data, "stop", "-s", written, "-t", "1m", one.id).returncode == 0
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


def test_pruning(server: ServerProcess, client: SyncClient) -> None:
    good, kept, bad = (
        client.submit(["sh", "-c", f"exit {code}"], labels={"kind": kind})
        for code, kind in ((0, "a"), (0, "b"), (3, "a"))
    )
    for each in (good, kept, bad):
        list(client.follow(each.id))
    runs = client.submit(["sleep", "60"], labels={"kind": "a"})
    asked = trio_logs(server.data, "prune", "--label", "kind=a", "--dry-run")
    assert (asked.returncode, asked.stderr) == (0, "trio-logs: 2 workloads would be deleted\n")
    assert [line.split()[0] for line in asked.stdout.splitlines()] == ["ID", bad.id, good.id]
    assert len(list(client.list())) == 4
    young = trio_logs(server.data, "prune", "--label", "kind=a", "--older-than", "1h")
    assert (young.stdout, young.stderr) == ("", "trio-logs: 0 workloads deleted\n")
    failed = trio_logs(server.data, "prune", "--status", "failed", "--status", "lost")
    assert (failed.returncode, failed.stdout) == (0, f"{bad.id}\n")
    assert failed.stderr == "trio-logs: 1 workload deleted\n"
    old = trio_logs(server.data, "prune", "--older-than", "0s", "--label", "kind=a")
    assert (old.returncode, old.stdout) == (0, f"{good.id}\n")
    assert [each.id for each in client.list()] == [runs.id, kept.id]


async def test_pruning_counts_from_the_end(tmp_path: Path) -> None:
    """A workload that ran for hours is as old as its end, not as its start."""
    minute = 60 * 1_000_000
    data = tmp_path / "data"
    data.mkdir()
    async with running(SQLiteStore(data / "trio_logs.db")) as store:
        await store.create(replace(workload("long"), created_at=now() - 120 * minute))
        outcome = Outcome(Status.SUCCEEDED, exit_code=0)
        await append(store, "long", [], outcome=outcome, finished_at=now() - 10 * minute)
    with running_server(data) as server:
        for age, printed in (("1h", ""), ("5m", "long\n")):
            found = trio_logs(server.data, "prune", "--older-than", age)
            assert (found.returncode, found.stdout) == (0, printed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stop"], "stop: give an id or a name"),
        (["rm"], "rm: give an id or a name"),
        (["rerun"], "rerun: give an id or a name"),
        (["stop", "x", "--signal", "not one"], "give a name such as INT"),
        (["stop", "x", "--signal", "99"], "give a name such as INT"),
        (["rm", "x", ""], "rm: an id is empty"),
        (["stop", "x", "--grace", "nan"], "Give a duration, 0s or more"),
        (["stop", "x", "--grace", "inf"], "Give a duration, 0s or more"),
        (["inspect"], "inspect: give an id or a name"),
        (["prune"], "prune: say which workloads"),
        (["prune", "--dry-run"], "prune: say which workloads"),
        (["prune", "--older-than", "old"], "--older-than 'old': give a duration such as 90s"),
        (
            ["prune", "--older-than", "-1"],
            "--older-than. Give a duration, from 0s to 36500d",
        ),
        (["prune", "--older-than", "9" * 12 + "d"], "--older-than. Give a duration, from 0s to"),
        (["prune", "--status", "running"], "succeeded"),
    ],
)
def test_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    found = trio_logs(tmp_path, *arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert message in found.stderr
    assert found.stderr.count("\n") == 1
