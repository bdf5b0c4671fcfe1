"""SIGTERM and SIGINT before and after `trio-logs serve` takes them itself.

Python and the libraries need a part of a second to start. A signal at that time would kill the
process, or print a traceback, though the service only has to end, and has nothing open yet.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

__all__ = ["exit_quietly", "is_opening"]

_opening = False
"""Whether the service has something to close: then, or later, a signal must not end the process."""


def exit_quietly() -> None:
    """From now on, SIGTERM and SIGINT end this process with exit code 0, until `is_opening`.

    A parent may have blocked them: they arrive now. Call it in the main thread.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def is_opening() -> None:
    """The service takes the signals itself now. Those after its end change nothing any more."""
    global _opening
    _opening = True


def _exit(number: int, frame: FrameType | None) -> None:
    if not _opening:
        # An exception would be raised anywhere in an import, which may print it or drop it.
        os._exit(0)
