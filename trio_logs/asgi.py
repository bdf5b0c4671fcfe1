"""The app for other servers: `hypercorn -k trio trio_logs.asgi:app`, with one worker.

Environment variables configure the app; see `Settings.from_environment`. The service runs in the
ASGI lifespan, and puts a bounded queue before the process's standard error; see `stderr`. Prefer
`trio-logs serve`: other servers cut an app's streams before they announce their shutdown, so under
them no stream ends with a `shutdown` event.
"""

from __future__ import annotations

import os
from typing import Any

from .api import create_app
from .logging import configure_logging
from .server import ASGIApp, finish_cleanly
from .service import open_service
from .settings import Settings

__all__ = ["Application", "app"]


class Application:
    """An ASGI app whose service lives from lifespan startup to shutdown."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if self._app is None:
            raise RuntimeError("this app needs a server that supports the ASGI lifespan")
        await self._app(scope, receive, send)

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()  # lifespan.startup: no other message comes first
        stage = "startup"
        try:
            configure_logging()
            async with open_service(Settings.from_environment(os.environ)) as service:
                self._app = finish_cleanly(create_app(service))
                stage = "shutdown"
                await send({"type": "lifespan.startup.complete"})
                await receive()  # lifespan.shutdown
                if service.settings.drain:
                    await service.wind_down()
        except Exception as error:
            # On this message Hypercorn raises and stops. Otherwise it would serve a dead service.
            await send({"type": f"lifespan.{stage}.failed", "message": f"{error!r}"})
            raise
        await send({"type": "lifespan.shutdown.complete"})


app = Application()
