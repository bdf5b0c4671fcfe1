"""The service's own log: structlog and Python's `logging`, to standard error.

Lines are coloured where standard error is a terminal. Each is formatted where it is logged, so that
the queue behind it holds text alone, and neither exceptions nor the frames that they keep alive.
"""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import Any, TextIO

import structlog

from .own_log import take_over_stderr
from .tracebacks import escape_controls, format_error

__all__ = ["configure_logging"]

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def configure_logging(level: int = logging.INFO) -> None:
    """Set up the log of a process that serves nothing else; other programs configure their own.

    `sys.stderr` is replaced, so that no write to it blocks or raises any more; see `own_log`.
    Raises RuntimeError if the thread of the log can't be started.
    """
    take_over_stderr()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _on_one_line,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=_write_traceback
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # It writes a record at once, where PrintLogger writes its end by itself.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    # Quart would otherwise start a thread at the first error that it logs, with an unbounded queue,
    # for a stream that it took from `sys.stderr` when it was imported.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("[%(asctime)s] %(levelname)s in %(module)s: %(message)s"))
    logging.getLogger(_PACKAGE).handlers = [handler]


_PACKAGE = __name__.partition(".")[0]
"""The name of Quart's app, and so of its logger."""


class _Formatter(logging.Formatter):
    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is that of the base class
        return format_error(ei[1])


def _on_one_line(
    _: Any, __: str, event: structlog.typing.EventDict
) -> structlog.typing.ProcessorReturnValue:
    """A processor: no value can break its line. Clients choose some, such as a request's path."""
    return {
        key: escape_controls(value) if isinstance(value, str) else value
        for key, value in event.items()
    }


def _write_traceback(stream: TextIO, exc_info: _ExcInfo) -> None:
    """In place of structlog's default, which prints local variables by rich, and takes 0.2 s."""
    stream.write("\n" + format_error(exc_info[1]))
