"""What a server of ours imports to be measured: a function that writes lines."""

from __future__ import annotations

import time
from pathlib import Path

import trio

from trio_logs import LogWriter, function

from .lines import BLOCK_LINES, END_SECONDS, block, line

__all__ = ["source"]


@function("bench.source")
async def source(log: LogWriter, lines: str, rate: str, gate: str, before: str = "0") -> None:
    """Write so many lines, at that rate or, with 0, as fast as the log takes them. So many of them
    come `before` the gate opens: at full speed, a multiple of 500."""
    first = int(before)
    for number in range(0, first, BLOCK_LINES):
        await log.write(block(number))
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240
        await trio.sleep(0.005)
    if float(rate) == 0:
        for number in range(first, int(lines), BLOCK_LINES):
            await log.write(block(number, int(lines) - number))
        return
    start = time.monotonic()
    for index in range(first, int(lines)):
        await trio.sleep(max(0, start + (index - first) / float(rate) - time.monotonic()))
        await log.write(line(index))
    await trio.sleep(END_SECONDS)
