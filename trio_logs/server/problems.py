"""Answers of the server itself, for requests that do not reach the app: RFC 9457 problems."""

from __future__ import annotations

import json
from http import HTTPStatus

__all__ = ["problem"]


def problem(status: HTTPStatus, detail: str) -> bytes:
    """The whole answer; the server closes the connection after it."""
    body = json.dumps(
        {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    ).encode()
    headers = [
        b"content-type: application/problem+json",
        b"content-length: %d" % len(body),
        b"connection: close",
    ]
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers.append(b"retry-after: 1")
    line = b"HTTP/1.1 %d %b" % (status, status.phrase.encode())
    return b"\r\n".join([line, *headers, b"", body])
