"""A real terminal, with a shell in it: tmux."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.command_line import PROGRAM
from tests.programs import need_programs

__all__ = ["Terminal", "open_terminal"]

PATIENCE = 30
"""Seconds after which something that is waited for has not come."""


class Terminal:
    """One pane of 100 by 30 characters."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def tmux(self, *arguments: str, check: bool = True) -> str:
        """Run a command of tmux; return what it prints."""
        found = subprocess.run(
            ["tmux", "-S", str(self._socket), "-f", "/dev/null", *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=check,
        )
        return found.stdout

    def enter(self, line: str) -> None:
        """Type a line."""
        self.tmux("send-keys", "-l", line)
        self.tmux("send-keys", "Enter")

    def press(self, key: str) -> None:
        """Press one key, such as `C-c`."""
        self.tmux("send-keys", key)

    def screen(self, *, colours: bool = False) -> str:
        """What is to be seen, with its colours as SGR if these are wanted."""
        return self.tmux("capture-pane", "-p", *(["-e"] if colours else []))

    def wait_for(self, pattern: str) -> str:
        """Wait until the screen has that; return the screen."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, screen := self.screen(), re.MULTILINE):
            assert time.monotonic() < deadline, f"no {pattern!r} in\n{screen}"
            time.sleep(0.05)
        return screen


@contextmanager
def open_terminal(folder: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """A terminal that runs bash; there, `trio-logs` is the command line of this repository."""
    need_programs("tmux")
    startup = folder / "bashrc"
    startup.write_text(
        f"PS1='$ '\nunset HISTFILE\ntrio-logs() {{ {shlex.join(PROGRAM)} \"$@\"; }}\n"
    )
    terminal = Terminal(folder / "tmux")
    exports = [f"{name}={value}" for name, value in environment.items()]
    shell = ["env", *exports, "bash", "--noprofile", "--rcfile", str(startup), "-i"]
    terminal.tmux("new-session", "-d", "-x", "100", "-y", "30", shlex.join(shell))
    try:
        terminal.wait_for(r"^\$")
        yield terminal
    finally:
        terminal.tmux("kill-server", check=False)
