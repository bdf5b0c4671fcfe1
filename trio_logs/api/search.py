"""`GET /v1/search`: lines that match, over the logs of many workloads."""

from __future__ import annotations

from typing import Any

from quart import Response, request
from quart.wrappers.response import ResponseBody

from ..records import now
from .answers import DrainingError
from .matches import ndjson_response
from .openapi.search import SEARCH
from .routes import AppContext, route
from .search_parameters import parse_search_query
from .search_stream import SearchStream
from .searched_workloads import SearchedWorkloads
from .slots import SLOT, StreamSlot

__all__ = ["ROUTES"]


@route("GET", "/v1/search", SEARCH, takes_slot=True)
async def search(context: AppContext) -> Response:
    service = context.service
    query = parse_search_query(request.args.items(multi=True), now())
    workloads = SearchedWorkloads(service.engine, query)
    await workloads.check()
    if service.draining:
        raise DrainingError("the service is shutting down: search again when it is back")
    body: ResponseBody | bytes = b""
    if request.method != "HEAD":
        extensions: Any = request.scope["extensions"]
        slot: StreamSlot = extensions[SLOT]
        slot.take()
        slot.hold(service.broker.searches.admit())
        body = SearchStream(service, query, workloads)
    return ndjson_response(body)


ROUTES = (search,)
