"""The access log: a record for each answer, when it has ended."""

from __future__ import annotations

from typing import Any

import structlog
import trio

from .asgi import ASGIApp
from .ports import PORT, CountingPorts
from .problems import Refusal
from .transport import Transport

__all__ = ["AccessLog"]

_log = structlog.get_logger("trio_logs.access")

MAX_TEXT = 500
"""Characters of a path or a User-Agent; a longer one is cut."""


class _Answer:
    """`refusal`: what the server has sent in the place of the app."""

    def __init__(self, refusal: Refusal | None) -> None:
        self.status: int | None = None
        self.refusal = refusal
        self.is_complete = False


class AccessLog:
    """The app of one connection, with a record for each of its answers.

    A record has no query, since a query may hold a one-time code or the text of a search. Of the
    request's headers, it has the User-Agent alone.
    """

    def __init__(self, app: ASGIApp, transport: Transport, ports: CountingPorts) -> None:
        self._app = app
        self._transport = transport
        self._ports = ports
        # That of the latest call, until it ends.
        self._answer: _Answer | None = None
        # The refusal of a request whose call has not begun.
        self._refusal: Refusal | None = None
        # Of refusals with a record of their own: one may be written while an answer ends.
        self._refused_bytes = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # The next request may come before this call has ended, and has an answer of its own.
        answer = self._answer = _Answer(self._refusal)

        async def watching_send(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                answer.status = message["status"]
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                answer.is_complete = True

        start, before = trio.current_time(), self._transport.bytes_out - self._refused_bytes
        try:
            await self._app(scope, receive, watching_send)
        finally:
            if self._answer is answer:
                self._answer = None
            port = scope["extensions"].get(PORT)
            direct = self._ports.bytes_of(port.number) if port is not None else 0
            status = answer.status
            sent = self._transport.bytes_out - self._refused_bytes - before + direct
            complete = answer.is_complete and not self._transport.aborted
            if (refusal := answer.refusal) is not None:
                status, sent, complete = refusal.status.value, len(refusal.answer), True
            _log.info(
                "request",
                client=_client(scope["client"]),
                method=scope["method"],
                path=_text(scope["raw_path"]),
                status=status,
                bytes=sent,
                seconds=round(trio.current_time() - start, 6),
                complete=complete,
                user_agent=_user_agent(scope["headers"]),
            )

    def refused(self, refusal: Refusal) -> None:
        """Take note of an answer of the server itself, which has no call of the app, or ends it."""
        if refusal.is_late:
            if self._answer is not None and self._answer.status is None:
                self._answer.refusal = refusal
            else:
                self._refusal = refusal
            return
        request = refusal.request
        self._refused_bytes += len(refusal.answer)
        _log.info(
            "request",
            client=_client(refusal.client),
            method=request and request.method.decode("ascii"),
            path=request and _text(request.target.partition(b"?")[0]),
            status=refusal.status.value,
            bytes=len(refusal.answer),
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
