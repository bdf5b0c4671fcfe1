"""A gate in front of a command: it runs once the service opens the gate, or never."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

__all__ = ["Gate", "gate_wrapper", "tool"]

# The first argument is the entrance of the control group. At EOF, the service is gone. `_` is a
# variable that the shell sets anyway.
_WAIT = 'echo 0 2>/dev/null >"$1"; shift; read -r _ <&3 || exit 125; exec 3<&-; exec "$@"'

_ADDED = ("PWD", "OLDPWD", "SHLVL", "_")
"""The variables that shells export by themselves."""

_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_CHANGED = re.compile(
    "PWD|OLDPWD|SHLVL|_|IFS|OPT(ARG|ERR|IND)|PS[0-4]|PPID|LINENO|E?UID|S?RANDOM|SECONDS|USER_ID"
    "|EPOCH(SECONDS|REALTIME)|SHELLOPTS|DIRSTACK|FUNCNAME|GROUPS|PIPESTATUS|HISTCMD|PGRP|ENV"
    "|HOST(NAME|TYPE)|(MACH|OS)TYPE|COLUMNS|LINES|TMOUT|(BASH|KSH|COMP_).*"
)
"""A shell drops a variable whose name is no `_NAME`, and has a use of its own for these; see
dash(1), bash(1) and mksh(1)."""


class Gate:
    """The service's end of a pipe at which a wrapper waits before it runs the command.

    `open` lets the wrapper run the command. If the pipe is closed without `open`, as by the death
    of the service, the wrapper exits and runs nothing. `descriptor` is the wrapper's end: pass it
    on as descriptor 3, then close it. Raises OSError if no descriptor is free.
    """

    def __init__(self) -> None:
        self.descriptor, self._ours = os.pipe()

    def open(self) -> None:
        """Let the command run. A second call does nothing."""
        if self._ours >= 0:
            # The command may have been killed.
            with suppress(BrokenPipeError):
                os.write(self._ours, b"\n")
        self.close()

    def close(self) -> None:
        """Close this end of the pipe. A second call does nothing."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1


def gate_wrapper(
    environment: Mapping[str, str], entrance: str
) -> tuple[list[str], Mapping[str, str]] | None:
    """The arguments of a wrapper, to put before a command, and the environment to start it with.
    The wrapper enters a control group by its `entrance`, if it can, and waits at the gate. Then it
    runs the command with exactly `environment`. None if the system has no sh(1) or no env(1).

    A shell would drop or change some variables. env(1) sets these, so they are among the wrapper's
    arguments. Other users can see the arguments of a process while the wrapper waits.
    """
    sh, env = tool("sh"), tool("env")
    if sh is None or env is None:
        return None
    unset = [argument for name in _ADDED for argument in ("-u", name)]
    later = {
        name: value
        for name, value in environment.items()
        if _CHANGED.fullmatch(name) or not _NAME.fullmatch(name)
    }
    now = {name: environment[name] for name in environment if name not in later}
    again = [f"{name}={value}" for name, value in later.items()]
    return [sh, "-c", _WAIT, "sh", entrance, env, *unset, "--", *again], now


def tool(name: str) -> str | None:
    """The absolute path of a program in the PATH of the service."""
    found = shutil.which(name)
    return found and str(Path(found).absolute())
