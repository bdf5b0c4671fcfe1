"""Apps for `hypercorn`'s command line."""

from __future__ import annotations

import os
import sys

from tests.serving import Counted, make_app

__all__ = ["app", "dying"]

app = make_app(Counted())


@app.get("/pid")
async def pid() -> str:
    return str(os.getpid())


dying = make_app(Counted())


@dying.before_serving
async def start() -> None:
    dying.nursery.start_soon(fail)


async def fail() -> None:
    """What an app can't do without, such as its store's writer."""
    raise RuntimeError("the critical task failed")


@dying.after_serving
async def stop() -> None:
    print("after serving", file=sys.stderr, flush=True)
