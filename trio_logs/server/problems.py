"""What the server itself answers when it can't let the app do so: RFC 9457 problem details."""

from __future__ import annotations

import json
from http import HTTPStatus

__all__ = ["problem"]


def problem(status: HTTPStatus, detail: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers and the body; the connection is closed after it."""
    body = json.dumps(
        {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    ).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers.append((b"retry-after", b"1"))
    return headers, body
