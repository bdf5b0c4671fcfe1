"""The `function` backend: an async callable, registered by name, writes to its log directly."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import trio

from ..errors import InvalidSpecError, LogClosedError, NotStartedError
from ..records import Outcome, Reason, Status, WorkloadSpec
from . import Execution

__all__ = ["FunctionBackend", "function"]

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Awaitable[object]])

_functions: dict[str, Callable[..., Awaitable[object]]] = {}


def function(name: str) -> Callable[[AnyFunction], AnyFunction]:
    """Register an async callable, which is called with a `LogWriter` and the rest of the command.

    A workload with `{"backend": "function", "command": ["NAME", "ARG", ...]}` runs it. It succeeds
    when the callable returns, fails when it raises, and is cancelled when the workload is stopped.
    """

    def register(run: AnyFunction) -> AnyFunction:
        if name in _functions:
            raise ValueError(f"a function {name!r} is registered already")
        _functions[name] = run
        return run

    return register


class FunctionBackend:
    """See `Backend` for the methods."""

    def check(self, spec: WorkloadSpec) -> None:
        if not spec.command or spec.command[0] not in _functions:
            given = spec.command[0] if spec.command else ""
            known = ", ".join(sorted(_functions)) or "none"
            raise InvalidSpecError(
                f"command: no function {given!r} is registered; registered: {known}"
            )
        for name, value in (("env", spec.env), ("cwd", spec.cwd), ("pty", spec.pty)):
            if value:
                raise InvalidSpecError(f"{name}: a function has no process of its own to use it")

    async def run(self, execution: Execution) -> Outcome:
        try:
            # A workload that was queued before a restart may name a function that no longer exists.
            self.check(execution.spec)
        except InvalidSpecError as error:
            raise NotStartedError(str(error)) from error
        name, *arguments = execution.spec.command
        outcome = Outcome(
            Status.STOPPED, reason=Reason.STOP_REQUESTED, error="The function was cancelled."
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_stop, execution, nursery.cancel_scope)
            outcome = await _call(_functions[name], execution, arguments)
            nursery.cancel_scope.cancel()
        return outcome

    async def reap(self, handle: str) -> None:
        """Do nothing: a function does not outlive its process."""


async def _cancel_on_stop(execution: Execution, scope: trio.CancelScope) -> None:
    await execution.stop.wait()
    scope.cancel()


async def _call(
    run: Callable[..., Awaitable[object]], execution: Execution, arguments: list[Any]
) -> Outcome:
    try:
        await run(execution.log, *arguments)
    except (Exception, SystemExit) as error:  # argparse and others call sys.exit
        text = traceback.format_exc().encode(errors="backslashreplace")
        # The function, or an embedder, may have closed the log.
        with suppress(LogClosedError):
            await execution.log.write(text, "stderr")
        last = traceback.format_exception_only(error)[-1].strip()
        return Outcome(Status.FAILED, error=last, reason=Reason.EXCEPTION)
    return Outcome(Status.SUCCEEDED, reason=Reason.EXITED)
