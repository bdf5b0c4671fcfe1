"""`trio-logs` as a process that is forked off one that has imported what the commands need: a start
costs half a second of a core, and the suite has hundreds.

It is a process like any other: its own descriptors, environment and signals, its exit code. What it
does not show: warnings at an import, what Python does at its very end, and memory as it is after a
start. Whoever tests that starts `command_line.PROGRAM`; README, pages, terminals and benchmarks do.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.reduction import DupFd
from typing import IO, Any

import trio

from trio_logs.cli import CLIENTS, OTHERS, main

__all__ = ["Forked", "ensure_fork_server", "pids"]

pids: set[int] = set()
"""Of those that have not been closed. Their parent is the fork server, not this process."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [__name__, *(f"trio_logs.cli.{command}" for command in {**CLIENTS, **OTHERS})]
)


def ensure_fork_server() -> None:
    """Have the fork server start now, if there is none, rather than in the midst of a test."""
    forkserver.ensure_running()


class Forked:
    """A running `trio-logs` with these arguments, to be used as a context manager that waits for
    it. The parameters and methods are those of `subprocess.Popen`; warnings are errors in it."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str] = os.environ,
        stdin: int | IO[Any] = subprocess.DEVNULL,
        stdout: int | IO[Any] = subprocess.PIPE,
        stderr: int | IO[Any] = subprocess.PIPE,
        text: bool = False,
    ) -> None:
        self.returncode: int | None = None
        theirs: list[int] = []
        ours: list[IO[Any] | None] = []
        for place, given in enumerate((stdin, stdout, stderr)):
            if given == subprocess.PIPE:
                pair = os.pipe()
                mode = "r" if place else "w"
                ours.append(os.fdopen(pair[not place], mode if text else mode + "b"))
                theirs.append(pair[bool(place)])
            else:
                ours.append(None)
                devnull = given == subprocess.DEVNULL
                theirs.append(
                    os.open(os.devnull, os.O_RDWR) if devnull else os.dup(_descriptor(given))
                )
        self.stdin, self.stdout, self.stderr = ours
        try:
            self._process = _context.Process(
                target=_run, args=(list(arguments), dict(env), [_Passed(each) for each in theirs])
            )
            self._process.start()
        finally:
            for each in theirs:
                os.close(each)
        assert self._process.pid is not None
        self.pid = self._process.pid
        pids.add(self.pid)

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for stream in (self.stdout, self.stderr, self.stdin):
                if stream is not None:
                    stream.close()
        finally:
            self.wait()

    def poll(self) -> int | None:
        """The exit code, or None while it runs; that of a signal is negative."""
        if self.returncode is None and wait([self._process.sentinel], 0):
            self._process.join()
            self.returncode = self._process.exitcode
            self._process.close()
            pids.discard(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired after so many seconds."""
        if self.returncode is None:
            wait([self._process.sentinel], timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired("trio-logs", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing if it has ended."""
        # The fork server may have waited for it, and not told yet.
        with suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _Passed:
    """A descriptor that arrives in the process as one of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __getstate__(self) -> Any:
        return DupFd(self._descriptor)

    def __setstate__(self, passed: Any) -> None:
        self._descriptor = passed.detach()

    def take(self, place: int) -> None:
        os.dup2(self._descriptor, place)
        os.close(self._descriptor)


def _descriptor(given: int | IO[Any]) -> int:
    return given if isinstance(given, int) else given.fileno()


def _run(arguments: list[str], environment: dict[str, str], standard: list[_Passed]) -> None:
    """What the new process does: as `python -W error -m trio_logs`, once that is imported."""
    for place, passed in enumerate(standard):
        passed.take(place)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    # The C library has read the old TZ.
    time.tzset()
    sys.argv = ["trio-logs", *arguments]
    warnings.simplefilter("error")
    # All would inherit the same order of tasks; Python itself sees to `random`.
    trio._core._run._r.seed()
    main()
