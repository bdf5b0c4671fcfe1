"""The OpenAPI document: the operations, and components made from the types of `bodies`."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from ... import __version__
from ...sse import LogLine
from ..bodies import FinishRequest, Health, Page, Problem, StopRequest, Submission
from .log import LOG, LOG_SCHEMAS
from .parts import header, problems
from .push import FINISH
from .service import SERVICE
from .workloads import WORKLOADS

__all__ = ["make_document"]

_PROBLEMS = {
    400: ("It can't be read.", "limit: it is a number from 1 to 500"),
    401: ("The token is missing or wrong.", "give the token: `Authorization: Bearer TOKEN`"),
    404: ("There is no such workload.", "there is no workload 'x'"),
    405: ("The path is right, the method is not.", "The method is not allowed."),
    406: (
        "There is no such representation.",
        "a log is served as text/event-stream, application/x-ndjson or text/plain",
    ),
    409: ("The workload's state does not allow it.", "the workload is running: stop it first"),
    413: ("The body is too large.", "a request's body has at most 1048576 bytes"),
    415: ("The body is not JSON.", "send JSON, with `Content-Type: application/json`"),
    421: ("The Host is not one of this server.", "this server does not answer for the host 'x'"),
    422: ("It can be read, but not run.", "Object missing required field `command`"),
    429: ("A limit is reached.", "10000 workloads are waiting: submit again later"),
    503: ("The service is shutting down or in trouble.", "the service is shutting down"),
}

_DESCRIPTION = """\
Run a workload, watch its log live, and never lose a line.

Everything that goes wrong is answered with RFC 9457 problem details
(`application/problem+json`). All of them have the type `about:blank`: the status says what kind
of problem it is, and `detail` what to do. A path that there is not is 404, a method that a path
does not have is 405 with `Allow`. Every path with GET has HEAD, too. Unknown fields are 422,
and unknown parameters of lists and logs are 400."""


def make_document() -> dict[str, Any]:
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
            {"name": "workloads", "description": "Submit, list, look at, stop, delete."},
            {"name": "logs", "description": "A log as a stream."},
            {"name": "service", "description": "How the service is, and what it can do."},
        ],
        "paths": {**WORKLOADS, **FINISH, **LOG, **SERVICE},
        "components": {
            "schemas": _schemas(),
            "responses": problems(_PROBLEMS),
            "headers": _HEADERS,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of the service; it is in its data folder.",
                }
            },
        },
    }


_HEADERS = {
    "NoStore": header("Nothing in between may keep it.", {"const": "no-store"}),
    "NoSniff": header("Browsers take the media type as it is.", {"const": "nosniff"}),
    "RetryAfter": header("After how many seconds to try again.", {"type": "integer"}, 5),
    "ContentSecurityPolicy": header("The page may load nothing.", {"type": "string"}),
}


def _schemas() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(
        [Submission, StopRequest, FinishRequest, Page, LogLine, Health, Problem],
        ref_template="#/components/schemas/{name}",
    )
    for schema in schemas.values():
        # msgspec takes docstrings with the indentation of their lines.
        schema["description"] = " ".join(inspect.cleandoc(schema["description"]).split())
    return {**schemas, **LOG_SCHEMAS}
