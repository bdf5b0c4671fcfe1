"""`GET /v1/search`: lines that match, over the logs of many workloads."""

from __future__ import annotations

from quart import Response, request
from quart.wrappers.response import ResponseBody

from ..records import now
from .answers import DrainingError, stream_response
from .openapi.search import SEARCH
from .routes import AppContext, route
from .search_body import NDJSON, admit
from .search_parameters import parse_search_query
from .search_stream import SearchStream
from .searched_workloads import SearchedWorkloads

__all__ = ["ROUTES"]


@route("GET", "/v1/search", SEARCH, takes_slot=True)
async def search(context: AppContext) -> Response:
    service = context.service
    query = parse_search_query(request.args.items(multi=True), now())
    workloads = SearchedWorkloads(service.engine, query)
    await workloads.check()
    if service.is_detached:
        raise DrainingError("the service is shutting down: search again when it is back")
    body: ResponseBody | bytes = b""
    if request.method != "HEAD":
        admit(service)
        body = SearchStream(service, query, workloads)
    return stream_response(body, NDJSON)


ROUTES = (search,)
