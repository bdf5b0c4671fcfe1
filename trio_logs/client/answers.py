"""Answers to values, without I/O. A proxy, or another service, may have sent them."""

from __future__ import annotations

from typing import TypeVar

import httpx2
import msgspec

from .errors import ClientError, RefusedError

__all__ = ["MALFORMED", "MAX_SHOWN", "check", "check_empty", "decode", "media_type", "unexpected"]

T = TypeVar("T")

MAX_SHOWN = 200
"""The most characters of an answer that an error quotes."""

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The exceptions of msgspec for JSON that is broken, of another type, not UTF-8, or too deep."""


class Problem(msgspec.Struct):
    """The part of a problem (RFC 9457) that is for people."""

    detail: str


def media_type(answer: httpx2.Response) -> str:
    """The content type without its parameters, or an empty text."""
    text: str = answer.headers.get("Content-Type", "")
    return text.partition(";")[0].strip().lower()[:MAX_SHOWN]


def unexpected(answer: httpx2.Response, address: str) -> str:
    """An answer that is not the service's, in words."""
    kind = media_type(answer)
    content = f"content type {kind}" if kind else "no content type"
    return f"{address} answers {answer.status_code} with {content}"


def check(answer: httpx2.Response, address: str) -> None:
    """Raise RefusedError if the answer is a problem, or a redirect."""
    if answer.is_success:
        return
    status = answer.status_code
    if location := answer.headers.get("Location"):
        target = location[:MAX_SHOWN]
        detail = f"{address} redirects to {target}: if the service is there, give that address"
        raise RefusedError(status, detail, is_problem=False)
    is_problem = True
    try:
        detail = msgspec.json.decode(answer.content, type=Problem).detail
    except MALFORMED:
        is_problem = False
        reason = f"{status} {answer.reason_phrase}".rstrip()
        detail = (
            f"{reason}: {unexpected(answer, address)}, not a problem of trio-logs; check the"
            " address, and what is in front of the service"
        )
    raise RefusedError(status, detail, is_problem=is_problem)


def check_empty(answer: httpx2.Response, address: str) -> None:
    """Raise RefusedError if the answer is a problem, and ClientError if it is no 204."""
    check(answer, address)
    if answer.status_code != httpx2.codes.NO_CONTENT:
        raise ClientError(
            f"{unexpected(answer, address)}, not 204 as trio-logs does; check the address, and what"
            " is in front of the service"
        )


def decode(answer: httpx2.Response, address: str, kind: type[T]) -> T:
    """The value in an answer. Raises RefusedError if the answer is a problem, and ClientError if it
    holds no such value."""
    check(answer, address)
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except MALFORMED as error:
        raise ClientError(
            f"{unexpected(answer, address)}, which is no {kind.__name__.lower()} of trio-logs"
            f" ({str(error)[:MAX_SHOWN]}); check the address, and what is in front of the service"
        ) from error
