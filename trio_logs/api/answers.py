"""The answers of the app: JSON, and RFC 9457 problem details for each failure."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Literal

import msgspec
import structlog
from quart import Response, request
from quart.wrappers.response import ResponseBody
from werkzeug.exceptions import HTTPException, NotFound, RequestEntityTooLarge, RequestTimeout

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
from ..server import PROTECTION
from .auth import ForbiddenError, MisdirectedError, UnauthorizedError
from .bodies import Problem

__all__ = [
    "DrainingError",
    "NotAcceptableError",
    "NotFoundError",
    "UnsupportedMediaError",
    "json_response",
    "no_body",
    "no_content",
    "problem_of",
    "protected",
    "stream_response",
]

MAX_SHOWN = 200
"""Characters of a path that a problem quotes."""

_log = structlog.get_logger("trio_logs.api")


class DrainingError(NotReadyError):
    """The service is shutting down; the problem says so in its `reason`."""


class NotFoundError(TrioLogsError):
    """There is no session, or no code, as the request means it."""


class NotAcceptableError(TrioLogsError):
    """The route has no representation that the client accepts."""


class UnsupportedMediaError(TrioLogsError):
    """The body of the request has a media type or coding that the route does not take."""


_STATUS: dict[type[TrioLogsError], HTTPStatus] = {
    InvalidRequestError: HTTPStatus.BAD_REQUEST,
    UnauthorizedError: HTTPStatus.UNAUTHORIZED,
    ForbiddenError: HTTPStatus.FORBIDDEN,
    WorkloadNotFoundError: HTTPStatus.NOT_FOUND,
    NotFoundError: HTTPStatus.NOT_FOUND,
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
"""The `Retry-After` of answers with 429 and 503, in seconds."""


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    body = msgspec.json.encode(value)
    return Response(body, status, headers, content_type="application/json")


def stream_response(body: ResponseBody | bytes, content_type: str) -> Response:
    """An answer that comes as it is made. No cache or proxy may hold it back."""
    response = Response(body, content_type=content_type)
    response.headers.pop("Content-Length", None)
    response.headers["Cache-Control"] = "no-cache, no-store, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    # It lasts as long as its logs and its reader do: no time limit.
    response.timeout = None
    return response


def no_content(headers: dict[str, str] | None = None) -> Response:
    """A 204."""
    return no_body(HTTPStatus.NO_CONTENT, headers)


def no_body(status: HTTPStatus, headers: dict[str, str] | None = None) -> Response:
    """An answer that has neither a body nor headers that describe one."""
    response = Response(b"", status, headers)
    del response.headers["Content-Type"]
    del response.headers["Content-Length"]
    return response


def protected(response: Response) -> Response:
    """The answer, with the headers that protect it from pages of other origins."""
    for name, value in PROTECTION.items():
        response.headers.setdefault(name, value)
    return response


def problem_of(error: Exception) -> Response:
    """The answer to an exception of a request: its status says whose fault it is, its detail what
    to do."""
    headers: dict[str, str] = {}
    match error:
        case TrioLogsError():
            status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
            detail = str(error)
            if isinstance(error, UnauthorizedError):
                headers["WWW-Authenticate"] = "Bearer"
            elif isinstance(error, OffsetError):
                headers["Upload-Offset"] = str(error.durable)
                if error.stderr is not None:
                    headers["Upload-Offset-Stderr"] = str(error.stderr)
        case RequestEntityTooLarge():
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            detail = f"a request's body has at most {request.max_content_length} bytes"
        case RequestTimeout():
            status = HTTPStatus.REQUEST_TIMEOUT
            detail = f"the body did not arrive within {request.body_timeout} s: send it again"
        case NotFound():
            status = HTTPStatus.NOT_FOUND
            detail = f"there is no path {request.path[:MAX_SHOWN]!r}: /openapi.json lists the paths"
        case HTTPException(code=code) if code is not None:
            status, detail = HTTPStatus(code), error.description or ""
            headers = {k: v for k, v in error.get_headers() if k in ("Allow", "Location")}
        case _:
            _log.error("request failed", path=request.path, exc_info=error)
            status, detail = HTTPStatus.INTERNAL_SERVER_ERROR, "the service's own log has the error"
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = str(RETRY_SECONDS)
    problem = Problem(title=status.phrase, status=status, detail=detail, reason=_reason(error))
    body = msgspec.json.encode(problem)
    return Response(body, status, headers, content_type="application/problem+json")


def _reason(error: Exception) -> Literal["draining", "store"] | msgspec.UnsetType:
    """The `reason` of a problem, for programs."""
    match error:
        case DrainingError():
            return "draining"
        case StoreError():
            return "store"
    return msgspec.UNSET
