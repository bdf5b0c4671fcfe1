"""The OpenAPI document: the operations of a route table, and components made from `bodies`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from ... import __version__
from ...server import PROTECTION
from ...sse import LogLine
from ..bodies import (
    FinishRequest,
    Health,
    NodeList,
    Page,
    Problem,
    RerunRequest,
    ResizeRequest,
    StopRequest,
    Submission,
    Version,
)
from ..routes import Route
from ..search_stream import FoundObject
from ..session_bodies import (
    CodeRequest,
    CodeState,
    OneTimeCode,
    SessionKey,
    SessionState,
    SignIn,
)
from .events import EVENT_SCHEMAS
from .log import LOG_SCHEMAS
from .parts import header, problems
from .search import SEARCH_SCHEMAS
from .session import CODE_ID
from .several import SEVERAL_SCHEMAS
from .web import PATH_PARAMETERS
from .workloads import WORKLOAD_ID

__all__ = ["make_document"]

_PROBLEMS = {
    400: ("The request is malformed.", "limit: it is a number from 1 to 500"),
    401: (
        "The token is missing or wrong, or the session has ended.",
        "the token is missing: send the header `Authorization: Bearer TOKEN`",
    ),
    403: (
        "The token, or the session, does not allow the request.",
        "the token, or the session, is read-only: it allows GET and HEAD; send the token that"
        " allows everything",
    ),
    404: ("There is no such workload, session or code.", "there is no workload 'x'"),
    405: ("The path is right, the method is not.", "The method is not allowed."),
    406: (
        "No representation of the answer is acceptable.",
        "a log is served as text/event-stream, application/x-ndjson or text/plain",
    ),
    409: (
        "The state of the workload does not allow the request.",
        "the workload is running: stop it first",
    ),
    413: ("The body is too long.", "a request's body has at most 1048576 bytes"),
    415: ("The body is not JSON.", "send JSON, with `Content-Type: application/json`"),
    421: ("The Host is not one of this server.", "this server does not answer for the host 'x'"),
    422: ("The service can't do what the body says.", "Object missing required field `command`"),
    429: ("A limit is reached.", "10000 workloads are waiting: submit again later"),
    503: ("The service is shutting down, or its store fails.", "the service is shutting down"),
}

_DESCRIPTION = """\
Run a workload, watch its log live, and never lose a line.

The answer to a failed request has RFC 9457 problem details (`application/problem+json`) of the type
`about:blank`: the status says what kind of problem it is, and `detail` says what to do. An unknown
path is 404, and a method that a path does not have is 405 with `Allow`. Every path with GET has
HEAD, too. With GET, HEAD and DELETE, a body is ignored, and gets 413 over 4 KiB. Unknown fields are
422, unknown parameters of lists and logs are 400. A header that is not a list, such as
`Authorization`, is 400 if it is sent twice."""


def make_document(routes: Iterable[Route]) -> dict[str, Any]:
    """The document, ready for JSON."""
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "trio-logs",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [
            {
                "name": "workloads",
                "description": "Submit, list, show, stop, rerun, delete, follow.",
            },
            {"name": "logs", "description": "A log as a stream."},
            {"name": "session", "description": "Sign-in of browsers."},
            {"name": "service", "description": "The state of the service, and this description."},
            {"name": "page", "description": "The page for browsers, and its files."},
        ],
        "paths": _paths(routes),
        "components": {
            "schemas": _schemas(),
            "responses": problems(_PROBLEMS),
            "headers": _HEADERS,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of the service; `trio-logs token` prints it. The"
                    " key of a session stands for it. The read-only token, `trio-logs token"
                    " --read-only`, allows GET, HEAD, and the operations of sessions.",
                }
            },
        },
    }


_PATH_PARAMETERS = {"workload_id": WORKLOAD_ID, "code_id": CODE_ID, **PATH_PARAMETERS}


def _paths(routes: Iterable[Route]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for route in routes:
        item = paths.setdefault(route.path, {})
        if names := re.findall(r"\{(\w+)\}", route.path):
            item["parameters"] = [_PATH_PARAMETERS[name] for name in names]
        # The `security` of the whole document applies to operations without their own.
        operation = route.description
        item[route.method.lower()] = {"security": [], **operation} if route.is_open else operation
    return paths


_HEADERS = {
    "NoStore": header("No cache may store the answer.", {"const": "no-store"}),
    "NoSniff": header("Browsers do not guess another media type.", {"const": "nosniff"}),
    "Inert": header(
        "No page can frame the answer, and a document that a browser makes of it does nothing.",
        {"const": PROTECTION["Content-Security-Policy"]},
    ),
    "SameOrigin": header("No page of another origin can load it.", {"const": "same-origin"}),
    "NoReferrer": header("Links do not tell its address.", {"const": "no-referrer"}),
    "RetryAfter": header("Seconds to wait before the next attempt.", {"type": "integer"}, 5),
    "ContentSecurityPolicy": header("The page loads nothing.", {"type": "string"}),
}


def _schemas() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(
        [
            *(Submission, StopRequest, RerunRequest, ResizeRequest, FinishRequest),
            *(SignIn, SessionKey, SessionState, CodeRequest, OneTimeCode, CodeState),
            *(Page, LogLine, FoundObject, NodeList, Version, Health, Problem),
        ],
        ref_template="#/components/schemas/{name}",
    )
    for schema in schemas.values():
        # msgspec keeps the indentation of docstrings.
        schema["description"] = " ".join(inspect.cleandoc(schema["description"]).split())
    return {**schemas, **LOG_SCHEMAS, **SEARCH_SCHEMAS, **EVENT_SCHEMAS, **SEVERAL_SCHEMAS}
