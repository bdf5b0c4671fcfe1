"""`/openapi.json` and `/docs`: what the HTTP side can do, for programs and for people."""

from __future__ import annotations

from functools import cache

import msgspec
from quart import Blueprint, Response

from .document import make_document
from .page import render_page

__all__ = ["description_routes"]


def description_routes() -> Blueprint:
    """The routes of the description; both are open."""
    routes = Blueprint("description", __name__)
    document, page, policy = _description()

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        return Response(document, content_type="application/json")

    @routes.get("/docs")
    async def docs() -> Response:
        headers = {"Content-Security-Policy": policy}
        return Response(page, headers=headers, content_type="text/html; charset=utf-8")

    return routes


@cache
def _description() -> tuple[bytes, bytes, str]:
    """The document, its page, and the policy to serve the page with: the same for all apps."""
    document = make_document()
    page, policy = render_page(document)
    return msgspec.json.encode(document), page, policy
