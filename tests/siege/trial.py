"""One run of a case: its folder, the fault that is planted, and the servers that it starts."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import SkipTest

import httpx2
import pytest
import trio

from tests.server_process import ServerProcess, running_server
from tests.siege import Case, Plant
from tests.siege.health import Health, measured

__all__ = ["SEEN", "Trial", "run", "sees"]

SEEN = (AssertionError, trio.TooSlowError, subprocess.TimeoutExpired, httpx2.HTTPError)
"""What a check raises when the service does something wrong; all else is a mistake of the check."""


@dataclass(frozen=True)
class Trial:
    """`folder` is empty and for this run alone. `is_short`: the run is part of the suite, so it
    takes a second or two, and measures no times."""

    folder: Path
    is_short: bool = False
    plant: Plant | None = None

    @property
    def data(self) -> Path:
        """The data folder of its servers."""
        return self.folder / "data"

    def prefix(self, *patches: Plant) -> tuple[str, ...]:
        """A prefix for the command of a server. There, it plants the fault, and applies patches
        that belong to the check, such as shorter times. Without any, it is empty."""
        plants = [*patches, *([] if self.plant is None else [self.plant])]
        if not plants:
            return ()
        names = [f"{plant.__module__}:{plant.__name__}" for plant in plants]
        return (sys.executable, "-m", "tests.siege.planted", ",".join(names))

    @contextmanager
    def server(
        self, *arguments: str, prefix: tuple[str, ...] = (), patches: Sequence[Plant] = ()
    ) -> Iterator[ServerProcess]:
        """A server with the planted fault; as `running_server`, on the data folder."""
        whole = (*prefix, *self.prefix(*patches))
        with running_server(self.data, *arguments, prefix=whole) as server:
            yield server

    @property
    def patience(self) -> float:
        """Seconds to wait for something that should happen. A planted fault keeps it from
        happening, so there is no need to wait for long."""
        if self.plant is None:
            return 60
        return 2 if self.is_short else 8

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Look again and again; the condition concerns another process. Raises AssertionError."""
        deadline = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < deadline, "it does not happen"
            time.sleep(0.01)

    def need(self, condition: object, what: str) -> None:
        """Skip the case on a machine that lacks what it needs."""
        if not condition:
            raise SkipTest(f"needs {what}")

    @contextmanager
    def planted(self) -> Iterator[None]:
        """For a check of parts in this process: the fault is planted here meanwhile."""
        with pytest.MonkeyPatch.context() as patch:
            if self.plant is not None:
                self.plant(patch)
            yield

    @contextmanager
    def healthy(self, server: ServerProcess) -> Iterator[Health]:
        """Ask for `/healthz` all the time; in the end, assert that the answers were quick enough,
        unless this is a short run."""
        with measured(server) as health:
            yield health
        assert health.count, "no answer"
        if not self.is_short:
            health.check()


def sees(case: Case, plant: Plant, *, is_short: bool = False) -> bool:
    """Whether the case sees the planted fault. Raises what is a mistake of its check."""
    is_seen = False
    try:
        run(case, is_short=is_short, plant=plant)
    except* SEEN:
        is_seen = True
    return is_seen


def run(case: Case, *, is_short: bool = False, plant: Plant | None = None) -> None:
    """Run a case in a folder of its own. Raises what its check raises."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), is_short, plant)
        if inspect.iscoroutinefunction(case.check):
            trio.run(case.check, trial)
        else:
            case.check(trial)
