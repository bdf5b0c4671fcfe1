"""The execution of one workload: its backend, its time-out, its handle, and its outcome."""

from __future__ import annotations

import math
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace

import structlog
import trio

from ..backends import Backend, Execution, find_backend
from ..broker import LogWriter
from ..errors import FencedError, InvalidSpecError, LogClosedError, NotStartedError, TrioLogsError
from ..records import Outcome, Reason, Status
from .job import Job
from .store_calls import StoreCalls

__all__ = ["execute"]

_log = structlog.get_logger("trio_logs.engine")

FORCE_SECONDS = 10.0
"""Seconds that a backend has, after the grace, to end a workload by force. Then the engine cancels
the backend."""

MAX_ERROR = 4096
"""Characters of an error that are kept: the record, each list and `end` have it."""

BY_STATUS = {
    Status.SUCCEEDED: Reason.EXITED,
    Status.STOPPED: Reason.STOP_REQUESTED,
    Status.TIMED_OUT: Reason.TIMEOUT,
    Status.LOST: Reason.CLIENT_LOST,
}
"""The reason of an outcome whose backend gave none. The server lives, so the client is lost."""


async def execute(
    job: Job,
    backends: Mapping[str, Backend],
    log: LogWriter,
    remember: Callable[[str], Awaitable[None]],
    calls: StoreCalls,
    grace: float,
) -> Outcome:
    """Run a workload by its backend, within its time-out. `grace` is in seconds, for the time-out.

    An exception of the backend becomes the outcome, and the last line of the log. `remember` stores
    a handle. Where another node has the log now, the job is fenced, and the outcome means nothing.
    """
    spec = job.workload.spec
    outcome = Outcome(
        Status.FAILED,
        error="The backend did not end the workload in time.",
        reason=Reason.EXCEPTION,
    )
    # A clone: the backend may close its writer, and an error is still to be written.
    with log.clone() as backend_log:
        try:
            async with trio.open_nursery() as nursery:
                handle = _Handle(job.workload.id, remember, calls, nursery)
                execution = Execution(job.workload.id, spec, backend_log, handle.remember, job.stop)
                nursery.start_soon(_see_to_its_end, job, grace, nursery.cancel_scope)
                outcome = _checked(await find_backend(backends, spec.backend).run(execution))
                nursery.cancel_scope.cancel()
        except* (Exception, SystemExit) as group:
            if group.split(FencedError)[1] is None:
                # Another node owns the workload, and ends it.
                job.is_fenced = True
            else:
                outcome = _failure(job, _innermost(group))
                with suppress(LogClosedError):  # by an embedder
                    # Without a newline: so it comes last, after the unfinished lines of other
                    # streams.
                    await log.write(outcome.error or "", "system")
    if job.stop.status is not None:
        outcome = replace(
            outcome, status=job.stop.status, error=job.stop.error, reason=job.stop.reason
        )
    return outcome


def _failure(job: Job, error: BaseException) -> Outcome:
    text = _shown(_in_words(error))
    _log.warning("workload failed", workload=job.workload.id, error=text)
    refused = isinstance(error, NotStartedError | InvalidSpecError)
    return Outcome(
        Status.FAILED, error=text, reason=Reason.NOT_STARTED if refused else Reason.EXCEPTION
    )


class _Handle:
    """Stores the handle with which the next start ends a run's remains, while the run goes on."""

    def __init__(
        self,
        workload_id: str,
        remember: Callable[[str], Awaitable[None]],
        calls: StoreCalls,
        nursery: trio.Nursery,
    ) -> None:
        self._what = f"keep the handle of {workload_id}"
        self._remember = remember
        self._calls = calls
        self._nursery = nursery
        self._storing = trio.CancelScope()

    async def remember(self, handle: str) -> None:
        """Return once the store has the handle, or once the patience is over: the workload must not
        wait for ever. A task stores the handle later then."""
        # Raise a mistake of the backend in its own call.
        handle.encode()
        stored = trio.Event()
        # An older handle must not overwrite this one.
        self._storing.cancel(reason="a newer handle")
        self._storing = trio.CancelScope()
        self._nursery.start_soon(self._store, handle, self._storing, stored)
        with trio.move_on_after(self._calls.patience):
            await stored.wait()

    async def _store(self, handle: str, scope: trio.CancelScope, stored: trio.Event) -> None:
        async def call() -> None:
            await self._remember(handle)

        with scope:
            await self._calls.until_done(self._what, call)
        # A newer handle has replaced a cancelled one, so the wait for this one is over.
        stored.set()


async def _see_to_its_end(job: Job, grace: float, scope: trio.CancelScope) -> None:
    timeout = math.inf if job.workload.spec.timeout is None else job.workload.spec.timeout
    with trio.move_on_after(max(0.0, timeout - job.ran_for / 1_000_000)):
        await job.stop.wait()
    if not job.stop.requested:
        job.stop.request(
            Status.TIMED_OUT, Reason.TIMEOUT, grace, "The workload ran into its time-out."
        )
    await job.stop.wait_grace()
    await trio.sleep(FORCE_SECONDS)
    scope.cancel(reason="the backend did not end the workload in time")


def _checked(outcome: object) -> Outcome:
    """The outcome that a backend returned, or a failure if that can't be stored."""
    match outcome:
        case Outcome(
            status=Status(final=True),
            exit_code=int() | None as code,
            signal=str() | None as name,
            error=str() | None as error,
            reason=str() | None as reason,
        ) if code is None or abs(code) < 2**32:
            return replace(
                outcome,
                signal=name and _shown(name),
                error=error and _shown(error),
                reason=_reason(outcome) if reason is None else _shown(reason),
            )
    what = "nothing" if outcome is None else f"a {type(outcome).__name__} that is no end"
    return Outcome(Status.FAILED, error=f"The backend returned {what}.", reason=Reason.EXCEPTION)


def _reason(outcome: Outcome) -> Reason:
    """The reason of an outcome whose backend gave none."""
    if outcome.status in BY_STATUS:
        return BY_STATUS[outcome.status]
    if outcome.signal is not None:
        return Reason.SIGNALED
    return Reason.EXCEPTION if outcome.exit_code is None else Reason.EXITED


def _shown(text: str) -> str:
    """The text, bounded and valid as UTF-8, so that it can be stored and sent."""
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= MAX_ERROR else f"{text[:MAX_ERROR]} …"


def _innermost(error: BaseException) -> BaseException:
    """The exception in a group of one; nurseries wrap even a single exception."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _in_words(error: BaseException) -> str:
    # Messages of this package are sentences for the user, without a class name.
    if isinstance(error, TrioLogsError):
        return str(error)
    return "".join(traceback.format_exception_only(error)).strip()
