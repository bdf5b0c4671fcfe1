"""The service's own log: structlog to standard error.

Lines are coloured if standard error is a terminal. The thread that logs a record also formats it.
So the queue holds only text, and keeps no exceptions and frames alive.
"""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import Any, TextIO

import structlog

from .stderr import take_over_stderr
from .tracebacks import format_error

__all__ = ["configure_logging"]

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def configure_logging(level: int = logging.INFO) -> None:
    """Set up the log of a process that serves nothing else; other programs configure their own.

    This replaces `sys.stderr`, so that no write to it blocks or raises any more; see `stderr`.
    Raises RuntimeError if the thread of the log can't be started.
    """
    take_over_stderr()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _quote_controls,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=_write_traceback
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # PrintLogger would write the final newline separately, which would split a record.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


class _Quoted:
    """A value that is shown by `repr`: on one line, with its control characters escaped."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return repr(self._text)


def _quote_controls(
    _: Any, __: str, event: structlog.typing.EventDict
) -> structlog.typing.ProcessorReturnValue:
    """Escape control characters. Clients choose some values, such as a request's path, and
    structlog quotes only values with white space. So an escape sequence would reach the terminal
    that shows the log."""
    return {
        key: _Quoted(value) if isinstance(value, str) and not value.isprintable() else value
        for key, value in event.items()
    }


def _write_traceback(stream: TextIO, exc_info: _ExcInfo) -> None:
    """Replaces structlog's default, which prints local variables with Rich and takes 0.2 s."""
    stream.write("\n" + format_error(exc_info[1]))
