"""How `logs` and `wait` tell the outcome of a workload."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.command_line import started, trio_logs
from tests.server_process import running_server
from trio_logs.cli.outcomes import tell_end
from trio_logs.client import End, Outcome, Status, SyncClient
from trio_logs.records import Reason


def finished(client: SyncClient, script: str, name: str = "x", **labels: str) -> str:
    """The id of a workload that has ended."""
    workload = client.submit(["sh", "-c", script], name=name, labels=labels)
    list(client.follow(workload.id, tail=0))
    return workload.id


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome(Status.SUCCEEDED, 0, reason=Reason.EXITED), None),
        (Outcome(Status.FAILED, 2, reason=Reason.EXITED), "failed with exit code 2 (1 line)"),
        (Outcome(Status.FAILED, reason=Reason.NOT_STARTED), "could not be started (1 line)"),
        (Outcome(Status.TIMED_OUT, signal="SIGTERM"), "timed out with SIGTERM (1 line)"),
        (
            Outcome(Status.STOPPED, 0, error="The service was shut down.", reason=Reason.SHUTDOWN),
            "stopped (1 line): The service was shut down.",
        ),
        (
            # The status says it already.
            Outcome(Status.STOPPED, 0, error="It was stopped.", reason=Reason.STOP_REQUESTED),
            "stopped (1 line)",
        ),
        (
            Outcome(Status.LOST, reason=Reason.SERVER_LOST),
            "is lost: the server ended while it ran (1 line)",
        ),
        (
            Outcome(Status.LOST, reason=Reason.CLIENT_LOST),
            "is lost: the client that sent its log did not come back (1 line)",
        ),
    ],
)
def test_the_sentence(outcome: Outcome, told: str | None) -> None:
    assert tell_end("build", End(outcome, 1, 2)) == (told and f"build {told}")


def test_logs_end_with_the_outcome(data: Path, client: SyncClient) -> None:
    failed = finished(client, "echo out; exit 3", "failed", test="some")
    good = finished(client, "echo good", "good", test="some")
    told = "failed with exit code 3 (1 line)"
    for options in ((), ("--no-follow",), ("--stream", "stderr"), ("--tail", "0")):
        found = trio_logs(data, "logs", failed, *options)
        assert (found.returncode, found.stderr) == (0, f"trio-logs: {failed} {told}\n")
    # Each of several is called what its lines are.
    for which in ((failed, good), ("--label", "test=some")):
        found = trio_logs(data, "logs", *which, "--exit-status")
        assert (found.returncode, found.stderr) == (3, f"trio-logs: failed {told}\n")
    # Objects have it, and a part of a log does not end with it.
    found = trio_logs(data, "logs", failed, "--json")
    assert found.stderr == ""
    assert json.loads(found.stdout.splitlines()[-1])["exit_code"] == 3
    long = finished(client, "seq 3; exit 4")
    found = trio_logs(data, "logs", long, "--to", "2", "--exit-status")
    assert (found.returncode, found.stdout, found.stderr) == (4, "1\n2\n", "")


def test_no_exit_status_of_what_runs(data: Path, client: SyncClient) -> None:
    workload = client.submit(["sleep", "60"], labels={"test": "runs"})
    for which in ((workload.id,), ("--label", "test=runs")):
        found = trio_logs(data, "logs", *which, "--no-follow", "--exit-status")
        assert (found.returncode, found.stdout) == (1, "")
        assert found.stderr.startswith(f"trio-logs: {workload.id} has not ended, so it has no exit")
    client.stop(workload.id)


def test_both_ways_to_follow_are_one_line(data: Path) -> None:
    found = trio_logs(data, "logs", "x", "--no-follow", "-f")
    assert found.returncode == 2
    assert found.stderr == "trio-logs: -f is given twice, or together with its opposite\n"


def test_waiting(data: Path, client: SyncClient) -> None:
    running = client.submit(["sleep", "60"]).id
    good, failed = finished(client, "true"), finished(client, "exit 5")
    overdue = trio_logs(data, "wait", running, failed, "--timeout", "0")
    assert (overdue.returncode, overdue.stdout) == (124, f"{failed} failed 5\n")
    assert overdue.stderr == f"trio-logs: {running} has not ended after 0 s\n"
    found = trio_logs(data, "wait", good, failed, "--timeout", "1m30s")
    assert (found.returncode, found.stderr) == (5, "")
    assert found.stdout == f"{good} succeeded 0\n{failed} failed 5\n"
    with started(data, "wait", good, running, failed) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == f"{good} succeeded 0\n"
        client.stop(running)
        # It is the first that is not 0, in the order of the arguments.
        assert process.stdout.read() == f"{running} stopped 123\n{failed} failed 5\n"
        assert (process.wait(20), process.stderr.read()) == (123, "")


def test_waiting_for_what_is_deleted(tmp_path: Path) -> None:
    with running_server(tmp_path / "data") as first:
        bind = first.url.removeprefix("http://")
        with SyncClient(first.url, first.token) as client:
            # Pushed, it outlives the server.
            workload = client.submit([], backend="push").id
        with started(first.data, "wait", workload) as process:
            deadline = time.monotonic() + 40
            while first.metric("trio_logs_subscriptions") < 1:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            # It sees nothing of what happens until it goes on.
            process.send_signal(signal.SIGSTOP)
            first.kill()
            with running_server(first.data, "--bind", bind) as second:
                with SyncClient(second.url, second.token) as client:
                    client.stop(workload)
                    list(client.follow(workload))
                    client.delete(workload)
                process.send_signal(signal.SIGCONT)
                assert process.wait(40) == 66
            assert process.stderr is not None
            told = "was deleted before this command saw its end"
            assert process.stderr.read() == f"trio-logs: {workload} {told}\n"
