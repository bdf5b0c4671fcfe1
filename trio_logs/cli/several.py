"""The logs of several workloads through one connection, each line with the name of its workload."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import aclosing

import trio

from ..client import Client, End, Gone, LogRecords, Workload
from ..client.requests import SeveralOptions
from ..client.several_state import MAX_LOGS
from ..errors import TrioLogsError, WorkloadNotFoundError
from .choose import options_are_named
from .exits import FAILED, NOT_FOUND
from .named import WORDS
from .objects import encode_object
from .outcomes import exit_code, tell_unended
from .outputs import Outputs
from .prefixes import Prefixes
from .printer import Look, Printer

__all__ = ["print_matching"]


async def print_matching(
    client: Client,
    outputs: Outputs,
    look: Look,
    labels: Mapping[str, str],
    options: SeveralOptions,
    *,
    later: bool,
    exit_status: bool,
) -> int:
    """Print the logs of all workloads with these labels; with `later`, also of those that are
    created later, for ever. Returns the exit code; with `exit_status`, that of the oldest workload
    whose code is not 0.

    Raises WorkloadNotFoundError if there is no such workload, and none can come.
    """
    printing = _Printing(outputs, look, always_named=later)
    async with trio.open_nursery() as watching:
        watching.start_soon(outputs.stdout.watch)
        try:
            found = client.follow_matching(labels, later=later, **options)
            with options_are_named(WORDS):
                async with aclosing(found) as batches:
                    async for batch in batches:
                        await printing.take(batch)
        except TrioLogsError:
            await printing.finish()
            raise
        await printing.finish()
        watching.cancel_scope.cancel()
    if not printing.any_met:
        wanted = ", ".join(f"{name}={value}" for name, value in labels.items())
        raise WorkloadNotFoundError(
            f"no workload has {wanted}: `trio-logs ps` lists them, and -f waits for new ones"
        )
    if printing.any_gone:
        return NOT_FOUND
    if not exit_status:
        return 0
    for workload_id in printing.unended:
        await outputs.notice(tell_unended(workload_id))
    return printing.failed[1] or (FAILED if printing.unended else 0)


class _Printing:
    """A printer for each log that has not ended."""

    def __init__(self, outputs: Outputs, look: Look, *, always_named: bool) -> None:
        self._outputs = outputs
        self._look = look
        self._always_named = always_named
        self._prefixes = Prefixes()
        self._printers: dict[str, Printer] = {}
        # Those that ran when they were met, and have not ended since.
        self._running: set[str] = set()
        self._is_told = False
        # Numbers in the order in which they were met, which is that of their age.
        self._numbers: dict[str, int] = {}
        self._met = 0
        # The number of the oldest workload whose exit code is not 0, and that code.
        self.failed = (0, 0)
        self.any_gone = False

    @property
    def any_met(self) -> bool:
        """Whether there was a workload."""
        return self._met > 0

    @property
    def unended(self) -> Sequence[str]:
        """The ids of the workloads whose end has not come."""
        return list(self._printers)

    async def take(self, batch: Sequence[Workload | LogRecords]) -> None:
        """Print what came together."""
        self._meet([each for each in batch if isinstance(each, Workload)])
        if len(self._running) > MAX_LOGS and not self._is_told:
            self._is_told = True
            await self._outputs.notice(
                f"{len(self._running)} of these workloads run: {MAX_LOGS} are followed at once, and"
                " each other one once one of them has ended"
            )
        for each in batch:
            if isinstance(each, LogRecords):
                await self._print(each)

    def _meet(self, workloads: Sequence[Workload]) -> None:
        if not workloads:
            return
        is_alone = len(workloads) == 1 and not self.any_met and not self._always_named
        heads = [("", 0)] if is_alone else self._prefixes.add(workloads)
        for workload, (prefix, colour) in zip(workloads, heads, strict=True):
            self._printers[workload.id] = Printer(
                self._outputs, self._look, workload.id, prefix, colour
            )
            self._met += 1
            self._numbers[workload.id] = self._met
        self._running |= {each.id for each in workloads if not each.status.final}

    async def _print(self, found: LogRecords) -> None:
        printer = self._printers[found.workload]
        records = [each for each in found.records if not isinstance(each, Gone)]
        if records:
            await printer.print(records)
        is_gone = len(records) < len(found.records)
        end = records[-1] if records and isinstance(records[-1], End) else None
        if is_gone or end is not None:
            del self._printers[found.workload]
            self._running.discard(found.workload)
            number = self._numbers.pop(found.workload)
            if end is not None and (code := exit_code(end.outcome)):
                self.failed = min(self.failed, (number, code), key=lambda each: each[0] or math.inf)
            await printer.finish(end)
        if is_gone:
            self.any_gone = True
            if self._look.json:
                gone = encode_object({"workload": found.workload, "event": "gone"})
                await self._outputs.write(self._outputs.stdout, gone)
            else:
                await self._outputs.notice(
                    f"{found.workload} was deleted before its log was read to the end"
                )

    async def finish(self) -> None:
        """End the lines that are partial."""
        for printer in self._printers.values():
            await printer.finish()
