"""`GET /v1/workloads/{id}/matches`: where a filter matches in one log."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import msgspec
from quart import Response, request
from quart.wrappers.response import ResponseBody

from ..broker import Matches, Place
from ..errors import IncompleteAnswerError, WorkloadNotFoundError
from ..records import now
from ..selection import Selection
from ..service import Service
from .answers import DrainingError
from .openapi.search import MATCHES
from .routes import AppContext, route
from .search_parameters import parse_matches_query
from .slots import SLOT, StreamSlot

__all__ = ["ROUTES", "MatchesStream", "ndjson_response"]


@route("GET", "/v1/workloads/{workload_id}/matches", MATCHES, takes_slot=True)
async def matches(context: AppContext, workload_id: str) -> Response:
    service = context.service
    selection = parse_matches_query(request.args.items(multi=True), now())
    workload = await service.engine.get(workload_id)
    if service.draining:
        raise DrainingError("the service is shutting down: search again when it is back")
    body: ResponseBody | bytes = b""
    if request.method != "HEAD":
        extensions: Any = request.scope["extensions"]
        slot: StreamSlot = extensions[SLOT]
        slot.take()
        slot.hold(service.broker.searches.admit())
        body = MatchesStream(service, workload_id, selection, workload.lines)
    response = ndjson_response(body)
    response.headers["Log-Lines"] = str(workload.lines)
    return response


ROUTES = (matches,)


def ndjson_response(body: ResponseBody | bytes) -> Response:
    """A streamed answer of a search."""
    response = Response(body, content_type="application/x-ndjson")
    response.headers.pop("Content-Length", None)
    response.headers["Cache-Control"] = "no-cache, no-store, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    # A search lasts as long as its logs are long and its reader reads: no time limit.
    response.timeout = None
    return response


class MatchesStream(ResponseBody):
    """The body of one answer. It holds its place among the searches from entry to exit.

    Raises IncompleteAnswerError if the answer must not look complete, and StoreError.
    """

    def __init__(self, service: Service, workload_id: str, selection: Selection, head: int) -> None:
        self._service = service
        self._workload_id = workload_id
        self._selection = selection
        self._head = head
        self._place: Place
        self._matches: Matches
        self._is_over = False

    async def __aenter__(self) -> Self:
        self._place = self._service.broker.searches.place().__enter__()
        self._matches = Matches(
            self._service.store, self._place, self._workload_id, self._selection, self._head
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._place.__exit__(exc_type, exc_value, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._is_over:
            raise StopAsyncIteration
        if self._service.draining:
            raise IncompleteAnswerError("the server is shutting down")
        try:
            tile = await self._matches.next()
        except WorkloadNotFoundError as error:
            raise IncompleteAnswerError("the workload was deleted") from error
        if tile is None:
            self._is_over = True
            return _line({"event": "end", "count": self._matches.count, "lines": self._head})
        return _line({"from": tile.first, "to": tile.last, "count": tile.count, "at": tile.at})


def _line(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"
