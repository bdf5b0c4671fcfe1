"""One workload while the engine has it, and its execution."""

from __future__ import annotations

import math
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import structlog
import trio

from ..backends import Backend, Execution, Stop, find_backend
from ..broker import LogWriter
from ..errors import LogClosedError, TrioLogsError
from ..records import Outcome, Reason, Status, Workload, now

__all__ = ["Job"]

_log = structlog.get_logger("trio_logs.engine")

FORCE_SECONDS = 10.0
"""How long a backend may take, after the grace, to end a workload by force; then it is
cancelled."""


MAX_ERROR = 4096
"""The characters of an error that are kept: it is in the record, in each list, and in `end`."""


@dataclass(slots=True, eq=False)
class Job:
    """`begun`: it runs, or it won't any more. `done`: nothing of it is left here. `leaving` is
    around its execution only: cancelled, it is left as it is in the store."""

    workload: Workload
    stop: Stop = field(default_factory=Stop)
    begun: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)
    leaving: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def execute(
        self,
        backends: Mapping[str, Backend],
        log: LogWriter,
        remember: Callable[[str], Awaitable[None]],
        grace: float,
    ) -> Outcome:
        """Have its backend run it, within its time-out; `grace`, in seconds, is for that.

        What the backend raises is the outcome, and the last line of the log.
        """
        spec = self.workload.spec
        # A clone: the backend may close it, and the last words are still to be written.
        execution = Execution(self.workload.id, spec, log.clone(), remember, self.stop)
        outcome = Outcome(Status.FAILED, error="The backend did not end it in time.")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._see_to_its_end, grace, nursery.cancel_scope)
                outcome = _checked(await find_backend(backends, spec.backend).run(execution))
                nursery.cancel_scope.cancel()
        except* (Exception, SystemExit) as group:
            text = _shown(_in_words(_innermost(group)))
            _log.warning("workload failed", workload=self.workload.id, error=text)
            outcome = Outcome(Status.FAILED, error=text)
            with suppress(LogClosedError):  # by whoever embeds the broker
                # Without a line end, so that it comes out last, after what other streams left
                # unended.
                await log.write(text, "system")
        finally:
            execution.log.close()
        return outcome

    async def _see_to_its_end(self, grace: float, scope: trio.CancelScope) -> None:
        timeout = math.inf if self.workload.spec.timeout is None else self.workload.spec.timeout
        if self.workload.started_at is not None:
            # It ran on while the server was away.
            timeout = max(0.0, timeout - (now() - self.workload.started_at) / 1_000_000)
        with trio.move_on_after(timeout):
            await self.stop.wait()
        if self.stop.status is None:
            self.stop.request(
                Status.TIMED_OUT, Reason.TIMEOUT, grace, "The workload ran into its time-out."
            )
        await self.stop.wait_grace()
        await trio.sleep(FORCE_SECONDS)
        scope.cancel()


def _checked(outcome: object) -> Outcome:
    """What a backend has returned, if that is an end which can be stored."""
    match outcome:
        case Outcome(
            status=Status(final=True),
            exit_code=int() | None as code,
            signal=str() | None as name,
            error=str() | None as error,
        ) if code is None or abs(code) < 2**32:
            return replace(outcome, signal=name and _shown(name), error=error and _shown(error))
    what = "nothing" if outcome is None else f"a {type(outcome).__name__} that is no end"
    return Outcome(Status.FAILED, error=f"The backend returned {what}.")


def _shown(text: str) -> str:
    """Text that can be stored and sent, whatever was raised."""
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= MAX_ERROR else f"{text[:MAX_ERROR]} …"


def _innermost(error: BaseException) -> BaseException:
    """What a group of one holds; nurseries wrap even a single exception."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _in_words(error: BaseException) -> str:
    # Ours are sentences for the user, and need no name of a class before them.
    if isinstance(error, TrioLogsError):
        return str(error)
    return "".join(traceback.format_exception_only(error)).strip()
