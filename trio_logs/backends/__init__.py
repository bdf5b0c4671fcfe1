"""What runs a workload. A backend is found by its entry point in the group `trio_logs.backends`."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import Protocol, runtime_checkable

import trio

from ..errors import BackendNotFoundError
from ..records import Outcome, Reason, Status, WorkloadSpec

__all__ = [
    "Backend",
    "Execution",
    "Log",
    "Stop",
    "find_backend",
    "installed_backends",
    "outlives_server",
]


class Log(Protocol):
    """What a backend needs of a log writer; see `trio_logs.broker.LogWriter`."""

    async def write(self, data: bytes | str, stream: str = "stdout") -> None: ...

    async def flush(self) -> int: ...

    def clone(self) -> Log: ...

    def close(self) -> None: ...


class Stop:
    """A request to end an execution: softly at once, by force when the grace is over.

    The engine puts `status`, `reason` and `error` into the outcome; they are None and empty before
    the first request.
    """

    def __init__(self) -> None:
        self.status: Status | None = None
        self.reason: Reason | None = None
        self.error = ""
        self._deadline = math.inf
        self._requested = trio.Event()
        self._hurried = trio.Event()

    def request(self, status: Status, reason: Reason, grace: float, error: str) -> None:
        """Request the end; `grace` is in seconds.

        The first request decides `status`, `reason` and `error`. A later request can only shorten
        the grace.
        """
        if self.status is None:
            self.status, self.reason, self.error = status, reason, error
        self._deadline = min(self._deadline, trio.current_time() + grace)
        self._requested.set()
        self._hurried.set()
        self._hurried = trio.Event()

    async def wait(self) -> None:
        """Return once the end is requested."""
        await self._requested.wait()

    async def wait_grace(self) -> None:
        """Return once the end is requested and the grace is over."""
        await self._requested.wait()
        while trio.current_time() < self._deadline:
            with trio.move_on_at(self._deadline):
                await self._hurried.wait()


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of a workload, as its backend sees it.

    `remember` keeps a handle to what must be cleaned up if this process dies; see `Backend.reap`.
    """

    id: str
    spec: WorkloadSpec
    log: Log
    remember: Callable[[str], Awaitable[None]]
    stop: Stop = field(default_factory=Stop)


@runtime_checkable
class Backend(Protocol):
    """The duties of a backend.

    It is made once, without arguments. What `run` raises fails its workload only.

    A backend may have an attribute `outlives_server`, true if what it runs is not of this machine's
    making. Then it runs at once, whatever is queued; it is cancelled when the service shuts down;
    and `run` is called again at the next start, for a log that goes on where it was.
    """

    def check(self, spec: WorkloadSpec) -> None:
        """Raise InvalidSpecError for what can't run here whatever happens; called on submission."""

    async def run(self, execution: Execution) -> Outcome:
        """Run the workload and return how it ended, with nothing of it left running.

        When `execution.stop` is requested, end it softly, and when its grace is over by force; what
        is returned then tells how it ended, and the engine that it was stopped. Cancellation means
        now.
        """

    async def reap(self, handle: str) -> None:
        """End what is left of a run whose server died after it was given this handle."""


def installed_backends() -> Mapping[str, Backend]:
    """One backend of each kind that is installed, by name."""
    return {point.name: point.load()() for point in _entry_points()}


@cache
def _entry_points() -> EntryPoints:
    # It reads what each package that is installed has written, 10 ms and more.
    return entry_points(group="trio_logs.backends")


def find_backend(backends: Mapping[str, Backend], name: str) -> Backend:
    """The backend of that name, or BackendNotFoundError."""
    try:
        return backends[name]
    except KeyError:
        known = ", ".join(sorted(backends))
        raise BackendNotFoundError(f"there is no backend {name!r}; installed: {known}") from None


def outlives_server(backends: Mapping[str, Backend], name: str) -> bool:
    """Whether what that backend runs goes on while the server is away."""
    return bool(getattr(backends.get(name), "outlives_server", False))
