"""The start of a command: its environment, its pipes or terminal, and the errors of a start."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ..errors import NotStartedError
from ..records import WorkloadSpec
from .process_output import OutputReader

__all__ = ["not_started", "spawn"]

WINDOW = (24, 80)
"""The rows and columns of a terminal, unless the workload's environment has others."""

_LIMITS = {
    errno.EAGAIN: "a limit on processes is reached: raise TasksMax (pids.max), `ulimit -u`"
    " (RLIMIT_NPROC) or kernel.threads-max, or run fewer workloads at once",
    errno.ENOMEM: "there is no memory for another process: raise MemoryMax (memory.max), or run"
    " fewer workloads at once",
    errno.EMFILE: "the service has as many files open as it may: raise LimitNOFILE, `ulimit -n`"
    " (RLIMIT_NOFILE)",
    errno.ENFILE: "the system has as many files open as it may: raise fs.file-max",
}
"""The limits behind the errors of fork(2), pipe(2) and openpty(3)."""


def _environment(spec: WorkloadSpec) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    terminal = {"TERM": "xterm-256color"} if spec.pty else {}
    return {"PATH": os.defpath, **terminal, **inherited, **spec.env}


def _check_startable(spec: WorkloadSpec, environment: dict[str, str]) -> None:
    """Raise NotStartedError if `exec` would refuse the command, in clearer words."""
    if spec.cwd is not None and not Path(spec.cwd).is_dir():
        raise NotStartedError(f"cwd: there is no folder {spec.cwd}")
    program, folder = spec.command[0], spec.cwd or "."
    if "/" in program:
        path = Path(folder, program)
        found = path.is_file() and os.access(path, os.X_OK)
    else:
        # The command looks up relative folders of PATH from its own working folder.
        places = [str(Path(folder, place)) for place in environment["PATH"].split(os.pathsep)]
        found = shutil.which(program, path=os.pathsep.join(places)) is not None
    if not found:
        hint = "; see PATH"
        if "/" in program:
            # A relative path starts in the working folder.
            hint = "" if program[0] == "/" else f"; it was looked for in {Path(folder).absolute()}"
        raise NotStartedError(f"command: there is no program {program!r} that can be run{hint}")


def _leash() -> list[str]:
    """A prefix for the command: the kernel kills the command when this process dies."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def spawn(
    spec: WorkloadSpec, stack: ExitStack
) -> tuple[subprocess.Popen[bytes], list[OutputReader]]:
    """Start the command; return it with the readers of its output, which the stack closes.

    Raises NotStartedError if the command can't be run, or if the system is at a limit.
    """
    environment = _environment(spec)
    try:
        _check_startable(spec, environment)
        return _start(spec, environment, stack)
    except OSError as error:
        raise not_started(error) from error


def not_started(error: OSError) -> NotStartedError:
    """The exception for a start that the system refuses; it names the limit."""
    why = _LIMITS.get(error.errno or 0)
    return NotStartedError(f"the command can't be started: {why or error}")


def _start(
    spec: WorkloadSpec, environment: dict[str, str], stack: ExitStack
) -> tuple[subprocess.Popen[bytes], list[OutputReader]]:
    with ExitStack() as child_ends:

        def pair(make: Callable[[], tuple[int, int]], stream: str) -> int:
            ours, theirs = make()
            child_ends.callback(os.close, theirs)
            readers.append(OutputReader(ours, stream))
            stack.callback(readers[-1].close)
            return theirs

        readers: list[OutputReader] = []
        stdout = pair(os.openpty if spec.pty else os.pipe, "stdout")
        if spec.pty:
            _set_terminal(stdout, environment)
        process = subprocess.Popen(
            [*_leash(), *spec.command],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stdout if spec.pty else pair(os.pipe, "stderr"),
            cwd=spec.cwd,
            env=environment,
            start_new_session=True,
        )
    return process, readers


def _set_terminal(terminal: int, environment: dict[str, str]) -> None:
    """Set the size of the terminal, and have it leave line ends as the command writes them."""
    size = [environment.get(name, "") for name in ("LINES", "COLUMNS")]
    rows, columns = (
        int(given) if re.fullmatch("[1-9][0-9]{0,3}", given) else usual
        for given, usual in zip(size, WINDOW, strict=True)
    )
    termios.tcsetwinsize(terminal, (rows, columns))
    attributes = termios.tcgetattr(terminal)
    attributes[1] &= ~termios.ONLCR
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
