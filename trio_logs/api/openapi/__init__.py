"""`/openapi.json` and `/docs`: what the HTTP side can do, for programs and for people."""

from __future__ import annotations

from quart import Blueprint, Response

from ..answers import json_response
from .document import make_document
from .page import render_page

__all__ = ["description_routes"]


def description_routes() -> Blueprint:
    """The routes of the description; both are open."""
    routes = Blueprint("description", __name__)
    document = make_document()
    page, policy = render_page(document)

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        return json_response(document)

    @routes.get("/docs")
    async def docs() -> Response:
        headers = {"Content-Security-Policy": policy}
        return Response(page, headers=headers, content_type="text/html; charset=utf-8")

    return routes
