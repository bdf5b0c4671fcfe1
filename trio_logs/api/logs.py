"""`GET /v1/workloads/{id}/logs`: a log as a stream."""

from __future__ import annotations

import re
from functools import partial
from typing import Any
from urllib.parse import quote

from quart import Response, request
from quart.wrappers.response import ResponseBody

from ..records import now
from ..server import PORT
from .answers import DrainingError, no_content, stream_response
from .headers import single_header
from .openapi.log import READ
from .push import upload_offsets
from .query import LogQuery, accepted, parse_log_query
from .routes import AppContext, route
from .slots import SLOT, StreamSlot
from .stream import LogStream

__all__ = ["ROUTES"]


@route("GET", "/v1/workloads/{workload_id}/logs", READ, takes_slot=True, takes_code=True)
async def logs(context: AppContext, workload_id: str) -> Response:
    service = context.service
    query = parse_log_query(
        request.args.items(multi=True),
        accepted(request.headers.getlist("Accept")),
        single_header("Last-Event-ID"),
        now(),
    )
    after = query.after
    is_head = request.method == "HEAD"
    workload = None
    if is_head or after in ("end", "stop") or not service.engine.is_live(workload_id):
        workload = await service.engine.get(workload_id)
    # A stream that follows begins at once, also while the store fails.
    settled = is_head or not query.follow
    known = {"Log-Lines": str(await service.broker.head(workload_id, settled=settled))}
    if after == "stop" or (after == "end" and workload is not None and workload.status.final):
        # The client has all that it asked for; 204 stops an EventSource from reconnecting.
        return no_content(known)
    if service.is_detached:
        raise DrainingError("the service is shutting down: resume when it is back")
    body: ResponseBody | bytes = b""
    if not is_head:
        extensions: Any = request.scope["extensions"]
        slot: StreamSlot = extensions[SLOT]
        slot.take()
        read = partial(
            service.broker.read,
            workload_id,
            query.selection,
            after=after,
            follow=query.follow,
            unfinished=query.unfinished,
            must_exist=True,
        )
        if service.broker.is_failing:
            # Before the answer begins: later, an error could only cut it.
            with read() as probe:
                await probe.check()
        body = LogStream(
            read(),
            query.format,
            service.settings.heartbeat,
            extensions.get(PORT),
            service.shutdown_retry,
        )
    response = _response(body, workload_id, query)
    response.headers.update(known)
    if is_head and workload is not None and workload.spec.backend == "push":
        response.headers.update(await upload_offsets(service, workload_id))
    return response


ROUTES = (logs,)


def _response(body: ResponseBody | bytes, workload_id: str, query: LogQuery) -> Response:
    response = stream_response(body, query.format.content_type)
    if query.download is not None:
        name = query.download or f"{workload_id}.log"
        # RFC 6266, section 4.3: the plain form is for ASCII names only.
        plain = f'filename="{name}"' if re.fullmatch(r"[\w .-]+", name, re.ASCII) else ""
        response.headers["Content-Disposition"] = "attachment; " + (
            plain or f"filename*=UTF-8''{quote(name, safe='')}"
        )
    return response
