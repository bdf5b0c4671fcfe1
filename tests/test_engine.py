"""The queue, stop, time-out, outcomes and functions, in virtual time; and recovery."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

from tests.stage import NO_OUTCOMES, Stage, engine
from trio_logs import LogBroker, Outcome, Status, WorkloadSpec, open_broker
from trio_logs.backends import Backend, installed_backends
from trio_logs.backends.function import function
from trio_logs.broker import LogWriter
from trio_logs.engine import Engine, EngineLimits
from trio_logs.errors import (
    BackendNotFoundError,
    BusyError,
    ConflictError,
    InvalidSpecError,
    LogClosedError,
    NotReadyError,
    NotStartedError,
    StoreError,
    WorkloadNotFoundError,
)
from trio_logs.records import Reason, now
from trio_logs.store.memory import MemoryStore
from trio_logs.store.sqlite import SQLiteStore


async def test_queue_is_first_in_first_out(autojump_clock: trio.testing.MockClock) -> None:
    async with engine(EngineLimits(running=1, queued=4)) as parts:
        submitted = [await parts.submit("wait") for _ in range(5)]
        ids = [workload.id for workload in submitted]
        assert ids == sorted(ids)
        await trio.testing.wait_all_tasks_blocked()
        assert parts.stage.running == ids[:1]
        assert [(await parts.engine.get(i)).status for i in ids] == ["running"] + ["queued"] * 4
        with pytest.raises(BusyError, match="4 workloads are waiting"):
            await parts.submit("wait")
        parts.stage.release.set()
        for workload_id in ids:
            assert (await parts.lines(workload_id))[1].outcome.status == "succeeded"
        assert parts.stage.running == ids
        assert parts.engine.statistics().finished[Status.SUCCEEDED] == 5


@pytest.mark.parametrize("number", range(len(NO_OUTCOMES)))
async def test_what_is_no_outcome_is_a_failure(
    autojump_clock: trio.testing.MockClock, number: int
) -> None:
    async with engine(EngineLimits(running=1)) as parts:
        workload = await parts.submit("return", str(number))
        outcome = (await parts.lines(workload.id))[1].outcome
        assert (outcome.status, outcome.exit_code) == (Status.FAILED, None)
        assert "The backend returned" in (outcome.error or "")
        assert outcome.reason == Reason.EXCEPTION
        # The next one has its turn.
        after = await parts.submit("raise")
        assert (await parts.lines(after.id))[1].outcome.status == "failed"


async def test_a_text_that_is_not_unicode_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with engine() as parts:
        with pytest.raises(InvalidSpecError, match="not Unicode"):
            await parts.submit("\udcff")


async def test_a_log_that_is_closed_under_its_workload(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with engine() as parts:
        workload = await parts.submit("until stop")
        await trio.testing.wait_all_tasks_blocked()
        await parts.broker.close(workload.id, Outcome(Status.LOST))
        # It can't write any more, so it fails.
        await parts.engine.stop(workload.id)
        assert (await parts.engine.finished(workload.id)).status == "lost"


async def test_a_writer_that_goes_on_does_not_keep_a_log_open(tmp_path: Path) -> None:
    async with open_broker(SQLiteStore(tmp_path / "db")) as broker:
        told = trio.Event()

        async def write_on(log: LogWriter) -> None:
            with log:
                with pytest.raises(LogClosedError):
                    while True:
                        await log.write("more\n")
                told.set()

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(write_on, await broker.open("w"))
            await trio.sleep(0.05)
            with trio.fail_after(5):
                await broker.close("w")
                await told.wait()


async def test_what_waits_when_the_engine_drains_is_left_to_the_next_start(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with engine(EngineLimits(running=1)) as parts:
        running, queued = [await parts.submit("until stop") for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked()
        parts.engine.drain()
        assert (await parts.engine.finished(queued.id)).status == "queued"
        with pytest.raises(NotReadyError, match="when it is back"):
            await parts.engine.stop(queued.id)
        await parts.engine.shutdown()
        assert (await parts.engine.stop(running.id)).status == "stopped"


async def test_what_was_submitted_before_needs_no_room(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with engine(EngineLimits(running=1, queued=1)) as parts:
        spec = WorkloadSpec(("wait",), backend="stage")
        await parts.engine.submit(spec, "first")
        await trio.testing.wait_all_tasks_blocked()
        second, _ = await parts.engine.submit(spec, "second")
        assert await parts.engine.submit(spec, "second") == (second, False)
        with pytest.raises(InvalidSpecError, match="another request"):
            await parts.engine.submit(replace(spec, name="other"), "second")
        for key in ("third", None):
            with pytest.raises(BusyError):
                await parts.engine.submit(spec, key)
        parts.stage.release.set()


async def test_a_stop_reaches_a_workload_that_is_starting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """At whatever step of its start: it ends as stopped, and what has begun is told."""
    for steps in range(12):
        async with engine() as parts:
            workload = await parts.submit("until stop")
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            await parts.engine.stop(workload.id)
            lines, end = await parts.lines(workload.id)
            assert end.outcome.reason == Reason.STOP_REQUESTED
            assert lines == (["stdout: stopping"] if parts.stage.running else [])
            assert (await parts.engine.finished(workload.id)).status == "stopped"


async def test_a_shutdown_reaches_a_workload_that_is_starting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    statuses = set()
    for steps in range(12):
        store = MemoryStore()
        async with engine(store=store) as parts:
            workload = await parts.submit("until stop")
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            start = trio.current_time()
            assert await parts.engine.shutdown() == 0
            assert trio.current_time() == start
            status = (await parts.engine.get(workload.id)).status
            # Left to the next start, or ended: it must not look as if the service had died.
            assert status in ("queued", "stopped")
            if status == "queued":
                assert parts.stage.running == []
            else:
                _, end = await parts.lines(workload.id)
                assert end.outcome.reason == Reason.SHUTDOWN
        statuses.add(status)
    assert statuses == {"queued", "stopped"}


async def test_specifications_that_wait_have_a_bound(
    autojump_clock: trio.testing.MockClock,
) -> None:
    small = WorkloadSpec(("until stop",), backend="stage")
    large = replace(small, env={"X": "x" * 10_000})
    async with engine(EngineLimits(running=1, queued_bytes=25_000)) as parts:
        submit = parts.engine.submit
        ids = [(await submit(large))[0].id for _ in range(3)]
        with pytest.raises(BusyError, match="bytes of specifications"):
            await submit(large)
        # A small one has room, and so has another when one starts, is stopped, or has ended.
        await submit(small)
        await parts.engine.stop(ids[2])
        await submit(large)
        with pytest.raises(BusyError):
            await submit(large)
        await parts.engine.stop(ids[0])
        await parts.engine.finished(ids[0])
        await trio.testing.wait_all_tasks_blocked()
        await submit(large)


async def test_stop_of_a_queued_one(autojump_clock: trio.testing.MockClock) -> None:
    async with engine(EngineLimits(running=1)) as parts:
        first, second = [await parts.submit("until stop") for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked()
        await parts.engine.stop(second.id)
        lines, end = await parts.lines(second.id)
        assert (lines, end.outcome.status) == ([], "stopped")
        assert end.outcome.reason == Reason.STOP_REQUESTED
        assert (await parts.engine.get(second.id)).started_at is None
        await parts.engine.stop(first.id)
        lines, end = await parts.lines(first.id)
        assert lines == ["stdout: stopping"]
        assert end.outcome == Outcome(
            Status.STOPPED,
            signal="SIGTERM",
            error="The workload was stopped.",
            reason=Reason.STOP_REQUESTED,
        )


async def test_timeout(autojump_clock: trio.testing.MockClock) -> None:
    async with engine() as parts:
        workload = await parts.submit("until stop", timeout=30.0)
        start = trio.current_time()
        _, end = await parts.lines(workload.id)
        assert trio.current_time() - start == pytest.approx(30)
        assert end.outcome.status == "timed_out"
        assert end.outcome.reason == Reason.TIMEOUT


async def test_a_backend_that_ignores_stop_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with engine(EngineLimits(grace=5)) as parts:
        workload = await parts.submit("ignore stop")
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        await parts.engine.stop(workload.id)
        _, end = await parts.lines(workload.id)
        assert trio.current_time() - start == pytest.approx(15)
        assert end.outcome.status == "stopped"


async def test_a_long_grace_is_not_shortened_by_the_default(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with engine(EngineLimits(grace=5)) as parts:
        workload = await parts.submit("ignore stop")
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        await parts.engine.stop(workload.id, grace=100)
        await parts.lines(workload.id)
        assert trio.current_time() - start == pytest.approx(110)


async def test_a_backend_that_raises_fails_its_workload_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with engine() as parts:
        other = await parts.submit("wait")
        workload = await parts.submit("raise")
        lines, end = await parts.lines(workload.id)
        assert lines == ["stdout: before", "system: RuntimeError: the backend broke"]
        assert end.outcome == Outcome(
            Status.FAILED, error="RuntimeError: the backend broke", reason=Reason.EXCEPTION
        )
        closed = await parts.submit("close, raise")
        assert (await parts.lines(closed.id))[0] == ["system: RuntimeError: the backend broke"]
        parts.stage.release.set()
        assert (await parts.lines(other.id))[1].outcome.status == "succeeded"


GIVEN: list[tuple[Outcome, str]] = [
    (Outcome(Status.SUCCEEDED, 0), "exited"),
    (Outcome(Status.SUCCEEDED), "exited"),
    (Outcome(Status.FAILED, 3), "exited"),
    (Outcome(Status.FAILED, 137, "SIGKILL"), "signaled"),
    (Outcome(Status.FAILED, signal="SIGKILL"), "signaled"),
    (Outcome(Status.FAILED), "exception"),
    (Outcome(Status.STOPPED), "stop_requested"),
    (Outcome(Status.TIMED_OUT), "timeout"),
    (Outcome(Status.LOST), "client_lost"),
    (Outcome(Status.FAILED, 137, reason=Reason.OUT_OF_MEMORY), "out_of_memory"),
    (Outcome(Status.FAILED, reason="of its own"), "of its own"),
    (Outcome(Status.FAILED, 1, reason=cast(str, 5)), "exception"),
]
"""What a backend may return, and the reason that is stored."""


@pytest.mark.parametrize("number", range(len(GIVEN)))
async def test_every_outcome_has_a_reason(
    number: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with engine() as parts:
        parts.stage.outcome, reason = GIVEN[number]
        parts.stage.release.set()
        workload = await parts.submit("wait")
        assert (await parts.lines(workload.id))[1].outcome.reason == reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("broke"), Reason.EXCEPTION),
        (StoreError("away"), Reason.EXCEPTION),
        (NotStartedError("no such program"), Reason.NOT_STARTED),
        (InvalidSpecError("no such folder"), Reason.NOT_STARTED),
        (ExceptionGroup("", [NotStartedError("no such program")]), Reason.NOT_STARTED),
        (ExceptionGroup("", [NotStartedError("no"), RuntimeError("broke")]), Reason.EXCEPTION),
    ],
)
async def test_the_reason_of_an_exception(
    error: Exception, reason: Reason, autojump_clock: trio.testing.MockClock
) -> None:
    async with engine() as parts:
        parts.stage.error = error
        workload = await parts.submit("raise")
        outcome = (await parts.lines(workload.id))[1].outcome
        assert (outcome.status, outcome.reason) == ("failed", reason)


async def test_idempotency(autojump_clock: trio.testing.MockClock) -> None:
    async with engine() as parts:
        first = await parts.submit("wait", key="k")
        again, created = await parts.engine.submit(first.spec, "k")
        assert (again.id, created) == (first.id, False)
        with pytest.raises(InvalidSpecError, match="another request"):
            await parts.submit("wait", "more", key="k")
        ids: list[str] = []

        async def race() -> None:
            ids.append((await parts.submit("wait", key="race")).id)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(race)
        assert len(set(ids)) == 1
        assert len(await parts.store.unfinished()) == 2


async def test_a_submitter_that_leaves_has_submitted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    begun = trio.Event()
    async with engine() as parts:

        async def submit() -> None:
            begun.set()
            await parts.submit("wait")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(submit)
            # Cancelled before its first step it would have done nothing.
            await begun.wait()
            nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert [w.status for w, _ in await parts.store.unfinished()] == ["running"]


async def test_bad_submissions(autojump_clock: trio.testing.MockClock) -> None:
    async with engine() as parts:
        with pytest.raises(InvalidSpecError, match="impossible"):
            await parts.submit("impossible")
        with pytest.raises(BackendNotFoundError, match=r"'nope'; installed: function, stage"):
            await parts.submit("x", backend="nope")
        with pytest.raises(WorkloadNotFoundError):
            await parts.engine.get("nope")
        with pytest.raises(WorkloadNotFoundError):
            await parts.engine.stop("nope")


async def test_delete(autojump_clock: trio.testing.MockClock) -> None:
    async with engine() as parts:
        workload = await parts.submit("until stop")
        with pytest.raises(ConflictError, match="stop it first"):
            await parts.engine.delete(workload.id)
        await parts.engine.stop(workload.id)
        await parts.lines(workload.id)
        await parts.engine.delete(workload.id)
        with pytest.raises(WorkloadNotFoundError):
            await parts.engine.delete(workload.id)


async def test_shutdown_stops_what_runs_and_keeps_the_queue(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    async with engine(EngineLimits(running=1), store) as parts:
        first, second = [await parts.submit("until stop") for _ in range(2)]
        await trio.testing.wait_all_tasks_blocked()
        await parts.engine.shutdown()
        assert (await parts.engine.get(first.id)).status == "stopped"
        assert (await parts.lines(first.id))[1].outcome.reason == Reason.SHUTDOWN
        with pytest.raises(NotReadyError):
            await parts.submit("wait")
    async with engine(store=store) as parts:
        await trio.testing.wait_all_tasks_blocked()
        assert parts.stage.running == [second.id]


async def test_what_ran_at_a_crash_is_lost(autojump_clock: trio.testing.MockClock) -> None:
    store = MemoryStore()
    async with engine(EngineLimits(running=1), store) as parts:
        first, second = [await parts.submit("wait") for _ in range(2)]
        await parts.broker.publish(first.id, "durable")
        await trio.testing.wait_all_tasks_blocked()
        # The nurseries are cancelled here, without a word: as good as a crash.
    async with engine(store=store) as parts:
        lines, end = await parts.lines(first.id)
        assert lines == ["stdout: durable"]
        assert (end.outcome.status, end.outcome.reason) == ("lost", Reason.SERVER_LOST)
        assert parts.stage.reaped == [f"handle of {first.id}"]
        assert parts.engine.statistics().finished[Status.LOST] == 1
        await trio.testing.wait_all_tasks_blocked()
        assert parts.stage.running == [second.id]


@function("test.write")
async def write(log: LogWriter, *arguments: str) -> None:
    await log.write(f"arguments {arguments}\n")
    await log.writelines(["two", "three\n"], "stderr")


@function("test.fail")
async def fail(log: LogWriter) -> None:
    await log.write("about to fail\n")
    raise LookupError("what it needs is not there")


@function("test.wait")
async def wait(log: LogWriter) -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.move_on_after(1, shield=True):
            await log.write("cleaned up\n")


CALLER: ContextVar[str] = ContextVar("caller", default="none")


@function("test.caller")
async def caller(log: LogWriter) -> None:
    await log.write(CALLER.get())


async def test_who_submits_is_not_kept_by_what_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A request's context variables hold all of it, down to its connection."""
    topics = []

    class Store(MemoryStore):
        async def append(self, *arguments: Any, **options: Any) -> None:
            topics.append(CALLER.get())
            await super().append(*arguments, **options)

    async with engine(store=Store()) as parts:
        CALLER.set("a request")
        workload = await parts.submit("test.caller", backend="function")
        lines, _ = await parts.lines(workload.id)
        assert lines == ["stdout: none"]
        await parts.broker.publish("other", "line")
        await trio.testing.wait_all_tasks_blocked()
    assert set(topics) == {"none"}


