"""What all backends have in common: their lifecycle, and how the function backend says why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_logs import Outcome, Status, WorkloadSpec, open_broker
from trio_logs.backends import Backend, Execution, Stop, serving
from trio_logs.backends.function import FunctionBackend
from trio_logs.errors import NotStartedError
from trio_logs.records import Reason
from trio_logs.service import open_service
from trio_logs.settings import Settings
from trio_logs.store.memory import MemoryStore


class Recorder:
    """A backend that tells when it is open, and needs a moment to end what it runs."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def check(self, spec: WorkloadSpec) -> None: ...

    async def run(self, execution: Execution) -> Outcome:
        self.events.append("run")
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(1, shield=True):
                await trio.lowlevel.checkpoint()
            self.events.append("ended")
        raise AssertionError("slept for ever")

    async def reap(self, handle: str) -> None:
        self.events.append(f"reap {handle}")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        self.events.append("open")
        try:
            yield
        finally:
            self.events.append("closed")


async def test_a_backend_is_open_around_all_of_its_runs(tmp_path: Path) -> None:
    """Also if the engine is cancelled, and already when it reaps what a crash has left."""
    store = MemoryStore()
    for expected in (["open", "run"], ["open", "reap handle", "run"]):
        backend = Recorder()
        with trio.CancelScope() as scope:
            async with open_service(
                Settings(data=tmp_path), store=store, backends={"recorder": backend}
            ) as service:
                spec = WorkloadSpec((), backend="recorder")
                workload, _ = await service.engine.submit(spec)
                with trio.fail_after(10):
                    while backend.events != expected:
                        await trio.lowlevel.checkpoint()
                await store.remember(workload.id, "handle")
                scope.cancel()
        assert backend.events == [*expected, "ended", "closed"]


async def test_a_backend_that_can_not_open_closes_the_others() -> None:
    class Refused(Recorder):
        @asynccontextmanager
        async def serving(self) -> AsyncIterator[None]:
            raise OSError("no such device")
            yield

    first = Recorder()
    backends: Mapping[str, Backend] = {"a": first, "b": FunctionBackend(), "c": Refused()}
    with pytest.raises(OSError, match="no such device"):
        async with serving(backends):
            pass
    assert first.events == ["open", "closed"]


@pytest.mark.parametrize("command", [(), ("gone since",)])
async def test_a_function_that_is_not_registered_is_not_started(command: tuple[str, ...]) -> None:
    async def remember(handle: str) -> None: ...

    async with open_broker() as broker:
        with await broker.open("w") as log:
            one = Execution("w", WorkloadSpec(command, backend="function"), log, remember)
            with pytest.raises(NotStartedError, match=r"no function '.*' is registered"):
                await FunctionBackend().run(one)


async def test_the_first_request_to_stop_decides_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stop = Stop()
    assert (stop.status, stop.reason, stop.error) == (None, None, "")
    stop.request(Status.TIMED_OUT, Reason.TIMEOUT, 10, "first")
    stop.request(Status.STOPPED, Reason.STOP_REQUESTED, 5, "second")
    await stop.wait()
    await stop.wait_grace()
    assert trio.current_time() == 5
    assert (stop.status, stop.reason, stop.error) == ("timed_out", "timeout", "first")
