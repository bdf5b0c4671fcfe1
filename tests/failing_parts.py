"""A real store, and a real broker, that fail, hang and recover on command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from trio_logs import LogBroker, Outcome, Status
from trio_logs.broker import LogWriter
from trio_logs.errors import StoreError
from trio_logs.records import End
from trio_logs.store import LogStore, WorkloadStore
from trio_logs.store.sessions import SessionStore

__all__ = ["FailingBroker", "FailingStore", "Switch"]


class Switch:
    """Whether calls fail, before or after they take effect, or hang."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._called = trio.Event()
        self._failing: set[str] = set()
        self._after: set[str] = set()
        self._hanging: dict[str, trio.Event] = {}

    def fail(self, *names: str, after: bool = False) -> None:
        """Have these calls raise StoreError from now on; `after` they have taken effect."""
        (self._after if after else self._failing).update(names)

    def hang(self, *names: str) -> None:
        """Have these calls wait until `recover`, before they take effect."""
        self._hanging |= {name: trio.Event() for name in names}

    def hang_again(self, name: str) -> None:
        """Let the calls of that name that hang go on, and later ones hang."""
        event = self._hanging[name]
        self.hang(name)
        event.set()

    def recover(self) -> None:
        """Let the calls that hang go on, and all calls succeed."""
        self._failing.clear()
        self._after.clear()
        for event in self._hanging.values():
            event.set()
        self._hanging.clear()

    async def until_called(self, name: str, times: int) -> None:
        """Return once there were so many calls of that name."""
        while self.calls.count(name) < times:
            await self._called.wait()

    async def before(self, name: str) -> None:
        self.calls.append(name)
        self._called.set()
        self._called = trio.Event()
        if name in self._hanging:
            await self._hanging[name].wait()
        if name in self._failing:
            await trio.lowlevel.checkpoint()
            raise StoreError(f"injected before {name}")

    @contextmanager
    def after(self, name: str) -> Iterator[None]:
        failing = name in self._after
        yield
        if failing:
            raise StoreError(f"injected after {name}")


METHODS = tuple(
    name
    for name in {**vars(LogStore), **vars(SessionStore), **vars(WorkloadStore)}
    if not name.startswith("_") and name not in ("run", "statistics", "listen")
)
"""The calls of a store."""


class FailingStore:
    """Stands in for `inner`, whose methods it calls."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.switch = Switch()
        self.run = inner.run
        self.listen = inner.listen
        self.statistics = inner.statistics

    def set_mode(self, mode: str) -> None:
        """Have all calls from now on behave in one way: "works", "fails", "hangs" until the next
        mode, or "unknown": they take effect, and then raise."""
        self.switch.recover()
        match mode:
            case "fails":
                self.switch.fail(*METHODS)
            case "hangs":
                self.switch.hang(*METHODS)
            case "unknown":
                self.switch.fail(*METHODS, after=True)
            case _:
                assert mode == "works"

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            await self.switch.before(name)
            with self.switch.after(name):
                return await method(*arguments, **options)

        return call


SUCCEEDED = Outcome(Status.SUCCEEDED)


class FailingBroker(LogBroker):
    """`open` and `close` fail as they do when a log can't be looked up, or an end not be stored."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.switch = Switch()

    async def open(self, workload_id: str, *, epoch: int | None = None) -> LogWriter:
        await self.switch.before("open")
        return await super().open(workload_id, epoch=epoch)

    async def close(
        self, workload_id: str, outcome: Outcome = SUCCEEDED, *, epoch: int | None = None
    ) -> End:
        await self.switch.before("close")
        with self.switch.after("close"):
            return await super().close(workload_id, outcome, epoch=epoch)
