"""The head of a request, beyond what h11 checks."""

from __future__ import annotations

import re

import h11

__all__ = ["content_length", "fault", "in_origin_form"]

_ABSOLUTE = re.compile(rb"https?://([^/?#]+)", re.IGNORECASE)


def fault(request: h11.Request) -> str | None:
    """Why the request is malformed, or so that a proxy in front may read it as two requests; see
    RFC 9112, sections 3.2 and 6.1."""
    names = {name for name, _ in request.headers}
    if b"transfer-encoding" in names:
        if b"content-length" in names:
            return "give Content-Length or Transfer-Encoding, not both"
        if request.http_version == b"1.0":
            return "HTTP/1.0 has no Transfer-Encoding"
    if not request.method.isupper():
        # Methods are case-sensitive, but the app ignores case: two readings of one request.
        return "methods are written in capitals"
    if not request.target.startswith(b"/") and request.target != b"*":
        return "the target of a request begins with a slash"
    return None


def in_origin_form(request: h11.Request) -> h11.Request:
    """The request with its host in the header only. A host in the target wins over the header; see
    RFC 9112, section 3.2.2."""
    absolute = _ABSOLUTE.match(request.target)
    if absolute is None:
        return request
    path = request.target[absolute.end() :]
    others = [(name, value) for name, value in request.headers if name != b"host"]
    return h11.Request(
        method=request.method,
        target=path if path.startswith(b"/") else b"/" + path,
        headers=[(b"host", absolute[1]), *others],
        http_version=request.http_version,
    )


def content_length(request: h11.Request) -> int:
    """The declared length of the body, 0 if there is none. h11 has checked the header."""
    return next((int(value) for name, value in request.headers if name == b"content-length"), 0)
