"""The start of a command: its environment, its pipes or terminal, and the errors of a start."""

from __future__ import annotations

import errno
import os
import re
import sys
import termios
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing

from ..errors import NotStartedError
from ..records import WorkloadSpec
from .gate import Gate, gate_wrapper, tool
from .posix_spawn import Child, posix_spawn
from .process_output import OutputReader

__all__ = ["environment_of", "not_started", "spawn"]

WINDOW = (24, 80)
"""The rows and columns of a terminal, unless the workload's environment has others."""

_LOADER = re.compile("LD_|MALLOC_|GLIBC_TUNABLES$")
"""The variables with which ld.so(8), and the C library at its start, change a program."""

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


def environment_of(spec: WorkloadSpec) -> dict[str, str]:
    """All variables of the command."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    terminal = {"TERM": "xterm-256color"} if spec.pty else {}
    return {"PATH": os.defpath, **terminal, **inherited, **spec.env}


def _wrap(
    command: Sequence[str], environment: Mapping[str, str], entrance: str
) -> tuple[list[str], Mapping[str, str], bool]:
    """The wrappers' arguments, for before the command, the environment to start it with, and
    whether the first wrapper enters the control group and waits at a gate.

    The kernel kills the command when this process dies: the second wrapper asks for that. Variables
    with which the dynamic loader changes a program are for the command alone. So a third wrapper
    sets them. Like all arguments, they are public until that wrapper has started the command.
    """
    setpriv = tool("setpriv") if sys.platform == "linux" else None
    if setpriv is None:
        return [], environment, False
    wrapper = [setpriv, "--pdeathsig", "KILL", "--"]
    loading = {name: value for name, value in environment.items() if _LOADER.match(name)}
    env = tool("env") if loading else None
    # env(1) takes a program with `=` in its path for a variable.
    if env is not None and "=" not in command[0]:
        wrapper += [env, "--", *(f"{name}={value}" for name, value in loading.items())]
        environment = {name: environment[name] for name in environment if name not in loading}
    gated = gate_wrapper(environment, entrance)
    if gated is None:
        return wrapper, environment, False
    waiting, environment = gated
    return [*waiting, *wrapper], environment, True


def spawn(
    spec: WorkloadSpec, program: str, entrance: str, stack: ExitStack
) -> tuple[Child, list[OutputReader], Gate]:
    """Start the command; return it with the readers of its output, and with the gate that it waits
    at. The stack closes both. `program` is its path, and `entrance` that of its
    control group.

    Where the system has no sh(1), env(1) or setpriv(1), the command runs at once, and in no group.

    Raises NotStartedError if the command can't be run, or if the system is at a limit.
    """
    try:
        return _start(spec, environment_of(spec), program, entrance, stack)
    except OSError as error:
        raise not_started(error) from error


def not_started(error: OSError) -> NotStartedError:
    """The exception for a start that the system refuses; it names the limit."""
    why = _LIMITS.get(error.errno or 0)
    return NotStartedError(f"the command can't be started: {why or error}")


def _start(
    spec: WorkloadSpec,
    environment: Mapping[str, str],
    program: str,
    entrance: str,
    stack: ExitStack,
) -> tuple[Child, list[OutputReader], Gate]:
    readers: list[OutputReader] = []
    with ExitStack() as child_ends:

        def pipe(stream: str) -> int:
            ours, theirs = os.pipe()
            child_ends.callback(os.close, theirs)
            readers.append(stack.enter_context(closing(OutputReader(ours, stream))))
            return theirs

        stdout: int | str
        if spec.pty:
            ours, terminal = os.openpty()
            # With this end open, the output has no end as long as the command can open /dev/tty.
            readers.append(stack.enter_context(closing(OutputReader(ours, "stdout", terminal))))
            _set_terminal(terminal, environment)
            stdout, stderr = os.ttyname(terminal), None
        else:
            stdout, stderr = pipe("stdout"), pipe("stderr")
        gate = stack.enter_context(closing(Gate()))
        child_ends.callback(os.close, gate.descriptor)
        wrapper, environment, has_gate = _wrap(spec.command, environment, entrance)
        child = posix_spawn(
            wrapper[0] if wrapper else program,
            [*wrapper, *spec.command],
            environment,
            cwd=spec.cwd,
            stdout=stdout,
            stderr=stderr,
            gate=gate.descriptor if has_gate else None,
        )
    return child, readers, gate


def _set_terminal(terminal: int, environment: Mapping[str, str]) -> None:
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
