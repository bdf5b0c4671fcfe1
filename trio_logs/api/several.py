"""`GET /v1/logs`: several logs in one stream."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from quart import Response, request
from quart.wrappers.response import ResponseBody

from ..broker import LogPlace
from ..errors import WorkloadNotFoundError
from ..records import now
from ..server import PORT, Port
from ..service import Service
from .answers import DrainingError, no_content, stream_response
from .headers import single_header
from .openapi.several import READ_SEVERAL
from .query import accepted
from .routes import AppContext, route
from .several_query import SeveralQuery, parse_several_query
from .several_stream import SeveralStream
from .slots import SLOT, StreamSlot

__all__ = ["ROUTES"]


@route("GET", "/v1/logs", READ_SEVERAL, takes_slot=True)
async def several(context: AppContext) -> Response:
    service = context.service
    query = parse_several_query(
        request.args.items(multi=True),
        accepted(request.headers.getlist("Accept")),
        single_header("Last-Event-ID"),
        now(),
    )
    places = await _look_up(service, query.places)
    if places and all(place.ended for place in places) and not query.events:
        # The client has the ends of all; 204 stops an EventSource from reconnecting.
        return no_content()
    if service.is_detached:
        raise DrainingError("the service is shutting down: resume when it is back")
    body: ResponseBody | bytes = b""
    if request.method != "HEAD":
        extensions: Any = request.scope["extensions"]
        slot: StreamSlot = extensions[SLOT]
        slot.take()
        if service.broker.is_failing:
            # Before the answer begins: later, an error could only cut it.
            await _probe(service, places)
        body = await _stream(service, query, places, extensions.get(PORT))
    return stream_response(body, query.format.events.log.content_type)


ROUTES = (several,)


async def _look_up(service: Service, places: Sequence[LogPlace]) -> list[LogPlace]:
    """The logs, each with whether the client has its end. Raises WorkloadNotFoundError if all logs
    of which it lacks the end are unknown."""
    found = []
    is_any_known = False
    for place in places:
        ended = False
        if place.after == "end":
            try:
                ended = (await service.engine.get(place.workload_id)).status.final
            except WorkloadNotFoundError:
                # Its last record was `gone`, or it was deleted after its end.
                ended = True
            is_any_known = True
        elif not is_any_known:
            is_any_known = await _is_known(service, place.workload_id)
        found.append(replace(place, ended=ended))
    if places and not is_any_known:
        ids = ", ".join(repr(place.workload_id) for place in places[:3])
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        raise WorkloadNotFoundError(f"there is no workload {ids}{more}")
    return found


async def _is_known(service: Service, workload_id: str) -> bool:
    if service.engine.is_live(workload_id):
        return True
    with suppress(WorkloadNotFoundError):
        await service.engine.get(workload_id)
        return True
    return False


async def _probe(service: Service, places: Sequence[LogPlace]) -> None:
    """Raises StoreError if the first lines of a log need a store that fails."""
    for place in places:
        if not place.ended:
            reading = service.broker.read(place.workload_id, place.selection, after=place.after)
            with reading as probe:
                await probe.check()


async def _stream(
    service: Service, query: SeveralQuery, places: Sequence[LogPlace], port: Port | None
) -> SeveralStream:
    merging = service.broker.merge(places, follow=query.follow, unfinished=query.unfinished)
    changes, start = None, 0
    if query.events:
        changes = service.engine.changes.read(query.events_after, bell=merging.bell)
        # Before the answer begins: later, an error could only cut it.
        await changes.load()
        start = changes.position if query.events_after is None else query.events_after
    return SeveralStream(
        merging,
        [place.workload_id for place in places],
        query.format,
        service.settings.heartbeat,
        port,
        changes=changes,
        start=start,
        stays_open=query.events and query.follow,
        retry=service.shutdown_retry,
    )
