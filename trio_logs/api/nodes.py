"""`GET /v1/nodes`: the nodes of a shared store, or this service alone."""

from __future__ import annotations

from quart import Response

from .answers import json_response
from .bodies import NodeList, NodeRecord
from .openapi import service as described
from .routes import AppContext, route

__all__ = ["ROUTES"]


@route("GET", "/v1/nodes", described.NODES)
async def nodes(context: AppContext) -> Response:
    found = await context.service.list_nodes()
    return json_response(NodeList([NodeRecord.of(node) for node in found]))


ROUTES = (nodes,)
