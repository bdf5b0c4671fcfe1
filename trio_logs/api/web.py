"""The routes of the page: its document at each of its addresses, and its files.

None of them needs the token, since they hold no data: the page fetches that with its key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from quart import Response, abort, request

from .answers import no_body
from .joined import joined
from .openapi import web as described
from .routes import AppContext, route

__all__ = ["ROUTES"]

_FOLDER = Path(__file__).parent.parent / "web"
_DOCUMENT = "page.html"
_JOINED = {"joined/main.js": "main.js", "joined/worker.js": "wire/worker.js"}
"""What the document and the page ask for, and the module that each starts with."""

_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    # A cache may keep a file, but asks each time whether it is still the same.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect", "worker")),
            *(f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors")),
            # Only the one policy of the page can make the address of a worker; nothing makes HTML.
            "require-trusted-types-for 'script'",
            "trusted-types trio-logs",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    content_type: str
    etag: str


@route("GET", "/", described.LIST, is_open=True)
async def list_page(context: AppContext) -> Response:
    return _answer(_DOCUMENT)


@route("GET", "/w/{ids}", described.LOG, is_open=True)
async def log_page(context: AppContext, ids: str) -> Response:
    for each in ids.split(","):
        if not re.fullmatch("[A-Za-z0-9_-]{1,64}", each):
            abort(404, f"{each!r} is not the id of a workload")
    return _answer(_DOCUMENT)


@route("GET", "/search", described.SEARCH, is_open=True)
async def search_page(context: AppContext) -> Response:
    return _answer(_DOCUMENT)


@route("GET", "/page/{file}", described.FILE, is_open=True)
async def page_file(context: AppContext, file: str) -> Response:
    return _answer(file)


@route("GET", "/page/{folder}/{file}", described.FILE_IN_FOLDER, is_open=True)
async def page_file_in_folder(context: AppContext, folder: str, file: str) -> Response:
    return _answer(f"{folder}/{file}")


ROUTES = (list_page, log_page, search_page, page_file, page_file_in_folder)


def _answer(name: str) -> Response:
    """The file, or 304 if the client has it. Source: RFC 9110, section 13.1.2."""
    found = _files().get(name)
    if found is None:
        abort(404, f"the page has no file {name!r}")
    headers = {**_HEADERS, "ETag": f'"{found.etag}"'}
    if request.if_none_match.contains_weak(found.etag):
        return no_body(HTTPStatus.NOT_MODIFIED, headers)
    return Response(found.content, headers=headers, content_type=found.content_type)


@cache
def _files() -> Mapping[str, _File]:
    """The files by name. Requests only look names up, so no path leads out of the folder."""
    contents = {
        path.relative_to(_FOLDER).as_posix(): path.read_bytes()
        for path in sorted(_FOLDER.rglob("*.*"))
        if path.suffix in _KINDS
    }
    # The page compares its build with the server's to notice an upgrade of any file.
    build = _digest(b"\0".join((*map(str.encode, contents), *contents.values())))
    contents[_DOCUMENT] = contents[_DOCUMENT].replace(b"BUILD", build.encode())
    modules = {name: text.decode() for name, text in contents.items() if name.endswith(".js")}
    for name, start in _JOINED.items():
        contents[name] = joined(modules, start).encode()
    return {
        name: _File(content, _KINDS[PurePosixPath(name).suffix], _digest(content))
        for name, content in contents.items()
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
