"""The process backend against real processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from tests.live import Live
from trio_logs import Batch, LogBroker, LogWriter, Outcome, Status, WorkloadSpec, open_broker
from trio_logs.backends import Execution, Log, Stop, proc, serving
from trio_logs.backends.process import ProcessBackend
from trio_logs.backends.process_group import ProcessGroup
from trio_logs.backends.process_identity import Identity
from trio_logs.backends.process_table import ProcessTable
from trio_logs.errors import LogClosedError, NotStartedError
from trio_logs.records import Reason
from trio_logs.threads import Threads

OpenServer = Callable[..., AbstractAsyncContextManager[Live]]


@pytest.fixture(autouse=True)
def without_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are found by their session alone, as where the service may make no groups."""
    monkeypatch.setattr(proc, "cgroup", lambda: None)


@dataclass
class Run:
    """How an execution ended, and what it wrote on each stream."""

    outcome: Outcome
    written: dict[str, bytes]
    handle: str


@dataclass
class Ongoing:
    """An execution that runs in the background."""

    stop: Stop
    broker: LogBroker

    async def first_line(self) -> bytes:
        """Wait for it: what was to be set up before that has been."""
        with self.broker.subscribe("w", 1) as subscription, trio.fail_after(20):
            [batch, *_] = await subscription.receive()
        assert isinstance(batch, Batch)
        return batch.lines[0]


@asynccontextmanager
async def execution(*command: str, **fields: Any) -> AsyncIterator[tuple[Ongoing, list[Run]]]:
    """An execution that runs in the background; its `Run` is there on exit."""
    finished: list[Run] = []
    async with open_broker() as broker:
        with await broker.open("w") as log:
            handles: list[str] = []

            async def remember(handle: str) -> None:
                handles.append(handle)

            one = Execution("w", WorkloadSpec(command, **fields), log, remember)

            async def run() -> None:
                with trio.fail_after(20):
                    outcome = await run_in_backend(one)
                log.close()
                await broker.close("w")
                written: dict[str, bytes] = {}
                with broker.subscribe("w", 1) as subscription:
                    async for record in subscription:
                        if isinstance(record, Batch):
                            written[record.stream] = written.get(record.stream, b"") + record.data
                finished.append(Run(outcome, written, handles[0]))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                yield Ongoing(one.stop, broker), finished


async def run_in_backend(execution: Execution) -> Outcome:
    """Run it in a backend of its own."""
    backend = ProcessBackend()
    async with serving({"process": backend}):
        return await backend.run(execution)


async def run(*command: str, **fields: Any) -> Run:
    async with execution(*command, **fields) as (_, finished):
        pass
    return finished[0]


OUTCOMES = [
    ("exit 0", Outcome(Status.SUCCEEDED, 0, reason=Reason.EXITED)),
    (
        "exit 7",
        Outcome(Status.FAILED, 7, error="The command exited with 7.", reason=Reason.EXITED),
    ),
    (
        "kill -KILL $$",
        Outcome(
            Status.FAILED,
            signal="SIGKILL",
            error="The command was ended by SIGKILL.",
            reason=Reason.SIGNALED,
        ),
    ),
]


@pytest.mark.parametrize(("script", "outcome"), OUTCOMES)
async def test_outcomes(script: str, outcome: Outcome) -> None:
    assert (await run("sh", "-c", script)).outcome == outcome


async def test_streams_are_separate_and_exact() -> None:
    found = await run("sh", "-c", r"printf 'a\r\nb\0\377'; printf 'error' >&2")
    assert found.written == {"stdout": b"a\r\nb\0\xff", "stderr": b"error"}


async def test_the_environment_is_clean() -> None:
    os.environ["TRIO_LOGS_SECRET"] = "secret"
    try:
        found = await run("env", env={"GIVEN": "x y", "LANG": "C"})
    finally:
        del os.environ["TRIO_LOGS_SECRET"]
    variables = dict(line.split(b"=", 1) for line in found.written["stdout"].split(b"\n")[:-1])
    assert variables.keys() == {b"PATH", b"HOME", b"GIVEN", b"LANG"}
    assert (variables[b"GIVEN"], variables[b"LANG"]) == (b"x y", b"C")


async def test_stdin_is_empty_and_the_session_its_own() -> None:
    found = await run("sh", "-c", "cat; ps -o pid=,pgid=,sid= -p $$")
    pid, group, session = found.written["stdout"].split()
    assert pid == group == session
    assert int(session) != os.getsid(0)


