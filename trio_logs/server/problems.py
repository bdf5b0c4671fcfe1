"""Answers of the server itself, for requests that do not reach the app: RFC 9457 problems."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus

import h11

__all__ = ["PROTECTION", "Refusal", "problem"]

PROTECTION = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
"""Headers of each answer that has none of its own by that name: no page of another origin can load
or frame the answer, and no browser takes it for a script or a page.

Sources: CSP Level 3; Fetch, section 3.7; Referrer Policy, section 3.1.
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of the server itself.

    `client`: its address, None on a unix socket. `request`: None if it could not be parsed, or if
    only its body is at fault. `is_late`: the app has the request already, and does not answer it.
    """

    client: tuple[str, int] | None
    request: h11.Request | None
    status: HTTPStatus
    answer: bytes
    is_late: bool


def problem(status: HTTPStatus, detail: str) -> bytes:
    """The whole answer; the server closes the connection after it."""
    body = json.dumps(
        {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    ).encode()
    headers = [
        b"content-type: application/problem+json",
        b"content-length: %d" % len(body),
        b"connection: close",
        *(f"{name.lower()}: {value}".encode() for name, value in PROTECTION.items()),
    ]
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers.append(b"retry-after: 1")
    line = b"HTTP/1.1 %d %b" % (status, status.phrase.encode())
    return b"\r\n".join([line, *headers, b"", body])
