"""The routes that describe the API: its version, and its description for programs and people."""

from __future__ import annotations

from functools import cache

import msgspec
from quart import Response

from .. import __version__
from .answers import json_response
from .bodies import Version
from .openapi import service as described
from .openapi.document import make_document
from .openapi.page import render_page
from .routes import AppContext, RouteTable, route

__all__ = ["ROUTES"]


@route("GET", "/openapi.json", described.OPENAPI, is_open=True)
async def openapi(context: AppContext) -> Response:
    document, _, _ = _described(context.table)
    return Response(document, content_type="application/json")


@route("GET", "/docs", described.DOCS, is_open=True)
async def docs(context: AppContext) -> Response:
    _, page, policy = _described(context.table)
    headers = {"Content-Security-Policy": policy}
    return Response(page, headers=headers, content_type="text/html; charset=utf-8")


@route("GET", "/v1/version", described.VERSION)
async def version(context: AppContext) -> Response:
    return json_response(Version(__version__))


ROUTES = (openapi, docs, version)


@cache
def _described(table: RouteTable) -> tuple[bytes, bytes, str]:
    """The document, its page, and the policy to serve the page with: the same for all apps."""
    document = make_document(table)
    page, policy = render_page(document)
    return msgspec.json.encode(document), page, policy