async def test_cwd(tmp_path: Path) -> None:
    found = await run("pwd", cwd=str(tmp_path))
    assert found.written["stdout"].strip() == str(tmp_path).encode()


@pytest.mark.parametrize(
    ("command", "fields", "message"),
    [
        (["no-such-program"], {}, "no program 'no-such-program'"),
        (["/etc/passwd"], {}, "no permission to run '/etc/passwd': make the file executable"),
        (["true"], {"cwd": "/no/such"}, "no folder /no/such"),
        (["no-path"], {"env": {"PATH": ""}}, "no program"),
    ],
)
async def test_what_can_not_start_says_why(
    command: list[str], fields: dict[str, Any], message: str
) -> None:
    with pytest.RaisesGroup(
        pytest.RaisesExc(NotStartedError, match=message), flatten_subgroups=True
    ):
        await run(*command, **fields)


async def test_a_terminal_is_one_stream() -> None:
    found = await run("sh", "-c", "test -t 1 && test -t 2 && echo yes; echo error >&2", pty=True)
    assert found.outcome.exit_code == 0
    # As the command wrote it: a terminal would put a CR before each line end.
    assert found.written == {"stdout": b"yes\nerror\n"}


@pytest.mark.parametrize(
    ("env", "shown"),
    [
        ({}, b"24 80\n"),
        ({"COLUMNS": "132", "LINES": "50"}, b"50 132\n"),
        ({"COLUMNS": "132"}, b"24 132\n"),
        ({"COLUMNS": "wide", "LINES": "0"}, b"24 80\n"),
    ],
)
async def test_a_terminal_has_a_size(env: dict[str, str], shown: bytes) -> None:
    found = await run("sh", "-c", "stty size <&1", pty=True, env=env)
    assert found.written == {"stdout": shown}


async def test_term_then_kill_goes_to_the_whole_group() -> None:
    # The child ignores TERM, and so does what it started.
    script = "trap '' TERM; sleep 50 & echo $!; sleep 50"
    async with execution("sh", "-c", script) as (one, finished):
        await one.first_line()
        started = time.monotonic()
        one.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 0.5, "")
    assert 0.4 < time.monotonic() - started < 5
    assert finished[0].outcome.signal == "SIGKILL"
    await gone(int(finished[0].written["stdout"]))


async def test_term_is_enough_for_a_polite_command() -> None:
    script = "trap 'echo bye; exit 4' TERM; echo up; while sleep 0.05; do :; done"
    async with execution("sh", "-c", script) as (one, finished):
        await one.first_line()
        one.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 10, "")
    assert finished[0].outcome.exit_code == 4
    assert finished[0].written["stdout"] == b"up\nbye\n"


async def test_the_whole_group_has_the_grace(tmp_path: Path) -> None:
    """The command ends at TERM; what it started needs a moment, with and without its pipe."""
    tidy = "trap 'sleep 2.5; echo {0}; mv {0} {0}-tidy; exit' TERM; touch {0}; {1}"
    one_, two = (tidy.format(name, "while :; do sleep 0.05; done") for name in ("one", "two"))
    both = f"({one_}) & ({two}) >/dev/null &"
    script = f"{both} until [ -e one -a -e two ]; do sleep 0.01; done; echo up; exec sleep 50"
    async with execution("sh", "-c", script, cwd=str(tmp_path)) as (one, finished):
        await one.first_line()
        one.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 20, "")
    assert finished[0].outcome.signal == "SIGTERM"
    assert finished[0].written["stdout"] == b"up\none\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one-tidy", "two-tidy"]


async def test_what_the_command_left_behind_is_asked_to_end_too() -> None:
    """The stop comes after the command has exited, while its log is still read."""
    tidy = "(trap 'sleep 2.5; echo tidy; exit' TERM; echo $$; while :; do sleep 0.05; done) & "
    async with execution("sh", "-c", f"{tidy} exit 0") as (one, finished):
        # In a subshell, too, it is the pid of the command.
        await gone(int(await one.first_line()))
        one.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 20, "")
    assert finished[0].outcome.exit_code == 0
    assert finished[0].written["stdout"].endswith(b"\ntidy\n")


async def test_what_made_a_group_of_its_own_ends_too() -> None:
    """As `timeout` does, and a shell with job control."""
    found = await run("sh", "-c", "timeout 1000 sleep 50 & echo $!; exit 0")
    await gone(int(found.written["stdout"]))
    script = "timeout 1000 sh -c 'echo $$; sleep 50'; echo no"
    async with execution("sh", "-c", script) as (one, finished):
        await one.first_line()
        started = time.monotonic()
        one.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 20, "")
    assert time.monotonic() - started < 10
    assert finished[0].outcome.signal == "SIGTERM"
    await gone(int(finished[0].written["stdout"]))


