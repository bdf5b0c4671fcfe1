"""Nodes: processes of the service that share one database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.chaos.database import free_port
from tests.command_line import environment
from tests.forked import Forked

__all__ = ["PLANT", "Exit", "Node"]

START_SECONDS = 30.0

PLANT = "TRIO_LOGS_CHAOS_PLANT"
"""The variable that names the bug which `tests.chaos.planted` puts into a node."""


@dataclass(frozen=True)
class Exit:
    """A node's process has ended. `asked`: the campaign had sent it a signal to that effect."""

    at: float
    node: str
    code: int
    asked: bool


class Node:
    """A node on a port of its own, which is the same after each start. `options` are those of
    `trio-logs serve`; `plant` is a bug."""

    def __init__(
        self,
        name: str,
        folder: Path,
        options: tuple[str, ...],
        variables: Mapping[str, str],
        plant: str | None = None,
    ) -> None:
        self.name = name
        self.port = free_port()
        self.log = folder / f"node-{name}.log"
        self._data = folder / f"node-{name}"
        self._options = options
        self._variables = dict(variables)
        self._plant = plant
        self._process: Forked | subprocess.Popen[bytes] | None = None
        self.is_asked_to_end = False
        self.is_paused = False

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process; `ready` waits until it listens."""
        assert self._process is None
        arguments = ["serve", "--bind", f"127.0.0.1:{self.port}", "--data", str(self._data)]
        arguments += self._options
        variables = environment(self._data, **self._variables)
        self.is_asked_to_end = self.is_paused = False
        with self.log.open("ab") as log:
            if self._plant is None:
                self._process = Forked(
                    arguments, env=variables, stdout=subprocess.DEVNULL, stderr=log
                )
            else:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.chaos.planted", *arguments],
                    env={**variables, PLANT: self._plant},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                )

    async def ready(self) -> None:
        """Return once it accepts connections, or has ended."""
        with trio.fail_after(START_SECONDS):
            while self.is_running:
                try:
                    stream = await trio.open_tcp_stream(*self.address)
                except OSError:
                    await trio.sleep(0.02)
                else:
                    await stream.aclose()
                    return

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def reap(self, at: float) -> Exit | None:
        """How the process has ended, once for each start."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self._process = None
        return Exit(at, self.name, code, self.is_asked_to_end)

    def kill(self) -> None:
        """SIGKILL."""
        self.is_asked_to_end = True
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM: the node drains, and ends."""
        self.is_asked_to_end = True
        self._signal(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP."""
        self.is_paused = True
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.is_paused = False
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.is_running:
            os.kill(self.pid, number)

    def close(self) -> None:
        """Kill the process if it still runs."""
        if self._process is not None:
            self.kill()
            self._process.wait()
            self._process = None
