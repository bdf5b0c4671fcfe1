"""`trio-logs demo`: see the whole path in five seconds, and then the page."""

from __future__ import annotations

from ..demo import run_demo

__all__ = ["demo"]


async def demo() -> int:
    """Start a service, run a sample build in it, and follow its log with two readers.

    On a terminal, the service then stays with workloads to look at in the page, until Ctrl-C.
    """
    await run_demo()
    return 0
