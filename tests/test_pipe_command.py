"""`trio-logs pipe -- COMMAND`: the command runs here, and its log is kept there. And what `pipe`
does when its standard output or input fails."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.command_line import environment, launch
from tests.forked import Forked
from tests.server_process import ServerProcess
from trio_logs.client import Line, SyncClient, Workload

FULL = Path("/dev/full")

PATIENCE = 60


def piped(
    server: ServerProcess,
    *arguments: str,
    stdin: bytes = b"",
    stdout: int | None = None,
    stderr: int | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run `pipe` to its end, with little input and output."""
    with Forked(
        ["pipe", *arguments],
        env=environment(server.data),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE if stderr is None else stderr,
    ) as process:
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write(stdin)
        try:
            code = process.wait(PATIENCE)
        finally:
            process.kill()
        printed = b"" if process.stdout is None else process.stdout.read()
        said = b"" if process.stderr is None else process.stderr.read()
        return subprocess.CompletedProcess(arguments, code, printed, said)


def newest(client: SyncClient) -> tuple[Workload, list[tuple[str, str]]]:
    """The newest workload, and the lines of its log with their streams."""
    [workload] = client.list(limit=1)
    records = client.follow(workload.id)
    return workload, [(each.stream, each.text) for each in records if isinstance(each, Line)]


def test_output_and_exit_code_are_passed_on_and_kept(
    server: ServerProcess, client: SyncClient
) -> None:
    script = "cat; echo err >&2; exit 3"
    found = piped(server, "--name", "build", "sh", "-c", script, "--name", stdin=b"in\xff")
    workload, lines = newest(client)
    assert (found.returncode, found.stdout) == (3, b"in\xff")
    assert sorted(found.stderr.splitlines()) == [
        b"err",
        b"trio-logs: this is workload %s" % workload.id.encode(),
    ]
    assert sorted(lines) == [("stderr", "err"), ("stdout", "in\ufffd")]
    assert (workload.name, workload.command) == ("build", ["sh", "-c", script, "--name"])
    assert (workload.status, workload.exit_code) == ("failed", 3)


def test_quietly_it_prints_only_what_its_command_does(
    server: ServerProcess, client: SyncClient
) -> None:
    found = piped(server, "-q", "--name", "nightly", "--", "echo", "done")
    assert (found.returncode, found.stdout, found.stderr) == (0, b"done\n", b"")
    workload, lines = newest(client)
    assert (workload.name, lines) == ("nightly", [("stdout", "done")])


@pytest.mark.parametrize(
    ("command", "code", "ended"),
    [
        (["true"], 0, ("succeeded", 0, None)),
        (["sh", "-c", "kill -KILL $$"], 137, ("failed", None, "SIGKILL")),
        (["no-such-program"], 127, ("failed", 127, None)),
    ],
)
def test_outcomes(
    server: ServerProcess,
    client: SyncClient,
    command: list[str],
    code: int,
    ended: tuple[str, int | None, str | None],
) -> None:
    found = piped(server, "--", *command)
    assert found.returncode == code
    workload, lines = newest(client)
    assert (workload.status, workload.exit_code, workload.signal) == ended
    told = "trio-logs: can't run 'no-such-program': No such file or directory"
    assert (told in found.stderr.decode().splitlines()) == (code == 127)
    assert lines == ([("stderr", told)] if code == 127 else [])


def test_what_a_daemon_holds_open_is_not_waited_for(
    server: ServerProcess, client: SyncClient
) -> None:
    found = piped(server, "--", "sh", "-c", "sleep 60 & echo $!; exit 4")
    subprocess.run(["kill", found.stdout.decode().strip()], check=True)
    assert found.returncode == 4
    assert newest(client)[1] == [("stdout", found.stdout.decode().strip())]


TRAP = "trap 'echo last words; exit 5' TERM INT; echo ready; while :; do sleep 0.01; echo; done"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, "a stop"])
def test_signals_and_stops_reach_the_command(
    server: ServerProcess, client: SyncClient, how: signal.Signals | str
) -> None:
    # In a terminal, the command would get SIGINT from there.
    with launch(
        ["pipe", "--", "sh", "-c", TRAP],
        ("setsid",) if how == signal.SIGINT else (),
        env=environment(server.data),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        workload = process.stderr.readline().split()[-1]
        if isinstance(how, signal.Signals):
            process.send_signal(how)
        else:
            client.stop(workload)
        try:
            code = process.wait(PATIENCE)
        finally:
            process.kill()
        # Whatever becomes of the log, the last words are printed.
        assert process.stdout.read().split() == ["last", "words"]
    ended = client.get(workload)
    if isinstance(how, signal.Signals):
        assert (code, ended.status, ended.exit_code) == (5, "failed", 5)
    else:
        assert (code, ended.status) == (123, "stopped")


def test_a_full_output_ends_neither_the_writer_nor_the_log(
    server: ServerProcess, client: SyncClient
) -> None:
    lines = b"".join(b"line %d\n" % number for number in range(20))
    expected = [("stdout", text) for text in lines.decode().splitlines()]
    with FULL.open("wb") as full:
        found = piped(server, stdin=lines, stdout=full.fileno())
        assert found.returncode == 1
        assert newest(client)[1] == expected
        told = b"trio-logs: can't write standard output: No space left on device; the log goes on"
        assert told in found.stderr.splitlines()
        found = piped(server, "cat", stdin=lines, stdout=full.fileno(), stderr=full.fileno())
        assert found.returncode == 1
        assert newest(client)[1] == expected
        found = piped(server, "sh", "-c", "echo x; exit 7", stdout=full.fileno())
        assert found.returncode == 7


def test_an_input_that_can_not_be_read(
    server: ServerProcess, client: SyncClient, tmp_path: Path
) -> None:
    """It is open for writing only."""
    with (
        (tmp_path / "file").open("wb") as file,
        Forked(["pipe"], env=environment(server.data), stdin=file.fileno()) as process,
    ):
        assert process.stderr is not None
        said = process.stderr.read().decode().splitlines()
        assert process.wait(PATIENCE) == 1
    assert "trio-logs: can't read standard input: Bad file descriptor" in said
    assert newest(client)[0].exit_code == 1


def test_a_malformed_option_is_refused_before_the_command_runs(
    server: ServerProcess, tmp_path: Path
) -> None:
    for option, value in (("--server", "ftp://h"), ("--label", "x")):
        found = piped(server, option, value, "touch", str(tmp_path / "file"))
        assert (found.returncode, found.stderr.count(b"\n")) == (2, 1)
    assert not (tmp_path / "file").exists()