async def test_no_name_of_a_process_is_too_odd(tmp_path: Path) -> None:
    """The kernel cuts it after 15 bytes, within a character if need be."""
    odd = tmp_path / ("a" * 14 + "é")
    shutil.copy(shutil.which("sleep") or "", odd)
    script = "trap 'exit 4' TERM; echo up; while sleep 0.05; do :; done"
    async with execution(str(odd), "50") as (stranger, _):
        async with execution("sh", "-c", script) as (one, finished):
            await one.first_line()
            one.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 10, "")
        stranger.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 0, "")
    assert finished[0].outcome.exit_code == 4


async def test_nothing_succeeds_where_no_exit_code_can_be_known() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    one = Execution("w", WorkloadSpec(("true",)), cast(Log, None), cast(Any, None))
    try:
        with pytest.RaisesGroup(
            pytest.RaisesExc(NotStartedError, match="SIGCHLD"), flatten_subgroups=True
        ):
            await run_in_backend(one)
    finally:
        signal.signal(signal.SIGCHLD, before)


async def test_an_end_does_not_wait_for_the_threads_of_others() -> None:
    limiter = trio.to_thread.current_default_thread_limiter()
    owners = [object() for _ in range(int(limiter.total_tokens))]
    for owner in owners:
        limiter.acquire_on_behalf_of_nowait(owner)
    try:
        assert (await run("sh", "-c", "exit 7")).outcome.exit_code == 7
    finally:
        for owner in owners:
            limiter.release_on_behalf_of(owner)


