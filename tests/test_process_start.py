"""Commands start clean, whatever the service inherited or set for itself."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.server_process import ServerProcess, running_server
from tests.test_process import OpenServer, run
from tests.test_process_limits import finished, submit
from trio_logs import open_files
from trio_logs.backends import posix_spawn as spawning
from trio_logs.backends.posix_spawn import posix_spawn
from trio_logs.backends.process import ProcessBackend
from trio_logs.errors import InvalidSpecError
from trio_logs.records import WorkloadSpec

# Without a shell: some unblock all signals when they start.
SIGNALS = ("grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status")
NONE_BLOCKED_OR_IGNORED = b"SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"


@contextmanager
def inherited_signals(blocked: Sequence[int], ignored: Sequence[int]) -> Iterator[None]:
    """Within the block, this process has signals as a parent may leave them."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.parametrize("pty", [False, True])
async def test_no_signal_is_blocked_or_ignored(pty: bool) -> None:
    blocked = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGRTMIN]
    ignored = [signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTSTP, signal.SIGPIPE]
    with inherited_signals(blocked, ignored):
        found = await run(*SIGNALS, pty=pty)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert found.written["stdout"] == NONE_BLOCKED_OR_IGNORED


def output(server: ServerProcess, *command: str) -> str:
    """What a command printed, once it has ended."""
    workload = submit(server, *command)
    assert finished(server, workload)["status"] == "succeeded"
    return server.get(f"/v1/workloads/{workload}/logs", Accept="text/plain").text


def test_a_service_whose_parent_blocks_and_ignores_signals(tmp_path: Path) -> None:
    """It hears TERM, and so do its workloads; as with nohup, it goes on ignoring HUP."""
    ignored = ("--ignore-signal=HUP", "--ignore-signal=QUIT", "--ignore-signal=USR1")
    prefix = ("env", "--block-signal=TERM", "--block-signal=INT", *ignored)
    with running_server(tmp_path / "data", prefix=prefix) as server:
        assert output(server, *SIGNALS).encode() == NONE_BLOCKED_OR_IGNORED
        (tmp_path / "line").write_text("up\n")
        workload = submit(server, "tail", "-f", str(tmp_path / "line"))
        path = f"/v1/workloads/{workload}/logs"
        with server.client() as client, client.stream("GET", path) as stream:
            assert any("data: up" in line for line in stream.iter_lines())
        server.process.send_signal(signal.SIGHUP)
        server.post(f"/v1/workloads/{workload}/stop", {"grace": 3600})
        assert finished(server, workload)["signal"] == "SIGTERM"
        assert server.stop() == 0


def test_the_limit_on_open_files_is_that_of_the_system(tmp_path: Path) -> None:
    prefix = ("prlimit", "--nofile=300:4096")
    with running_server(tmp_path / "data", prefix=prefix) as server:
        own = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        assert own == (4096, 4096)
        assert output(server, "sh", "-c", "ulimit -Sn; ulimit -Hn") == "300\n4096\n"
        # The service keeps its own limit.
        assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == own


async def test_a_limit_that_was_lowered_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an administrator, below the one of the start: no process gets more than it now has."""
    monkeypatch.setattr(open_files, "_system", 10_000_000)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = await run("sh", "-c", "ulimit -Sn")
    assert found.written["stdout"] == b"%d\n" % soft


class Musl:
    """The C library, with the one habit of musl that matters here: posix_spawn opens a pipe."""

    def __init__(self) -> None:
        self._libc = ctypes.PyDLL(None)
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._libc, name)

    def posix_spawn(self, *arguments: Any) -> Any:
        try:
            for end in os.pipe():
                os.close(end)
        except OSError as error:
            self.refused += 1
            return error.errno
        return self._libc.posix_spawn(*arguments)


async def test_more_files_are_open_than_the_limit_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    libc = Musl()
    monkeypatch.setattr(spawning, "_LIBC", libc)
    with ExitStack() as stack:
        for _ in range(50):
            stack.callback(os.close, os.dup(0))
        monkeypatch.setattr(open_files, "_system", 20)
        script = "until [ $(ulimit -Sn) = 20 ]; do sleep 0.01; done; echo lower"
        found = await run("sh", "-c", script)
    assert (libc.refused, found.written["stdout"]) == (1, b"lower\n")


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_AUDIT"])
async def test_what_the_dynamic_loader_reads_is_for_the_command_alone(name: str) -> None:
    """The loader complains in each program that it can't load the library into."""
    library = "/no/such/library.so"
    found = await run("/bin/echo", "ran", env={name: library, "OTHER": "x"})
    assert found.written["stdout"] == b"ran\n"
    assert found.written["stderr"].count(library.encode()) == 1
    env = await run("sh", "-c", f'echo "$OTHER ${name}"', env={name: library, "OTHER": "x"})
    assert env.written["stdout"] == f"x {library}\n".encode()


async def test_a_program_with_an_equals_sign_in_its_path(tmp_path: Path) -> None:
    """env(1), which sets what the loader reads, takes it for a variable."""
    program = tmp_path / "a=b"
    program.write_text("#!/bin/sh\necho $LD_BIND_NOW\n")
    program.chmod(0o755)
    found = await run(str(program), env={"LD_BIND_NOW": "1"})
    assert found.written["stdout"] == b"1\n"