async def test_an_engine_that_ends_is_not_ready(autojump_clock: trio.testing.MockClock) -> None:
    """At whatever moment of its end somebody submits or writes."""
    store = MemoryStore()
    for patience in range(12):
        broker = LogBroker(store)
        made = Engine(store, broker, {"stage": Stage()})
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            async with trio.open_nursery() as ending:
                await ending.start(broker.run)
                await ending.start(made.run)
                nursery.start_soon(submit_late, made, patience)
                nursery.start_soon(publish_late, broker, patience)
                ending.cancel_scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


async def submit_late(made: Engine, patience: int) -> None:
    for _ in range(patience):
        await trio.lowlevel.checkpoint()
    with pytest.raises(NotReadyError):
        await made.submit(WorkloadSpec(("x",), backend="stage"))


async def publish_late(broker: LogBroker, patience: int) -> None:
    for _ in range(patience):
        await trio.lowlevel.checkpoint()
    with pytest.raises(LogClosedError):
        await broker.publish(f"log {patience}", "line")


async def test_function_writes(autojump_clock: trio.testing.MockClock) -> None:
    async with engine() as parts:
        workload = await parts.submit("test.write", "a", "b", backend="function")
        lines, end = await parts.lines(workload.id)
        assert lines == ["stdout: arguments ('a', 'b')", "stderr: two", "stderr: three"]
        assert end.outcome == Outcome(Status.SUCCEEDED, reason=Reason.EXITED)


