"""The terminal of a workload, kept as large as the one in which a command runs."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import trio

from ..client import Client, ClientError, RefusedError, Status

__all__ = ["Size", "follow_size", "terminal_size"]

QUEUED_SECONDS = 1.0
"""Seconds between two attempts to resize the terminal of a workload that does not run yet."""

Size = tuple[int, int]


def terminal_size() -> Size | None:
    """The columns and rows of the terminal of this process; None if no output is one."""
    for descriptor in (1, 2, 0):
        with suppress(OSError):
            columns, rows = os.get_terminal_size(descriptor)
            # A terminal that does not know its size has 0.
            if columns and rows:
                return columns, rows
    return None


async def follow_size(client: Client, workload_id: str, size: Size) -> None:
    """Resize the workload's terminal, which has `size`, with that of this process, until
    cancelled."""
    with trio.open_signal_receiver(signal.SIGWINCH) as signals:
        while True:
            # Also before the first signal: the size may have changed since the submission.
            here = terminal_size()
            if here is not None and here != size:
                size = here
                await _resize(client, workload_id)
            await anext(signals)


async def _resize(client: Client, workload_id: str) -> None:
    while (size := terminal_size()) is not None:
        try:
            await client.resize(workload_id, *size)
        except RefusedError as error:
            if error.status != 409 or not await _is_queued(client, workload_id):
                return
        except ClientError:
            # The log tells of a server that is away.
            return
        else:
            return
        await trio.sleep(QUEUED_SECONDS)


async def _is_queued(client: Client, workload_id: str) -> bool:
    try:
        return (await client.get(workload_id)).status is Status.QUEUED
    except ClientError:
        return False
