"""An engine on a stage: a backend whose runs do as they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import trio

from trio_logs import Batch, End, LogBroker, Outcome, Status, Workload, WorkloadSpec
from trio_logs.backends import Backend, Execution
from trio_logs.backends.function import FunctionBackend
from trio_logs.engine import Engine, EngineLimits
from trio_logs.errors import InvalidSpecError
from trio_logs.store.memory import MemoryStore

__all__ = ["NO_OUTCOMES", "Parts", "Stage", "engine"]

SUCCEEDED = Outcome(Status.SUCCEEDED, 0)
BROKE = RuntimeError("the backend broke")

NO_OUTCOMES = [
    None,
    Outcome(Status.RUNNING),
    Outcome(Status.FAILED, exit_code=2**64),
    Outcome(Status.FAILED, error=cast(str, 5)),
]


@dataclass
class Stage:
    """A backend whose runs do as they are told."""

    running: list[str] = field(default_factory=list)
    reaped: list[str] = field(default_factory=list)
    remembered: list[str] = field(default_factory=list)
    release: trio.Event = field(default_factory=trio.Event)
    started: trio.Event = field(default_factory=trio.Event)
    turn: trio.Event = field(default_factory=trio.Event)
    outcome: Outcome = SUCCEEDED
    error: Exception = BROKE
    outlives_server: bool = False

    def check(self, spec: WorkloadSpec) -> None:
        if spec.command[0] == "impossible":
            raise InvalidSpecError("command: it is impossible")

    async def run(self, execution: Execution) -> Outcome:
        self.running.append(execution.id)
        if execution.spec.command[0] != "remember twice":
            await execution.remember(f"handle of {execution.id}")
        self.started.set()
        command = execution.spec.command[0]
        if command == "in turns":
            command = execution.spec.command[1]
            await self.turn.wait()
        match command:
            case "write":
                await execution.log.write("line\n")
            case "flush":
                await execution.log.flush()
            case "raise":
                await execution.log.write("before")
                raise self.error
            case "close, raise":
                execution.log.close()
                raise RuntimeError("the backend broke")
            case "return":
                return cast(Outcome, NO_OUTCOMES[int(execution.spec.command[1])])
            case "ignore stop":
                await trio.sleep_forever()
            case "remember what is not Unicode":
                await execution.remember("\udcff")
            case "remember twice":
                for handle in ("first", "second"):
                    await execution.remember(handle)
                    self.remembered.append(handle)
                await self.release.wait()
            case "until stop":
                await execution.stop.wait()
                await execution.log.write("stopping\n")
                return Outcome(Status.FAILED, signal="SIGTERM")
            case _:
                await self.release.wait()
        return self.outcome

    async def reap(self, handle: str) -> None:
        self.reaped.append(handle)


@dataclass
class Parts:
    engine: Engine
    broker: LogBroker
    stage: Stage
    store: Any

    async def lines(self, workload_id: str) -> tuple[list[str], End]:
        lines = []
        with self.broker.subscribe(workload_id, 1) as subscription:
            async for record in subscription:
                if isinstance(record, Batch):
                    lines += [f"{record.stream}: {line.decode()}" for line in record.lines]
                elif isinstance(record, End):
                    return lines, record
        raise AssertionError("no end")

    async def submit(self, *command: str, key: str | None = None, **fields: object) -> Workload:
        spec = replace(WorkloadSpec(command, backend="stage"), **fields)  # type: ignore[arg-type]
        workload, _ = await self.engine.submit(spec, key)
        return workload


@asynccontextmanager
async def engine(
    limits: EngineLimits | None = None,
    store: Any = None,
    broker: LogBroker | None = None,
    patience: float = 30.0,
) -> AsyncIterator[Parts]:
    """An engine with the backends `stage` and `function`; cancelled on exit, without a drain."""
    store = store or MemoryStore()
    stage = Stage()
    backends: Mapping[str, Backend] = {"stage": stage, "function": FunctionBackend()}
    broker = broker or LogBroker(store)
    made = Engine(store, broker, backends, limits, patience)
    # In virtual time, a wait that never ends fails at once.
    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            await nursery.start(broker.run)
            await nursery.start(made.run)
            yield Parts(made, broker, stage, store)
            nursery.cancel_scope.cancel()