async def test_function_that_raises_has_its_traceback_in_the_log(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with engine() as parts:
        workload = await parts.submit("test.fail", backend="function")
        lines, end = await parts.lines(workload.id)
        assert lines[0] == "stdout: about to fail"
        assert lines[1] == "stderr: Traceback (most recent call last):"
        assert lines[-1] == "stderr: LookupError: what it needs is not there"
        assert end.outcome == Outcome(
            Status.FAILED,
            error="LookupError: what it needs is not there",
            reason=Reason.EXCEPTION,
        )


async def test_function_is_cancelled_by_a_stop(autojump_clock: trio.testing.MockClock) -> None:
    async with engine() as parts:
        workload = await parts.submit("test.wait", backend="function")
        await trio.testing.wait_all_tasks_blocked()
        await parts.engine.stop(workload.id)
        lines, end = await parts.lines(workload.id)
        assert (lines, end.outcome.status) == (["stdout: cleaned up"], "stopped")


@function("test.misbehave")
async def misbehave(log: LogWriter, how: str) -> None:
    match how:
        case "close, raise":
            log.close()
            raise ValueError("after closing")
        case "exit":
            sys.exit(3)
        case "write a list":
            await log.write(["x\n"])  # type: ignore[arg-type]
        case "no stream":
            await log.write("x\n", None)  # type: ignore[arg-type]
        case "surrogate":
            raise ValueError("\udcff")
        case "keep a clone":
            kept.append(log.clone())
            await log.write("kept\n")


kept: list[LogWriter] = []

MISBEHAVIOUR = [
    ("close, raise", "ValueError: after closing"),
    ("exit", "SystemExit: 3"),
    ("write a list", "TypeError: memoryview: a bytes-like object is required, not 'list'"),
    ("no stream", "TypeError: a stream's name is a word, not None"),
    ("surrogate", r"ValueError: \udcff"),
    ("keep a clone", None),
]


@pytest.mark.parametrize(("how", "error"), MISBEHAVIOUR)
async def test_what_a_function_does_hurts_only_itself(
    how: str, error: str | None, autojump_clock: trio.testing.MockClock
) -> None:
    async with engine() as parts:
        other = await parts.submit("wait")
        workload = await parts.submit("test.misbehave", how, backend="function")
        _, end = await parts.lines(workload.id)
        assert end.outcome.error == error
        parts.stage.release.set()
        assert (await parts.lines(other.id))[1].outcome.status == "succeeded"
        for log in kept:
            with pytest.raises(LogClosedError):
                await log.write("late\n")
        kept.clear()


async def test_functions_are_checked(autojump_clock: trio.testing.MockClock) -> None:
    async with engine() as parts:
        with pytest.raises(
            InvalidSpecError, match=r"no function 'nope' is registered; .*test\.fail"
        ):
            await parts.submit("nope", backend="function")
        with pytest.raises(InvalidSpecError, match="env:"):
            await parts.submit("test.write", backend="function", env={"A": "b"})
        with pytest.raises(ValueError, match="registered already"):
            function("test.write")(write)


def test_backends_are_found_by_entry_point() -> None:
    assert {"process", "function"} <= installed_backends().keys()
    assert all(isinstance(backend, Backend) for backend in installed_backends().values())


async def test_ids_sort_and_match(autojump_clock: trio.testing.MockClock) -> None:
    async with engine() as parts:
        made = [parts.engine._admission._new_id(now() - number) for number in range(100)]
        assert made == sorted(made)
        assert len(set(made)) == 100
        assert all(made_id.isalnum() and len(made_id) <= 64 for made_id in made)
