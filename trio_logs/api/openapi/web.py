"""The operations of the page and its files."""

from __future__ import annotations

from typing import Any

from .parts import Part, answer, header, parameter, problem, refer_to_problems, text

__all__ = ["FILE", "FILE_IN_FOLDER", "LIST", "LOG", "PATH_PARAMETERS", "SEARCH"]

_HEADERS: Part = {
    "Cache-Control": header("A cache asks before it reuses the answer.", {"const": "no-cache"}),
    "Content-Security-Policy": header(
        "The page loads scripts, styles and workers of its own origin only.",
        text("^default-src 'none'; "),
    ),
    "Cross-Origin-Opener-Policy": header(
        "No other origin has a handle on it.", text("^same-origin$")
    ),
    "ETag": header("The version of the file.", text('^"[0-9a-f]{32}"$')),
}
_FILE_NAME = text("^[a-z_]+[.](css|js|svg)$")

PATH_PARAMETERS = {
    "ids": parameter(
        "ids",
        "The id of a workload, or several with commas between them.",
        text("^[A-Za-z0-9_-]{1,64}(,[A-Za-z0-9_-]{1,64})*$"),
        where="path",
    ),
    "file": parameter("file", "The name of the file.", _FILE_NAME, where="path"),
    "folder": parameter("folder", "The folder of the file.", text("^[a-z_]+$"), where="path"),
}
"""The parameters in the paths of this module, by name."""


def _get(operation: str, summary: str, content: dict[str, Part], **responses: Any) -> Part:
    return {
        "operationId": operation,
        "tags": ["page"],
        "summary": summary,
        "responses": {
            "200": answer("The file.", content, _HEADERS),
            "304": answer(
                "The client has this version of it: see `If-None-Match`.", None, _HEADERS
            ),
            **responses,
            **refer_to_problems(421),
        },
    }


_DOCUMENT: dict[str, Part] = {"text/html": {"schema": text(), "example": "<!doctype html>..."}}
_FILE: dict[str, Part] = {
    kind: {"schema": text(), "example": "..."}
    for kind in ("text/javascript", "text/css", "image/svg+xml")
}
_UNKNOWN = {"404": problem(404, "The page has no such file.", "the page has no file 'x.js'")}

LIST = _get("showList", "The page: the list of workloads", _DOCUMENT)
LOG = _get(
    "showLogs",
    "The page: one log, or several",
    _DOCUMENT,
    **{"404": problem(404, "This is no list of ids.", "'!' is not the id of a workload")},
)
SEARCH = _get("showSearch", "The page: a search over all logs", _DOCUMENT)
FILE = _get("pageFile", "A module or style of the page", _FILE, **_UNKNOWN)
FILE_IN_FOLDER = _get("pageFileInFolder", "A module of a part of the page", _FILE, **_UNKNOWN)
