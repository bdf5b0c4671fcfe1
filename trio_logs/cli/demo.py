"""`trio-logs demo`: see the whole path in five seconds."""

from __future__ import annotations

from ..demo import run_demo

__all__ = ["demo"]


async def demo() -> int:
    """Start a service, run a sample build in it, and follow its log with two readers."""
    await run_demo()
    return 0
