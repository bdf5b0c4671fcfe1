"""Headers that a request may have only once."""

from __future__ import annotations

from quart import request

from ..errors import InvalidRequestError

__all__ = ["single_header"]


def single_header(name: str) -> str | None:
    """The value of a header that is no list, or None if the request lacks it.

    Raises InvalidRequestError if the request has several, even equal ones. RFC 9110, section 5.3,
    lets only lists be repeated, and a proxy on the way may have picked another one.
    """
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise InvalidRequestError(f"{name}: the request has {len(values)} such headers; send one")
    return values[0] if values else None
