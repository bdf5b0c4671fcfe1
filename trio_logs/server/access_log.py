"""The access log: a record for each answer, when it has ended."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import h11
import structlog
import trio

from .asgi import ASGIApp
from .ports import PORT, CountingPorts
from .transport import Transport

__all__ = ["AccessLog"]

_log = structlog.get_logger("trio_logs.access")

MAX_TEXT = 500
"""Characters of a path or a User-Agent; a longer one is cut."""


class AccessLog:
    """Logs answers. A record has no query, since a query may hold a one-time code or the text of a
    search. Of the request's headers, it has the User-Agent alone."""

    def __init__(self, ports: CountingPorts) -> None:
        self._ports = ports

    def watch(self, app: ASGIApp, transport: Transport) -> ASGIApp:
        """The app of one connection, with a record for each of its answers."""

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            status: int | None = None
            complete = False

            async def watching_send(message: Any) -> None:
                nonlocal status, complete
                await send(message)
                if message["type"] == "http.response.start":
                    status = message["status"]
                elif message["type"] == "http.response.body" and not message.get("more_body"):
                    complete = True

            start, before = trio.current_time(), transport.bytes_out
            try:
                await app(scope, receive, watching_send)
            finally:
                port = scope["extensions"].get(PORT)
                direct = self._ports.bytes_of(port.number) if port is not None else 0
                _log.info(
                    "request",
                    client=_client(scope["client"]),
                    method=scope["method"],
                    path=_text(scope["raw_path"]),
                    status=status,
                    bytes=transport.bytes_out - before + direct,
                    seconds=round(trio.current_time() - start, 6),
                    complete=complete and not transport.aborted,
                    user_agent=_user_agent(scope["headers"]),
                )

        return watched

    def refused(
        self, client: Any, request: h11.Request | None, status: HTTPStatus, answer: bytes
    ) -> None:
        """Log a refusal of the server itself. `request` is None if it could not be parsed."""
        _log.info(
            "request",
            client=_client(client),
            method=request and request.method.decode("ascii"),
            path=request and _text(request.target.partition(b"?")[0]),
            status=status.value,
            bytes=len(answer),
            seconds=0.0,
            complete=True,
            user_agent=request and _user_agent(request.headers),
        )


def _client(address: Any) -> str:
    return "unix" if address is None else address[0]


def _user_agent(headers: Any) -> str | None:
    return next((_text(value) for name, value in headers if name.lower() == b"user-agent"), None)


def _text(raw: bytes) -> str:
    text = raw.decode("ascii", "backslashreplace")
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
