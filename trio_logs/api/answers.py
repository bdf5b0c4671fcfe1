"""How the app answers: JSON, and RFC 9457 problem details for everything that goes wrong."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from quart import Response, request
from werkzeug.exceptions import HTTPException

from ..errors import (
    BusyError,
    ConflictError,
    InvalidRequestError,
    InvalidSpecError,
    NotReadyError,
    OffsetError,
    StoreError,
    TrioLogsError,
    WorkloadNotFoundError,
)
from .bodies import Problem

__all__ = [
    "MisdirectedError",
    "NotAcceptableError",
    "UnauthorizedError",
    "UnsupportedMediaError",
    "json_response",
    "no_content",
    "problem_of",
]

_log = structlog.get_logger("trio_logs.api")


class UnauthorizedError(TrioLogsError):
    """The bearer token is missing or wrong."""


class MisdirectedError(TrioLogsError):
    """The request's Host is not one of ours."""


class NotAcceptableError(TrioLogsError):
    """No representation that the client accepts."""


class UnsupportedMediaError(TrioLogsError):
    """A body that is not JSON."""


_STATUS: dict[type[TrioLogsError], HTTPStatus] = {
    InvalidRequestError: HTTPStatus.BAD_REQUEST,
    UnauthorizedError: HTTPStatus.UNAUTHORIZED,
    WorkloadNotFoundError: HTTPStatus.NOT_FOUND,
    NotAcceptableError: HTTPStatus.NOT_ACCEPTABLE,
    ConflictError: HTTPStatus.CONFLICT,
    UnsupportedMediaError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    MisdirectedError: HTTPStatus.MISDIRECTED_REQUEST,
    InvalidSpecError: HTTPStatus.UNPROCESSABLE_ENTITY,
    BusyError: HTTPStatus.TOO_MANY_REQUESTS,
    NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
}

RETRY_SECONDS = 5
"""What `Retry-After` says where waiting helps."""


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    body = msgspec.json.encode(value)
    return Response(body, status, headers, content_type="application/json")


def no_content(headers: dict[str, str] | None = None) -> Response:
    """A 204, which has neither a body nor headers about one."""
    response = Response(b"", HTTPStatus.NO_CONTENT, headers)
    del response.headers["Content-Type"]
    del response.headers["Content-Length"]
    return response


def problem_of(error: Exception) -> Response:
    """The answer to what went wrong: whose fault it is, and what to do."""
    headers: dict[str, str] = {}
    match error:
        case UnauthorizedError():
            status, detail = (
                HTTPStatus.UNAUTHORIZED,
                "give the token: `Authorization: Bearer TOKEN`",
            )
            headers["WWW-Authenticate"] = "Bearer"
        case TrioLogsError():
            status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
            detail = str(error)
            if isinstance(error, OffsetError):
                headers["Upload-Offset"] = str(error.durable)
        case HTTPException(code=code) if code is not None:
            status, detail = HTTPStatus(code), error.description or ""
            headers = {k: v for k, v in error.get_headers() if k in ("Allow", "Location")}
        case _:
            _log.error("request failed", path=request.path, exc_info=error)
            status, detail = HTTPStatus.INTERNAL_SERVER_ERROR, "the server's log tells more"
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = str(RETRY_SECONDS)
    body = msgspec.json.encode(Problem(title=status.phrase, status=status, detail=detail))
    return Response(body, status, headers, content_type="application/problem+json")
