"""`trio-logs wait`: wait for the end of workloads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated

import trio
from cyclopts import Parameter

from ..client import Client, End, Gone, Outcome, RefusedError, Workload
from ..errors import WorkloadNotFoundError
from .choose import choose_all
from .connection import Connect, find_connection
from .exits import TIMED_OUT
from .foreground import PATIENCE
from .given import Seconds, number
from .outcomes import exit_code, outcome_of
from .outputs import Outputs

__all__ = ["wait"]


async def wait(
    *ids: Annotated[str, Parameter(help="Ids, names, or starts or ends of ids.")],
    timeout: Annotated[
        Seconds | None,
        Parameter(
            validator=number(0, of_seconds=True), help="Wait for so long at most: 90, 5m, 1h30m."
        ),
    ] = None,
    connect: Connect = None,
) -> int:
    """Wait until workloads have ended, print how, and exit as `run` would.

    For each workload, print its id, its status and the exit code that `run` would have. Exit with
    the first of these codes that is not 0, or with 124 if --timeout is over before all have ended.
    """
    with Outputs.open() as outputs:
        async with find_connection(connect).client(outputs.tell_away) as client:
            waiting = _Waiting(
                outputs, await choose_all(client, "wait", ids, notice=outputs.notice)
            )
            with trio.move_on_after(math.inf if timeout is None else timeout) as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(outputs.stdout.watch)
                    await waiting.run(client)
                    nursery.cancel_scope.cancel()
            if scope.cancelled_caught and await waiting.give_up(timeout or 0):
                return TIMED_OUT
    return waiting.code


class _Waiting:
    """The workloads in the order in which they are printed, which is that of the arguments."""

    def __init__(self, outputs: Outputs, workloads: Sequence[Workload]) -> None:
        self._outputs = outputs
        # Those that are not printed yet, with their outcomes as far as these are known.
        self._left: dict[str, Outcome | None] = {
            each.id: outcome_of(each) if each.status.final else None for each in workloads
        }
        self.code = 0

    @property
    def unended(self) -> Sequence[str]:
        """The ids of those whose outcome is not known."""
        return [each for each, outcome in self._left.items() if outcome is None]

    async def run(self, client: Client) -> None:
        """Wait for all, and print each once those before it are printed. Raises
        WorkloadNotFoundError if one is deleted."""
        await self._print_ended()
        if not self.unended:
            return
        logs = client.follow_several(self.unended, tail=0, patience=PATIENCE)
        try:
            async with aclosing(logs) as batches:
                async for batch in batches:
                    for found in batch:
                        match found.records[-1]:
                            case End(outcome=outcome):
                                self._left[found.workload] = outcome
                            case Gone():
                                raise _deleted(found.workload)
                    await self._print_ended()
        except RefusedError as error:
            if error.status != 404:
                raise
            # None of them is there any more.
            raise _deleted(self.unended[0]) from error

    async def give_up(self, timeout: float) -> bool:
        """Name those that have not ended, and print the others. Return whether some have not."""
        unended = self.unended
        for workload_id in unended:
            await self._outputs.notice(f"{workload_id} has not ended after {timeout:g} s")
            del self._left[workload_id]
        await self._print_ended()
        return bool(unended)

    async def _print_ended(self) -> None:
        while self._left:
            workload_id, outcome = next(iter(self._left.items()))
            if outcome is None:
                return
            # Before the write: a cancelled one may have been done, and is not repeated.
            del self._left[workload_id]
            code = exit_code(outcome)
            self.code = self.code or code
            line = f"{workload_id} {outcome.status} {code}\n"
            await self._outputs.write(self._outputs.stdout, line.encode())


def _deleted(workload_id: str) -> WorkloadNotFoundError:
    return WorkloadNotFoundError(f"{workload_id} was deleted before this command saw its end")
