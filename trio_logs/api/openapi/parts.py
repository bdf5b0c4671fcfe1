"""The parts of an operation's description: schemas, headers, parameters, answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

__all__ = [
    "COMMON_HEADERS",
    "answer",
    "header",
    "json_answer",
    "parameter",
    "problem",
    "problems",
    "ref",
    "refer_to_problems",
    "text",
]

Part = dict[str, Any]


def ref(name: str, kind: str = "schemas") -> Part:
    """A reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def text(pattern: str | None = None) -> Part:
    """A string; `pattern` is a regular expression."""
    return {"type": "string"} if pattern is None else {"type": "string", "pattern": pattern}


def parameter(
    name: str, description: str, schema: Part, example: Any = None, *, where: str = "query"
) -> Part:
    """A parameter; it is required only in the path."""
    part: Part = {"name": name, "in": where, "description": description, "schema": schema}
    if where == "path":
        part["required"] = True
    return part if example is None else {**part, "example": example}


def header(description: str, schema: Part | None = None, example: Any = None) -> Part:
    """A header that an answer always has."""
    part: Part = {"description": description, "required": True, "schema": schema or text()}
    return part if example is None else {**part, "example": example}


COMMON_HEADERS = {
    "Cache-Control": ref("NoStore", "headers"),
    "Content-Security-Policy": ref("Inert", "headers"),
    "Cross-Origin-Resource-Policy": ref("SameOrigin", "headers"),
    "Referrer-Policy": ref("NoReferrer", "headers"),
    "X-Content-Type-Options": ref("NoSniff", "headers"),
}
"""Headers of every answer."""


def answer(
    description: str, content: dict[str, Part] | None = None, headers: Part | None = None
) -> Part:
    """An answer; `content` has the examples by media type."""
    part: Part = {"description": description, "headers": {**COMMON_HEADERS, **(headers or {})}}
    return part if content is None else {**part, "content": content}


def json_answer(description: str, schema: Part, example: Any, headers: Part | None = None) -> Part:
    """An answer in JSON."""
    content = {"application/json": {"schema": schema, "example": example}}
    return answer(description, content, headers)


_HEADERS: dict[int, Part] = {
    401: {"WWW-Authenticate": header("How to authenticate.", text(), "Bearer")},
    405: {"Allow": header("The methods of this path.", text(), "GET, HEAD, OPTIONS")},
    429: {"Retry-After": ref("RetryAfter", "headers")},
    503: {"Retry-After": ref("RetryAfter", "headers")},
}


def problem(
    status: int,
    description: str,
    detail: str,
    headers: Part | None = None,
    *,
    reason: str | None = None,
) -> Part:
    """A problem answer: what it means, and an example of its detail and reason."""
    example = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if reason is not None:
        example["reason"] = reason
    content = {"application/problem+json": {"schema": ref("Problem"), "example": example}}
    return answer(description, content, headers or _HEADERS.get(status))


def problems(details: dict[int, tuple[str, str]]) -> dict[str, Part]:
    """Problem answers as components, by status."""
    return {
        f"Problem{status}": problem(status, description, detail)
        for status, (description, detail) in details.items()
    }


def refer_to_problems(*statuses: int) -> dict[str, Part]:
    """References of an operation's responses to problems."""
    return {str(status): ref(f"Problem{status}", "responses") for status in statuses}
