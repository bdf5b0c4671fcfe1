"""The service's own log: structlog to standard error, as text or as JSON.

Lines of text are coloured if standard error is a terminal. The thread that logs a record also
formats it. So the queue holds only bytes, and keeps no exceptions and frames alive.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, TextIO, TypeAlias

import structlog

from .json_log import dropped_object, encode_object, text_object
from .own_log import OwnLog
from .stderr import take_over_stderr
from .tracebacks import format_error

__all__ = ["LogFormat", "configure_logging"]

LogFormat: TypeAlias = Literal["text", "json"]

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def configure_logging(level: int = logging.INFO, log_format: LogFormat = "text") -> None:
    """Set up the log of a process that serves nothing else; other programs configure their own.

    This replaces `sys.stderr`, so that no write to it blocks or raises any more; see `stderr`. With
    `json`, each line on standard error is an object, and so is what libraries and Python itself
    write there. Raises RuntimeError if the thread of the log can't be started.
    """
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    factory: Callable[..., structlog.typing.WrappedLogger]
    if log_format == "json":
        log = take_over_stderr(wrap=text_object, notice=dropped_object)
        processors += [
            structlog.processors.ExceptionRenderer(lambda exc_info: format_error(exc_info[1])),
            _render_object,
        ]
        factory = structlog.BytesLoggerFactory(_Records(log))  # type: ignore[arg-type]
        sys.excepthook = _log_uncaught
    else:
        take_over_stderr()
        processors += [
            _quote_controls,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=_write_traceback
            ),
        ]
        # PrintLogger would write the final newline separately, which would split a record.
        factory = structlog.WriteLoggerFactory(sys.stderr)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
    )


class _Records:
    """The file of structlog's BytesLogger: each write is one record."""

    def __init__(self, log: OwnLog) -> None:
        self.write = log.put

    def flush(self) -> None:
        """Nothing: the log's thread writes."""


def _render_object(
    _: Any, __: str, event: structlog.typing.EventDict
) -> structlog.typing.ProcessorReturnValue:
    # BytesLogger adds the newline.
    return encode_object(**event).rstrip(b"\n")


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Replaces Python's own hook, which writes a traceback line by line."""
    structlog.get_logger("trio_logs").critical("uncaught exception", exc_info=(kind, error, trace))


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
