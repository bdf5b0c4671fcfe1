"""`trio-logs logs --label`, as a process of its own, against the real service."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.command_line import started, trio_logs
from trio_logs.client import SyncClient, Workload


def submit(client: SyncClient, script: str, name: str | None, label: str) -> Workload:
    options = {} if name is None else {"name": name}
    return client.submit(["sh", "-c", script], labels={"test": label}, **options)  # type: ignore[arg-type]


def finished(client: SyncClient, script: str, name: str | None, label: str) -> Workload:
    """A workload that has ended."""
    workload = submit(client, script, name, label)
    list(client.follow(workload.id, tail=0))
    return client.get(workload.id)


def test_all_logs_with_a_label_in_the_order_of_arrival(data: Path, client: SyncClient) -> None:
    finished(client, "echo one; echo error >&2", "first", "all")
    finished(client, "echo other", "other", "another")
    finished(client, "echo two", "b", "all")
    found = trio_logs(data, "logs", "--label", "test=all")
    assert found.stdout == "first | one\nb     | two\n"
    assert (found.stderr, found.returncode) == ("first | error\n", 0)
    for follow in ("--no-follow", "--follow=false"):
        assert trio_logs(data, "logs", "--label", "test=all", follow).stdout == found.stdout
    both = trio_logs(data, "logs", "--label", "test=all", "--label", "x=y")
    assert both.returncode == 66
    assert "no workload has test=all, x=y" in both.stderr
    part = trio_logs(data, "logs", "--label", "test=all", "--tail", "1", "--stream", "stdout")
    assert part.stdout == found.stdout


def test_one_log_has_no_prefix(data: Path, client: SyncClient) -> None:
    finished(client, "echo one", "first", "one")
    assert trio_logs(data, "logs", "--label", "test=one").stdout == "one\n"


def test_equal_names_are_told_apart_by_their_ids(data: Path, client: SyncClient) -> None:
    ids = [finished(client, "echo x", "same", "names").id for _ in range(2)]
    found = trio_logs(data, "logs", "--label", "test=names").stdout
    assert found == "".join(f"{each} | x\n" for each in ids)


def test_objects(data: Path, client: SyncClient) -> None:
    ids = [finished(client, f"echo {number}", None, "json").id for number in range(2)]
    found = trio_logs(data, "logs", "--label", "test=json", "--json").stdout.split("\n")[:-1]
    objects = [json.loads(line) for line in found]
    assert [(each["workload"], each.get("event"), each.get("text")) for each in objects] == [
        *[(ids[0], None, "0"), (ids[0], "end", None), (ids[1], None, "1"), (ids[1], "end", None)]
    ]


def test_ids_and_labels_exclude_each_other(data: Path) -> None:
    found = trio_logs(data, "logs", "x", "--label", "a=b")
    assert (found.returncode, found.stderr) == (
        2,
        "trio-logs: logs: give ids or --label, not both\n",
    )
    assert trio_logs(data, "logs", "--label", "a").returncode == 2


def test_it_ends_with_the_last_of_them(data: Path, client: SyncClient, tmp_path: Path) -> None:
    finished(client, "echo one", "first", "last")
    stop = tmp_path / "stop"
    running = submit(client, f"echo two; while [ ! -e {stop} ]; do sleep 0.05; done", "b", "last")
    with started(data, "logs", "--label", "test=last") as process:
        assert process.stdout is not None
        assert {process.stdout.readline() for _ in range(2)} == {"first | one\n", "b     | two\n"}
        # It is none of those of the start.
        finished(client, "echo three", "c", "last")
        stop.touch()
        assert process.stdout.read() == ""
        assert process.wait(30) == 0
    assert client.get(running.id).status == "succeeded"


@pytest.mark.parametrize("flag", ["-f", "--follow"])
def test_it_follows_those_that_are_created_later(flag: str, data: Path, client: SyncClient) -> None:
    label = f"later{flag.strip('-')}"
    finished(client, "seq 2", "known", label)
    with started(data, "logs", flag, "--label", f"test={label}", "--tail", "1") as process:
        assert process.stdout is not None
        # It has listed the workloads: of others, it can only know by the events.
        assert process.stdout.readline() == "known | 2\n"
        finished(client, "echo other", "other", "another")
        # The tail is that of workloads that were there before.
        finished(client, "seq 3", "first", label)
        assert [process.stdout.readline() for _ in range(3)] == [
            f"first | {number}\n" for number in (1, 2, 3)
        ]
        finished(client, "echo long", "long name", label)
        assert process.stdout.readline() == "long name | long\n"
        submit(client, "echo last; sleep 100", None, label)
        assert process.stdout.readline().endswith(" | last\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
