"""`GET /v1/events`: changes of workloads as a stream."""

from __future__ import annotations

from typing import Any

from quart import Response, request

from ..errors import InvalidRequestError
from ..server import PORT
from .answers import DrainingError, stream_response
from .event_format import EVENTS, NDJSON
from .event_stream import EventStream
from .headers import single_header
from .openapi.events import READ
from .parameters import collect
from .query import accepted, representation
from .routes import AppContext, route
from .slots import SLOT, StreamSlot

__all__ = ["ROUTES"]

_NEVER = 10**18
"""Positions with more digits are beyond every head."""


@route("GET", "/v1/events", READ, takes_slot=True)
async def events(context: AppContext) -> Response:
    service = context.service
    given = collect(request.args.items(multi=True), {"last_event_id"})
    offered = {form.media_type: form for form in (EVENTS, NDJSON)}
    accept = accepted(request.headers.getlist("Accept"))
    form = representation(accept, offered, "changes of workloads are")
    # The header wins; both must be valid.
    ids = [given.get("last_event_id"), single_header("Last-Event-ID")]
    after = [None, *(_position(each) for each in ids if each)][-1]
    if service.is_detached:
        raise DrainingError("the service is shutting down: resume when it is back")
    if request.method == "HEAD":
        return stream_response(b"", form.log.content_type)
    extensions: Any = request.scope["extensions"]
    slot: StreamSlot = extensions[SLOT]
    slot.take()
    reader = service.engine.changes.read(after)
    # Before the answer begins: later, an error could only cut it.
    await reader.load()
    body = EventStream(
        reader, form, service.settings.heartbeat, extensions.get(PORT), service.shutdown_retry
    )
    return stream_response(body, form.log.content_type)


ROUTES = (events,)


def _position(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise InvalidRequestError(
            f"{text[:80]!r} is not an id of these events: send back the last `id`, or the"
            " `position` of a list, or none"
        )
    return int(text) if len(text) <= 18 else _NEVER
