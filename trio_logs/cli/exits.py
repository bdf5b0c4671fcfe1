"""What the exit codes say, and how an error becomes one line and a code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from ..errors import InvalidRequestError, TrioLogsError, WorkloadNotFoundError
from .controls import one_line

__all__ = [
    "BROKEN_PIPE",
    "FAILED",
    "INTERRUPTED",
    "LOST",
    "NOT_FOUND",
    "NOT_STARTED",
    "STOPPED",
    "TIMED_OUT",
    "UNAUTHORIZED",
    "UNREACHABLE",
    "USAGE",
    "UsageError",
    "complain",
]

FAILED = 1
"""Refused, or failed in another way; the line says how."""

USAGE = 2
"""An option or argument that can't be read."""

# The next three are those of sysexits.h: EX_NOINPUT, EX_UNAVAILABLE, EX_NOPERM.
NOT_FOUND = 66
"""No workload is meant by that, or more than one."""

UNREACHABLE = 69
"""No server answers there, or not any more."""

UNAUTHORIZED = 77
"""The token is missing or wrong."""

# Of `run` alone, where the workload has no code of its own to pass on.
STOPPED = 123
"""Somebody else stopped the workload."""

TIMED_OUT = 124
"""The workload ran into its time-out, as with timeout(1)."""

LOST = 125
"""The server ended while the workload ran, whether it was shut down or killed."""

NOT_STARTED = 127
"""The workload failed without ever having an exit code, as a command that is not there."""

# As shells have it: 128 and the signal's number.
INTERRUPTED = 130
BROKEN_PIPE = 141


UNREACHABLE_HINT = "; is the service running? The --help of a command tells which server it uses"


class UsageError(TrioLogsError):
    """What the user gave, here or in a file or variable, can't be read."""


def complain(error: BaseException, refusal: Callable[[], str]) -> int:
    """Print each error in a group as one line; return the exit code of the last. `refusal` says
    what to do about the token, of which the server can't know where it came from."""
    code = FAILED
    for leaf in _leaves(error):
        code = _code(leaf)
        message = refusal() if code == UNAUTHORIZED else str(leaf)
        if code == UNREACHABLE:
            message += UNREACHABLE_HINT
        # It may quote what somebody else wrote; line ends in it are ours.
        message = one_line(" ".join(message.split("\n")))
        print(f"trio-logs: {message}", file=sys.stderr)
    return code


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _code(error: BaseException) -> int:
    # Not before there is an error: `serve` never needs the client.
    from cyclopts import CycloptsError

    from ..client.errors import RefusedError, UnreachableError

    match error:
        case RefusedError(status=401 | 403):
            return UNAUTHORIZED
        case RefusedError(status=404) | WorkloadNotFoundError():
            return NOT_FOUND
        case CycloptsError() | UsageError() | InvalidRequestError():
            return USAGE
        case RefusedError(status=400 | 422):
            return USAGE
        case UnreachableError():
            return UNREACHABLE
    return FAILED