async def test_a_terminal_controls_the_session() -> None:
    script = "echo one >/dev/tty; ps -o tty= -p $$; exec >&- 2>&-; sleep 0.1; echo two >/dev/tty"
    found = await run("sh", "-c", script, pty=True)
    one, terminal, two = found.written["stdout"].split()
    assert (one, two) == (b"one", b"two")
    assert terminal.startswith(b"pts/")


async def test_a_terminal_ends_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """No deadline is waited for, as for a process that goes on."""
    monkeypatch.setattr("trio_logs.backends.process.DRAIN_SECONDS", 3600.0)
    with trio.fail_after(20):
        found = await run("echo", "one", pty=True)
    assert found.written["stdout"] == b"one\n"


async def test_only_the_standard_descriptors_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    inheritable = os.dup(0)
    os.set_inheritable(inheritable, True)
    try:
        for closes_from in {spawning.CLOSES_FROM, False}:
            monkeypatch.setattr(spawning, "CLOSES_FROM", closes_from)
            for pty in (False, True):
                # The descriptor of `ls` for the folder is the fourth.
                found = await run("ls", "-1", "/proc/self/fd", pty=pty)
                assert found.written["stdout"] == b"0\n1\n2\n3\n"
                found = await run("readlink", "/proc/self/fd/0", pty=pty)
                assert found.written["stdout"] == b"/dev/null\n"
    finally:
        os.close(inheritable)


def test_outputs_with_the_numbers_of_standard_descriptors(tmp_path: Path) -> None:
    """The pipes of a command may have them if the service was started without."""
    program = """
        import os, sys
        from trio_logs.backends.posix_spawn import posix_spawn
        for path, number in zip(sys.argv[1:], (2, 0)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
        script = "echo out; echo err >&2"
        child = posix_spawn("/bin/sh", ["sh", "-c", script], {}, cwd=None, stdout=2, stderr=0)
        os.waitpid(child.pid, 0)
    """
    out, err = tmp_path / "out", tmp_path / "err"
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), out, err], check=True)
    assert (out.read_text(), err.read_text()) == ("out\n", "err\n")


def test_a_service_without_standard_descriptors(tmp_path: Path) -> None:
    program = """
        import os, sys
        os.closerange(0, 3)
        import trio
        from tests.test_process import run
        found = trio.run(run, "sh", "-c", "echo out; echo err >&2; readlink /proc/self/fd/0")
        with open(sys.argv[1], "w") as file:
            file.write(repr(sorted(found.written.items())))
    """
    told = tmp_path / "told"
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), told], check=True)
    assert told.read_text() == repr([("stderr", b"err\n"), ("stdout", b"out\n/dev/null\n")])


async def test_a_disk_that_does_not_answer_holds_up_its_own_workloads_alone(
    open_server: OpenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others run meanwhile, and a stop ends one that waits for the disk."""
    monkeypatch.setattr("trio_logs.backends.process_lookup.LOOKUP_SECONDS", 0.1)
    answer = threading.Event()
    answered: list[bool] = []
    stat = os.stat

    def hang(path: Any, **options: Any) -> os.stat_result:
        if str(path).startswith("/dead"):
            answered.append(answer.wait(8))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", hang)
    async with open_server() as live:
        try:
            dead = await live.submit("true", cwd="/dead/folder")
            also_dead = await live.submit("/dead/program")
            other = await live.submit("true")
            assert (await live.finished(other["id"]))["status"] == "succeeded"
            await live.client.post(f"/v1/workloads/{dead['id']}/stop")
            record = await live.finished(dead["id"])
            assert (record["status"], record["reason"]) == ("stopped", "stop_requested")
        finally:
            answer.set()
        record = await live.finished(also_dead["id"])
        assert (record["status"], record["reason"]) == ("failed", "not_started")
    assert answered
    assert all(answered)


@pytest.mark.parametrize(
    ("fits", "exceeds", "message"),
    [
        (
            {"PATH": ":" * 999},
            {"PATH": ":" * 1000},
            "a PATH of 1001 folders is too long: give 1000",
        ),
        (
            {str(number): "" for number in range(5000)},
            {str(number): "" for number in range(5001)},
            "5001 variables are too many: give 5000",
        ),
    ],
    ids=["folders", "variables"],
)
def test_what_would_delay_others_at_its_start_is_refused(
    fits: dict[str, str], exceeds: dict[str, str], message: str
) -> None:
    backend = ProcessBackend()
    backend.check(WorkloadSpec(("true",), env=fits))
    with pytest.raises(InvalidSpecError, match=message):
        backend.check(WorkloadSpec(("true",), env=exceeds))


@pytest.mark.parametrize(
    ("program", "cwd", "error"),
    [
        ("/no/such", None, FileNotFoundError),
        ("/etc/passwd", None, PermissionError),
        ("/bin/true", "/no/such", FileNotFoundError),
    ],
)
def test_errors_of_a_start(program: str, cwd: str | None, error: type[OSError]) -> None:
    with pytest.raises(error):
        posix_spawn(program, [program], {}, cwd=cwd, stdout=1, stderr=2)


def test_a_child_that_other_code_has_reaped() -> None:
    child = posix_spawn("/bin/true", ["true"], {}, cwd=None, stdout=1, stderr=None)
    os.waitpid(child.pid, 0)
    assert child.poll() == 0
