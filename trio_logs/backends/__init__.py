"""Backends run workloads. Each is found by its entry point in the group `trio_logs.backends`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import Protocol, runtime_checkable

from ..errors import BackendNotFoundError
from ..records import Outcome, WorkloadSpec
from .stop import Stop

__all__ = [
    "Backend",
    "Execution",
    "Lifecycle",
    "Log",
    "Resizable",
    "Stop",
    "find_backend",
    "installed_backends",
    "outlives_server",
    "serving",
    "signals_of",
]


class Log(Protocol):
    """The part of `trio_logs.broker.LogWriter` that a backend uses.

    `write` and `flush` raise LogClosedError once the log is closed. `flush` also raises StoreError
    if the store fails for longer than the patience. `is_fenced`: another node has the log now.
    """

    @property
    def is_fenced(self) -> bool: ...

    async def write(self, data: bytes | str, stream: str = "stdout") -> None: ...

    async def flush(self, stream: str | None = None) -> int: ...

    def clone(self) -> Log: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of a workload, as its backend sees it.

    `remember` stores a handle, with which `Backend.reap` ends the run's remains after a crash of
    the service. While the store fails, it returns after the patience, and the handle is stored
    later.
    """

    id: str
    spec: WorkloadSpec
    log: Log
    remember: Callable[[str], Awaitable[None]]
    stop: Stop = field(default_factory=Stop)


@runtime_checkable
class Backend(Protocol):
    """The duties of a backend.

    A backend is made once, without arguments. An exception from `run` fails its workload only.

    Four things are optional:

    - A method `serving`, if the backend needs threads, tasks or connections of its own: see
      `Lifecycle`.
    - An attribute `outlives_server`, true if the workload runs elsewhere, so that it survives this
      service. Such a workload runs at once, whatever is queued; it is cancelled when the service
      shuts down; and the next start calls `run` again, with the same log.
    - An attribute `signals`, with the names of the signals that a stop may ask for, such as SIGINT.
      Without it, the service refuses a stop that names a signal. See `Stop.signals`.
    - A method `resize`, if the backend runs workloads in terminals: see `Resizable`.
    """

    def check(self, spec: WorkloadSpec) -> None:
        """Called on submission. Raise InvalidSpecError if `spec` can never run here."""

    async def run(self, execution: Execution) -> Outcome:
        """Run the workload; return its outcome, with `reason` set, once nothing of it runs.

        When `execution.stop` is requested, end the workload softly, and by force when the grace is
        over; return its own outcome, from which the engine makes that of a stopped workload. End
        it at once on cancellation.

        Raise NotStartedError if the workload can't be started now: its outcome is then `failed`
        with the reason `not_started`. Any other exception is `failed` with `exception`.
        """

    async def reap(self, handle: str) -> None:
        """End the remains of a run. `handle` is that which the run gave to `Execution.remember`
        before its service died."""


@runtime_checkable
class Lifecycle(Protocol):
    """The optional part of a backend that needs threads, tasks or connections of its own."""

    def serving(self) -> AbstractAsyncContextManager[None]:
        """Open them on entry, close them on exit.

        The engine enters it before the service accepts, and exits it after the last `run` and
        `reap` have returned. An exception on entry fails the start of the service.
        """


@runtime_checkable
class Resizable(Protocol):
    """The optional part of a backend that runs workloads in terminals."""

    async def resize(self, workload_id: str, columns: int, rows: int) -> None:
        """Give the terminal of a workload another size, in characters, and tell its processes.

        Raise ConflictError if the workload does not run now. The service calls this only for a
        workload with `pty`.
        """


@asynccontextmanager
async def serving(backends: Mapping[str, Backend]) -> AsyncIterator[None]:
    """Within the block, each backend that has a `Lifecycle` is open."""
    async with AsyncExitStack() as stack:
        for backend in backends.values():
            if isinstance(backend, Lifecycle):
                await stack.enter_async_context(backend.serving())
        yield


def installed_backends() -> Mapping[str, Backend]:
    """One backend of each installed kind, by name."""
    return {point.name: point.load()() for point in _entry_points()}


@cache
def _entry_points() -> EntryPoints:
    # Reading the metadata of every installed package takes 10 ms or more.
    return entry_points(group="trio_logs.backends")


def find_backend(backends: Mapping[str, Backend], name: str) -> Backend:
    """The backend with this name. Raises BackendNotFoundError."""
    try:
        return backends[name]
    except KeyError:
        known = ", ".join(sorted(backends))
        raise BackendNotFoundError(f"there is no backend {name!r}; installed: {known}") from None


def signals_of(backends: Mapping[str, Backend], name: str) -> Collection[str]:
    """The names of the signals that a stop of such a workload may ask for."""
    return getattr(backends.get(name), "signals", ())


def outlives_server(backends: Mapping[str, Backend], name: str) -> bool:
    """Whether workloads of this backend go on while the service is down."""
    return bool(getattr(backends.get(name), "outlives_server", False))