async def test_a_path_is_relative_to_where_the_command_runs(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "here"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    found = await run("here", cwd=str(tmp_path), env={"PATH": "bin:/usr/bin:/bin"})
    assert found.written["stdout"] == b"found\n"


async def test_a_grandchild_can_not_hold_the_log_open() -> None:
    started = time.monotonic()
    found = await run("sh", "-c", "sleep 50 & echo $!; exit 0")
    assert time.monotonic() - started < 10
    assert found.outcome.exit_code == 0
    await gone(int(found.written["stdout"]))


async def test_one_that_left_the_group_is_not_waited_for() -> None:
    """It writes on for ever from a session of its own; the log ends all the same."""
    script = "setsid sh -c 'echo $$; while :; do echo more; sleep 0.01; done' & exit 0"
    found = await run("sh", "-c", script)
    assert found.outcome.exit_code == 0
    pid = int(found.written["stdout"].split()[0])
    # Its pipe is closed now, so its next write ends it; a moment's help does no harm.
    await gone(pid)


async def test_nothing_is_lost_when_the_log_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drain bounds how long others hold the pipe, not how long the log takes."""
    monkeypatch.setattr("trio_logs.backends.process.DRAIN_SECONDS", 0.05)
    monkeypatch.setattr("trio_logs.backends.process_output.READ_BYTES", 4096)
    async with open_broker() as broker:
        with await broker.open("w") as log:

            async def remember(handle: str) -> None: ...

            spec = WorkloadSpec(("sh", "-c", "sleep 50 & yes | head -c 200000"))
            outcome = await run_in_backend(Execution("w", spec, SlowLog(log), remember))
        end = await broker.close("w")
    assert outcome.exit_code == 0
    assert end.bytes == 200_000


class SlowLog:
    """A log whose every write takes a while."""

    def __init__(self, log: LogWriter) -> None:
        self._log = log

    async def write(self, data: bytes | str, stream: str = "stdout") -> None:
        await trio.sleep(0.02)
        await self._log.write(data, stream)

    def clone(self) -> SlowLog:
        return SlowLog(self._log.clone())

    def close(self) -> None:
        self._log.close()


async def test_a_stop_does_not_wait_for_a_slow_store(tmp_path: Path) -> None:
    """The command waits until the store has the handle; a stop meanwhile ends it unrun."""
    stored, begun = trio.Event(), trio.Event()
    outcomes: list[Outcome] = []
    handles: list[str] = []
    async with open_broker() as broker:
        with await broker.open("w") as log:

            async def remember(handle: str) -> None:
                handles.append(handle)
                begun.set()
                await stored.wait()

            trace = tmp_path / "trace"
            one = Execution("w", WorkloadSpec(("touch", str(trace))), log, remember)

            async def run() -> None:
                outcomes.append(await run_in_backend(one))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await begun.wait()
                one.stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 20, "")
                pidfd = os.pidfd_open(Identity.decode(handles[0]).pid)
                with trio.fail_after(10):
                    await trio.lowlevel.wait_readable(pidfd)
                os.close(pidfd)
                assert outcomes == []
                stored.set()
    assert (outcomes[0].signal, trace.exists()) == ("SIGTERM", False)


async def test_a_log_that_an_embedder_closes_ends_the_command() -> None:
    before = children()
    backend = ProcessBackend()
    async with open_broker() as broker, serving({"process": backend}):
        with await broker.open("w") as log:

            async def remember(handle: str) -> None:
                await broker.close("w")

            spec = WorkloadSpec(("sh", "-c", "while :; do echo more; sleep 0.01; done"))
            with trio.fail_after(20), pytest.RaisesGroup(LogClosedError, flatten_subgroups=True):
                await backend.run(Execution("w", spec, log, remember))
    assert children() == before


async def test_a_backend_runs_only_while_it_serves() -> None:
    backend = ProcessBackend()
    one = Execution("w", WorkloadSpec(("true",)), cast(Log, None), cast(Any, None))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="enter its `serving` first"):
            await backend.run(one)
        async with serving({"process": backend}):
            with pytest.raises(RuntimeError, match="serves an engine already"):
                async with backend.serving():
                    pass


async def test_cancellation_leaves_no_process() -> None:
    before = children()
    with trio.move_on_after(0.5):
        async with execution("sh", "-c", "trap '' TERM; echo $$; sleep 50"):
            pass
    assert children() == before


@contextmanager
def new_table() -> Iterator[ProcessTable]:
    """A table of its own, for use in Trio's thread."""
    threads = Threads("test", 1)
    threads.start()
    try:
        yield ProcessTable(threads)
    finally:
        threads.close()


async def gone(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    with trio.fail_after(5):
        while Path(f"/proc/{pid}").exists():
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return
            await trio.sleep(0.01)


def children() -> list[str]:
    """The pids of our children, zombies included."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def session_leader(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, start_new_session=True)


@pytest.fixture
async def table() -> AsyncIterator[ProcessTable]:
    with new_table() as table:
        yield table


async def test_what_a_dead_server_left_is_found_and_killed(table: ProcessTable) -> None:
    process = session_leader("sh", "-c", "sleep 50 & sleep 50 & wait")
    group = ProcessGroup(process, table)
    leader = Identity.decode(group.handle)
    try:
        with trio.fail_after(5):
            while len((await table.look(leader)).members) < 3:
                pass
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            # Its leader is dead, its members are not.
            assert len((await table.look(leader)).members) == 2
            await ProcessGroup.kill_remains(leader, table)
            assert not (await table.look(leader)).members
    finally:
        await group.end()


async def test_a_stranger_with_the_same_pid_is_left_alone(table: ProcessTable) -> None:
    process = session_leader("sleep", "50")
    group = ProcessGroup(process, table)
    try:
        for pattern, other in ((r'"start":\d+', '"start":1'), ('"boot":"', '"boot":"x')):
            handle = re.sub(pattern, other, group.handle)
            assert handle != group.handle
            await ProcessGroup.kill_remains(Identity.decode(handle), table)
        assert process.poll() is None
        await ProcessGroup.kill_remains(group.leader, table)
        assert process.wait() == -signal.SIGKILL
    finally:
        assert await group.end()


async def test_timeout_and_stop_over_http(open_server: OpenServer) -> None:
    async with open_server() as live:
        late = await live.submit("sleep", "50", timeout=0.2)
        record = await live.finished(late["id"])
        assert (record["status"], record["signal"]) == ("timed_out", "SIGTERM")
        assert record["error"] == "The workload ran into its time-out."
        endless = await live.submit("sh", "-c", "trap '' TERM; echo up; sleep 50")
        stream = await live.follow(endless["logs_url"])
        async with stream.stream:
            await stream.read_until(b"up")
        for grace in (50, 0.1):  # the second request cuts the first one's grace short
            answer = await live.client.post(
                f"/v1/workloads/{endless['id']}/stop", json={"grace": grace}
            )
            assert answer.status_code == 202
        record = await live.finished(endless["id"])
        assert (record["status"], record["signal"]) == ("stopped", "SIGKILL")
        again = await live.client.post(f"/v1/workloads/{endless['id']}/stop")
        assert (again.status_code, again.json()["status"]) == (202, "stopped")
