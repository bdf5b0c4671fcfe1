"""`trio-logs run`: a command elsewhere, as if it ran here."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest
import trio

from tests.command_line import started, trio_logs
from tests.cutting_proxy import cutting_proxy
from tests.server_process import ServerProcess, running_server
from trio_logs.cli import create_app
from trio_logs.cli.arguments import separate
from trio_logs.cli.outcomes import exit_code
from trio_logs.client import Outcome, Status, SyncClient
from trio_logs.records import Reason


def summary(stderr: str) -> str:
    """The last line, without what differs each time."""
    last = stderr.splitlines()[-1]
    return re.sub(r"^trio-logs: \S+ (.*), \d+\.\d s\)$", r"\1)", last)


@pytest.mark.parametrize(
    ("script", "code", "told"),
    [
        ("echo out; echo err >&2", 0, "succeeded (2 lines)"),
        ("exit 7", 7, "failed with exit code 7 (0 lines)"),
        ("kill -KILL $$", 137, "failed with SIGKILL (0 lines)"),
        ("exec sleep 60", 124, "timed out with SIGTERM (0 lines)"),
    ],
)
def test_it_ends_as_its_command(data: Path, script: str, code: int, told: str) -> None:
    found = trio_logs(data, "run", "--timeout", "5", "--", "sh", "-c", script)
    assert found.returncode == code
    assert found.stdout == ("out\n" if "out" in script else "")
    assert ("err\n" in found.stderr) == ("err" in script)
    assert summary(found.stderr) == told


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (
            "no-such-program",
            "there is no program 'no-such-program' that can be run; it was looked for in the PATH"
            " of the service",
        ),
        ("./no-such", "there is no program './no-such' that can be run; it was looked for in HERE"),
        ("/no/such", "there is no program '/no/such' that can be run"),
        ("./text", "the service has no permission to run './text': make the file executable"),
        ("./folder", "'./folder' is a folder, not a program"),
    ],
)
def test_what_can_not_be_started(data: Path, tmp_path: Path, program: str, why: str) -> None:
    (tmp_path / "text").touch()
    (tmp_path / "folder").mkdir()
    found = trio_logs(data, "run", "--cwd", str(tmp_path), "--", program)
    assert found.returncode == 127
    assert found.stderr.splitlines()[0] == f"command: {why}".replace("HERE", str(tmp_path))
    assert summary(found.stderr) == "could not be started (1 line)"


def test_success_is_not_told_where_nobody_asks_for_it(data: Path) -> None:
    found = trio_logs(data, "run", "-q", "--", "echo", "done")
    assert (found.returncode, found.stdout, found.stderr) == (0, "done\n", "")
    failed = trio_logs(data, "run", "--quiet", "--", "false")
    assert (failed.returncode, summary(failed.stderr)) == (1, "failed with exit code 1 (0 lines)")


def test_a_queued_workload_is_no_silent_one(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "data", "--max-running", "1") as server,
        SyncClient(server.url, server.token) as client,
    ):
        first = client.submit(["sleep", "60"])
        with started(server.data, "run", "--", "echo", "late") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            told = process.stderr.readline()
            assert told.endswith(" is queued: it starts once other workloads have ended\n")
            client.stop(first.id)
            assert process.wait(40) == 0
            assert process.stdout.read() == "late\n"


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome(Status.STOPPED, 0), 123),
        (Outcome(Status.STOPPED, 0, error="The workload was stopped."), 123),
        (Outcome(Status.STOPPED, 0, reason=Reason.STOP_REQUESTED), 123),
        (Outcome(Status.STOPPED, 0, reason=Reason.SHUTDOWN), 125),
        (Outcome(Status.STOPPED, 0, reason="of_a_later_version"), 123),
        (Outcome(Status.TIMED_OUT, signal="SIGKILL", reason=Reason.TIMEOUT), 124),
        (Outcome(Status.LOST, reason=Reason.SERVER_LOST), 125),
        (Outcome(Status.LOST, reason=Reason.CLIENT_LOST), 125),
        (Outcome(Status.FAILED, 7, reason=Reason.EXITED), 7),
        (Outcome(Status.FAILED, signal="SIGKILL", reason=Reason.SIGNALED), 137),
        (Outcome(Status.FAILED, signal="SIGKILL", reason=Reason.OUT_OF_MEMORY), 137),
        (Outcome(Status.FAILED, error="why", reason=Reason.NOT_STARTED), 127),
        (Outcome(Status.FAILED, error="why", reason=Reason.EXCEPTION), 127),
        (Outcome(Status.FAILED, 3, reason="of_a_later_version"), 3),
        (Outcome(Status.SUCCEEDED, 0, reason=Reason.EXITED), 0),
        (Outcome(Status.TIMED_OUT, 1), 124),
        (Outcome(Status.LOST), 125),
        (Outcome(Status.FAILED, signal="SIG35"), 163),
        (Outcome(Status.FAILED, error="an exception"), 127),
        (Outcome(Status.SUCCEEDED), 0),
    ],
)
def test_exit_codes(outcome: Outcome, code: int) -> None:
    assert exit_code(outcome) == code


def test_what_is_said_of_it(data: Path, server: ServerProcess, tmp_path: Path) -> None:
    script = 'echo "$GIVEN $TAKEN $(pwd)"; test -t 1 && echo terminal'
    options = ["--name", "n", "--label", "a=b", "--label", "c=d=e", "--cwd", str(tmp_path), "--pty"]
    variables = ["--env", "GIVEN=a=b", "--env", "TAKEN"]
    found = trio_logs(data, "run", *options, *variables, "--", "sh", "-c", script, TAKEN="here")
    assert found.stdout == f"a=b here {tmp_path}\nterminal\n"
    with SyncClient(server.url, server.token) as client:
        [workload] = client.list(labels={"a": "b"})
    assert (workload.name, workload.labels) == ("n", {"a": "b", "c": "d=e"})


@pytest.mark.parametrize("option", ["--version", "--help", "--name", "--detach", "-l", "--"])
def test_what_follows_the_command_is_its_own(data: Path, option: str) -> None:
    found = trio_logs(data, "run", "printf", "%s,", option, "x", "--raw")
    assert (found.returncode, found.stdout) == (0, f"{option},x,--raw,\n")


def test_no_option_is_taken_for_the_command() -> None:
    """Whatever options there are: a value is no command, and a flag has none."""
    app = create_app([])
    for option in app["run"].assemble_argument_collection():
        name = option.names[0]
        if name.startswith("--"):
            value = [] if option.hint is bool else ["VALUE"]
            expected = ["run", name, *value, "--", "make", name]
            assert separate(app, ["run", name, *value, "make", name]) == expected
            assert separate(app, expected) == expected
    assert separate(app, ["run", "--name=x", "make"]) == ["run", "--name=x", "--", "make"]
    for arguments in ([], ["run"], ["run", "--name"], ["logs", "x", "--raw"]):
        assert separate(app, arguments) == arguments


@pytest.mark.parametrize(
    ("options", "variables", "kind"),
    [
        (["--pty"], {"TERM": "vt220"}, "vt220"),
        (["--pty", "--env", "TERM=ansi"], {"TERM": "vt220"}, "ansi"),
        (["--pty"], {}, "xterm-256color"),
        ([], {"TERM": "vt220"}, "none"),
    ],
)
def test_the_kind_of_its_terminal(
    data: Path, options: list[str], variables: dict[str, str], kind: str
) -> None:
    script = "echo ${TERM-none}"
    assert trio_logs(data, "run", *options, "sh", "-c", script, **variables).stdout == f"{kind}\n"


def test_a_hangup_leaves_it(data: Path, server: ServerProcess) -> None:
    with started(data, "run", "--name", "left", "sh", "-c", "echo ready; exec sleep 60") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.wait(20) == -signal.SIGHUP
    with SyncClient(server.url, server.token) as client:
        [workload] = [each for each in client.list() if each.name == "left"]
        assert workload.status is Status.RUNNING
        client.stop(workload.id)


def test_detached(data: Path, server: ServerProcess) -> None:
    found = trio_logs(data, "run", "--detach", "--", "sh", "-c", "exec sleep 60")
    with SyncClient(server.url, server.token) as client:
        workload = client.get(found.stdout.strip())
        assert not workload.status.final
        client.stop(workload.id)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "give a command"),
        (["run", "--label", "a", "--", "true"], "--label 'a': write K=V"),
        (["run", "--env", "NOT_SET_HERE", "--", "true"], "give NOT_SET_HERE=VALUE"),
        (["run", "--env", "=x", "--", "true"], "write K=V"),
        (["run", "--no-such-option", "ls"], "--no-such-option"),
        (["run", "--name"], "--name"),
        (["run", "--timeout", "-1", "--", "true"], "--timeout"),
        (["run", "--timeout", "nan", "--", "true"], "--timeout"),
        (["run", "--timeout", "inf", "--", "true"], "--timeout"),
        (["run", "--", "caf\udce9"], "run: 'caf\\udce9' is not UTF-8"),
        (["run", "--name", "caf\udce9", "--", "true"], "--name: 'caf\\udce9' is not UTF-8"),
        (["run", "--cwd", "/\udce9", "--", "true"], "--cwd: '/\\udce9' is not UTF-8"),
        (["run", "--label", "a=\udce9", "--", "true"], "--label: 'a=\\udce9' is not UTF-8"),
        (["run", "--env", "A=\udce9", "--", "true"], "--env: 'A=\\udce9' is not UTF-8"),
        (["pipe", "--name", "\udce9"], "--name: '\\udce9' is not UTF-8"),
        (["logs", "x", "--since", "\udce9"], "--since: '\\udce9' is not UTF-8"),
        (["run", "--token", "caf\udce9", "--", "true"], "command line is malformed"),
    ],
)
def test_usage(data: Path, arguments: list[str], message: str) -> None:
    found = trio_logs(data, *arguments)
    assert message in found.stderr
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1


TRAP = "trap 'echo last words; exit 3' TERM; echo ready; while :; do sleep 0.01; done"


def test_interrupt_stops_it_and_shows_its_last_lines(data: Path) -> None:
    with started(data, "run", "--", "sh", "-c", TRAP) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        stdout, stderr = process.stdout.read(), process.stderr.read()
    assert stdout == "last words\n"
    # The shell may tell of its `sleep`, too, and be first.
    assert "stopping " in stderr
    assert re.fullmatch(r"stopped with exit code 3 \([23] lines\)", summary(stderr))


def test_the_time_that_is_told_is_the_workloads_own(tmp_path: Path) -> None:
    with running_server(tmp_path / "data", "--max-running", "1") as server:
        with SyncClient(server.url, server.token) as client:
            client.submit(["sleep", "3"])
        found = trio_logs(server.data, "run", "true")
    told = re.search(r"succeeded \(0 lines, (\d+\.\d) s\)", found.stderr)
    assert told, found.stderr
    assert float(told[1]) < 2


def test_the_second_interrupt_leaves(data: Path, server: ServerProcess) -> None:
    script = "trap '' TERM; echo ready; exec sleep 60"
    with started(data, "run", "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        told = process.stderr.readline()
        assert "interrupt again to leave it" in told
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130
        workload = told.split()[2].rstrip(";")
        # The stop was sent before its notice, so the workload does not go on for ever.
        assert process.stderr.read() == (
            f"trio-logs: {workload} is being stopped by the server, which kills it when its grace"
            " is over\n"
        )
    with SyncClient(server.url, server.token) as client:
        client.stop(workload, grace=0)


def test_a_reader_that_leaves_stops_it(data: Path, server: ServerProcess) -> None:
    with started(data, "run", "--name", "headed", "--", "sh", "-c", TRAP) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr.read() == ""
    with SyncClient(server.url, server.token) as client:
        [workload] = [each for each in client.list() if each.name == "headed"]
        list(client.follow(workload.id))
        assert client.get(workload.id).status is Status.STOPPED


async def ran(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await trio.to_thread.run_sync(trio_logs, data, "run", *arguments)


async def test_connections_that_are_cut_lose_and_repeat_nothing(
    data: Path, server: ServerProcess
) -> None:
    script = "seq 5000; exit 9"
    async with cutting_proxy(server.url, after=30_011, times=2) as (url, connections):
        found = await ran(data, "--server", url, "--token", server.token, "--", "sh", "-c", script)
    assert found.stdout.split() == [str(number) for number in range(1, 5001)]
    assert found.returncode == 9
    assert connections[0] == 3


async def test_a_submission_without_an_answer_runs_once(
    data: Path, server: ServerProcess, tmp_path: Path
) -> None:
    ran_once = tmp_path / "ran"
    async with cutting_proxy(server.url, after=0, times=2) as (url, connections):
        found = await ran(
            data, "--server", url, "--", "sh", "-c", f"echo x >> {ran_once}; cat {ran_once}"
        )
    assert (found.returncode, found.stdout) == (0, "x\n")
    assert connections[0] == 3


@pytest.mark.parametrize(
    ("how", "code", "told"),
    [
        ("kill", 125, "is lost: the server ended while it ran (1 line, X s)"),
        (
            "stop",
            125,
            "stopped with SIGTERM (1 line, X s): The service was shut down.",
        ),
    ],
)
def test_a_server_that_restarts_ends_it(tmp_path: Path, how: str, code: int, told: str) -> None:
    data = tmp_path / "data"
    with running_server(data) as first:
        port = first.url.rpartition(":")[2]
        with started(data, "run", "--", "sh", "-c", "echo before; exec sleep 60") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "before\n"
            getattr(first, how)()
            with running_server(data, "--bind", f"127.0.0.1:{port}"):
                assert process.wait(40) == code
            assert process.stdout.read() == ""
            last = process.stderr.read().splitlines()[-1]
    assert re.sub(r"^trio-logs: \S+ (.*, )[0-9.]+ s\)", r"\1X s)", last) == told
