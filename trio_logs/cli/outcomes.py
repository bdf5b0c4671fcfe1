"""How a workload ended, as a sentence and as an exit code."""

from __future__ import annotations

import re
import signal

from ..client import End, Outcome, Status, Workload
from ..records import Reason
from .exits import LOST, NOT_STARTED, STOPPED, TIMED_OUT

__all__ = [
    "count_lines",
    "exit_code",
    "outcome_of",
    "tell",
    "tell_end",
    "tell_unended",
    "why_stopped",
]

_BY_REASON: dict[str | None, int] = {
    Reason.NOT_STARTED: NOT_STARTED,
    Reason.STOP_REQUESTED: STOPPED,
    Reason.SHUTDOWN: LOST,
    Reason.TIMEOUT: TIMED_OUT,
    Reason.SERVER_LOST: LOST,
    Reason.CLIENT_LOST: LOST,
}

_BY_STATUS = {Status.STOPPED: STOPPED, Status.TIMED_OUT: TIMED_OUT, Status.LOST: LOST}
"""For an outcome without a reason, or with one of a later version of the service."""


def exit_code(outcome: Outcome) -> int:
    """The exit code that a shell gives a command with this outcome. `exits` has the codes for the
    outcomes that no shell knows."""
    code = _BY_REASON.get(outcome.reason) or _BY_STATUS.get(outcome.status)
    if code is not None:
        return code
    match outcome:
        case Outcome(exit_code=int(code)):
            return code
        case Outcome(signal=str(name)):
            number = re.fullmatch(r"SIG(\d+)", name)
            return 128 + (int(number[1]) if number else signal.Signals[name])
    return 0 if outcome.status is Status.SUCCEEDED else NOT_STARTED


def outcome_of(workload: Workload) -> Outcome:
    """The outcome in the record of a workload that has ended."""
    return Outcome(
        workload.status, workload.exit_code, workload.signal, workload.error, workload.reason
    )


def tell(outcome: Outcome) -> str:
    """The status and its cause in a few words. Any other error is the last line of the log."""
    match outcome:
        case Outcome(status=Status.TIMED_OUT):
            words = "timed out"
        case Outcome(reason=Reason.NOT_STARTED):
            words = "could not be started"
        case Outcome(status=Status.LOST, reason=Reason.CLIENT_LOST):
            words = "is lost: the client that sent its log did not come back"
        case Outcome(status=Status.LOST):
            words = "is lost: the server ended while it ran"
        case _:
            words = str(outcome.status)
    if outcome.signal is not None:
        words += f" with {outcome.signal}"
    elif outcome.exit_code or (outcome.exit_code == 0 and outcome.status is Status.FAILED):
        words += f" with exit code {outcome.exit_code}"
    return words


def tell_end(name: str, end: End) -> str | None:
    """The sentence that ends a log; None if its workload succeeded."""
    outcome = end.outcome
    if outcome.status is Status.SUCCEEDED:
        return None
    return f"{name} {tell(outcome)} ({count_lines(end.lines)}){why_stopped(outcome)}"


def why_stopped(outcome: Outcome) -> str:
    """Why a workload was stopped, for behind the rest; empty if a client asked for it, since then
    the status says it all."""
    if outcome.status is not Status.STOPPED or outcome.reason == Reason.STOP_REQUESTED:
        return ""
    return f": {outcome.error}" if outcome.error else ""


def tell_unended(workload_id: str) -> str:
    """The sentence on a workload that has no exit code yet, although one was asked for."""
    return (
        f"{workload_id} has not ended, so it has no exit code: follow it, or use `trio-logs wait`"
    )


def count_lines(lines: int) -> str:
    """The number of lines, with its noun."""
    return "1 line" if lines == 1 else f"{lines:,} lines"
