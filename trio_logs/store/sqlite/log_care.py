"""Looks after the write-ahead log while nobody writes."""

from __future__ import annotations

import apsw
import structlog
import trio

from ...threads import Threads
from .failures import FAILURES
from .writer import Writer

__all__ = ["look_after_log"]

_log = structlog.get_logger("trio_logs.store")

LOOK_SECONDS = 5.0
"""Seconds between two looks."""


async def look_after_log(thread: Threads, writer: Writer) -> None:
    """Have the writer's thread look after the log now and then, until cancelled. Say so when the
    disk refuses to have the log copied into the database."""
    failing = False
    while True:
        await trio.sleep(LOOK_SECONDS)
        try:
            await thread.run(writer.look_after_log, abandon_on_cancel=True)
        except apsw.FullError:
            # The writer has said it, or the service does once a write waits.
            continue
        except FAILURES as error:
            if not failing:
                _log.error(
                    "the write-ahead log can't be copied into the database, so the store takes no"
                    " writes: check its disk",
                    error=str(error),
                )
            failing = True
        else:
            failing = False
