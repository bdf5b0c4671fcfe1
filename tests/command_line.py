"""Commands as processes of their own, with an environment that is all the test's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.forked import Forked

__all__ = ["PROGRAM", "STARTED", "environment", "launch", "started", "trio_logs"]

PROGRAM = (sys.executable, "-W", "error", "-m", "trio_logs")

STARTED = ("env",)
"""A prefix that changes nothing: with one, a command is started as users start it, not forked. For
tests that look at its memory; one that is forked inherits what it may use again."""


def launch(
    arguments: Sequence[str], prefix: tuple[str, ...] = (), **options: Any
) -> subprocess.Popen[Any] | Forked:
    """A command, forked or, if there is a `prefix`, started by that. Both take the `options`."""
    if prefix:
        return subprocess.Popen([*prefix, *PROGRAM, *arguments], **options)
    return Forked(arguments, **options)


def environment(data: Path, **more: str) -> dict[str, str]:
    """Variables with which a command finds that data folder and nothing of the user's."""
    return {
        **{name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")},
        "TRIO_LOGS_DATA": str(data),
        "XDG_CONFIG_HOME": str(data / "config"),
        **more,
    }


def trio_logs(
    data: Path, *arguments: str, timeout: float = 60, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. `more` are variables; `timeout` is in seconds."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = Forked(arguments, env=environment(data, **more), stdout=stdout, stderr=stderr)
        with process:
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
        said = []
        for stream in (stdout, stderr):
            stream.seek(0)
            said.append(stream.read())
    return subprocess.CompletedProcess(arguments, code, *said)


@contextmanager
def started(data: Path, *arguments: str, **more: str) -> Iterator[Forked]:
    """A command that is ended if it does not end by itself."""
    with Forked(arguments, env=environment(data, **more), text=True) as process:
        try:
            yield process
        finally:
            process.kill()
