"""Keep the output of a program that runs here: a workload of its own, whose log is pushed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import trio

from ..client import Client, ClientError, Ending, RefusedError, Status
from ..client.requests import SubmitOptions
from .connection import Connection
from .diagnosis import explain_answer
from .exits import FAILED, STOPPED, TIMED_OUT, UsageError
from .outputs import trying_again
from .submit import submit
from .tee import Tee

__all__ = ["Kept", "keep"]


@dataclass(frozen=True)
class Kept:
    """What is to be kept, and as which workload. `what` names it in notices. `ending` is read once
    all channels are closed. With `quiet`, the id of the workload is not told."""

    what: str
    command: Sequence[str]
    options: SubmitOptions
    stdout: trio.MemoryReceiveChannel[bytes]
    stderr: trio.MemoryReceiveChannel[bytes] | None
    ending: Ending
    quiet: bool = False


async def keep(find: Callable[[], Connection], kept: Kept, tee: Tee) -> int:
    """Submit the workload, and push what comes through the channels until both are closed.

    Once the workload exists, wait without limit for a server that is away. Returns the exit code,
    after a notice if it is not 0:

    - 0: all is kept.
    - 1: not all is kept.
    - 123: the workload was stopped; 124: it timed out.
    """

    async def tell_away(what: str) -> None:
        await tee.say(trying_again(what))

    async with AsyncExitStack() as stack:
        try:
            client, workload = await submit(
                stack, find, kept.command, lambda _: kept.options, on_outage=tell_away
            )
        except ClientError as error:
            await tee.say(f"{kept.what} is not kept: {explain_answer(find(), error)}")
            return FAILED
        except UsageError as error:
            await tee.say(f"{kept.what} is not kept: {error}")
            return FAILED
        if not kept.quiet:
            await tee.say(f"this is workload {workload.id}")
        try:
            await client.push(workload.id, kept.stdout, stderr=kept.stderr, ending=kept.ending)
        except ClientError as error:
            match await _status(client, workload.id) if isinstance(error, RefusedError) else None:
                case Status.STOPPED:
                    await tee.say("the workload was stopped")
                    return STOPPED
                case Status.TIMED_OUT:
                    await tee.say("the workload timed out")
                    return TIMED_OUT
            await tee.say(f"the rest of {kept.what} is not kept: {error}")
            return FAILED
        return 0


async def _status(client: Client, workload_id: str) -> Status | None:
    try:
        return (await client.get(workload_id)).status
    except ClientError:
        return None
