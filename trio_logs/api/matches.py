"""`GET /v1/workloads/{id}/matches`: where a filter matches in one log."""

from __future__ import annotations

from quart import Response, request
from quart.wrappers.response import ResponseBody

from ..broker import Matches
from ..errors import IncompleteAnswerError, WorkloadNotFoundError
from ..records import now
from ..selection import Selection
from ..service import Service
from .answers import DrainingError, stream_response
from .openapi.search import MATCHES
from .routes import AppContext, route
from .search_body import NDJSON, SearchBody, admit, encode_line
from .search_parameters import parse_matches_query

__all__ = ["ROUTES", "MatchesStream"]


@route("GET", "/v1/workloads/{workload_id}/matches", MATCHES, takes_slot=True)
async def matches(context: AppContext, workload_id: str) -> Response:
    service = context.service
    selection = parse_matches_query(request.args.items(multi=True), now())
    workload = await service.engine.get(workload_id)
    if service.is_detached:
        raise DrainingError("the service is shutting down: search again when it is back")
    body: ResponseBody | bytes = b""
    if request.method != "HEAD":
        admit(service)
        body = MatchesStream(service, workload_id, selection, workload.lines)
    response = stream_response(body, NDJSON)
    response.headers["Log-Lines"] = str(workload.lines)
    return response


ROUTES = (matches,)


class MatchesStream(SearchBody):
    """The tiles of one log up to line `head`."""

    def __init__(self, service: Service, workload_id: str, selection: Selection, head: int) -> None:
        super().__init__(service)
        self._workload_id = workload_id
        self._selection = selection
        self._head = head
        self._matches: Matches | None = None

    async def step(self) -> bytes:
        if self._matches is None:
            self._matches = Matches(
                self.service.store, self.place, self._workload_id, self._selection, self._head
            )
        try:
            tile = await self._matches.next()
        except WorkloadNotFoundError as error:
            raise IncompleteAnswerError("the workload was deleted") from error
        if tile is None:
            self.is_over = True
            return encode_line({"event": "end", "count": self._matches.count, "lines": self._head})
        return encode_line(
            {"from": tile.first, "to": tile.last, "count": tile.count, "at": tile.at}
        )
