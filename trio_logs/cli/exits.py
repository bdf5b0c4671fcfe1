"""The exit codes, and how an error becomes one line and a code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

from ..errors import InvalidRequestError, NodeLostError, TrioLogsError, WorkloadNotFoundError
from .controls import one_line

__all__ = [
    "BROKEN_PIPE",
    "FAILED",
    "FENCED",
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
"""The server refused, or the command failed in another way; the line says how."""

USAGE = 2
"""An option or argument is malformed. `grep`: also any error that has no code below, since 1 means
that no line matches, as with grep(1)."""

# The next four are those of sysexits.h: EX_NOINPUT, EX_UNAVAILABLE, EX_TEMPFAIL, EX_NOPERM.
NOT_FOUND = 66
"""No workload has that id or name, several do, or it was deleted meanwhile."""

UNREACHABLE = 69
"""No server answers, or it stopped answering."""

FENCED = 75
"""`serve`: the other nodes took this one for dead. Started again, it joins as a new node."""

UNAUTHORIZED = 77
"""The token is missing or wrong, or is read-only."""

# Only `run` and `pipe` have these, for a workload without an exit code to pass on.
STOPPED = 123
"""Another client stopped the workload."""

TIMED_OUT = 124
"""The workload timed out, as with timeout(1)."""

LOST = 125
"""The server ended while the workload ran, by a shutdown or a crash."""

NOT_STARTED = 127
"""The workload failed without an exit code, such as a command that does not exist."""

# As in shells: 128 plus the signal's number.
INTERRUPTED = 130
BROKEN_PIPE = 141


UNREACHABLE_HINT = "; is the service running? The --help of a command tells which server it uses"


class UsageError(TrioLogsError):
    """An argument, a variable or a file of the user is malformed; the message names it."""


def complain(
    error: BaseException, explain: Callable[[BaseException], str], *, failed: int = FAILED
) -> int:
    """Print each error in a group as one line; return the exit code of the last. `explain` gives
    the message of an error: only the command knows which server it asked. `failed` is the code for
    an error that has none of its own."""
    code = failed
    for leaf in _leaves(error):
        code = _code(leaf, failed)
        message = _sentence(leaf) or explain(leaf)
        if code == UNREACHABLE:
            message += UNREACHABLE_HINT
        # The message may quote untrusted text. Its own line ends become spaces.
        message = one_line(" ".join(message.split("\n")))
        try:
            print(f"trio-logs: {message}", file=sys.stderr, flush=True)
        except OSError:
            # Nobody can be told. Python flushes it again when it exits, and would fail, too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    return code


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _sentence(error: BaseException) -> str | None:
    """The message of an error in the arguments, in plain words; None for any other error."""
    from cyclopts import CycloptsError

    from .usage import sentence

    return sentence(error) if isinstance(error, CycloptsError) else None


def _code(error: BaseException, failed: int) -> int:
    # Imported only after an error: `serve` never needs the client.
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
        case NodeLostError():
            return FENCED
    return failed
