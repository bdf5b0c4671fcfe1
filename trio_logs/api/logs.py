"""`GET /v1/workloads/{id}/logs`: a log as a stream."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import trio
from quart import Response, request
from quart.wrappers.response import ResponseBody

from ..broker import Subscription
from ..errors import IncompleteAnswerError, WorkloadNotFoundError
from ..records import Batch, Detached, End, Record, Reset, now
from ..server import PORT, Port
from ..service import Service
from .answers import DrainingError, no_content
from .headers import single_header
from .openapi.log import READ
from .query import LogQuery, accepted, parse_log_query
from .routes import AppContext, route
from .slots import SLOT, StreamSlot

__all__ = ["ROUTES", "LogStream"]

CHUNKS_AT_ONCE = 2
"""What a stream writes to its port before it lets others go on. With one, a reader of a log at full
speed that was held up for a moment stayed behind, until it had to read the store, at twice the
cost."""

UNTIL_SLACK = 1.0
"""How long after `until` a stream still waits for lines that were written before it, in seconds."""


@route("GET", "/v1/workloads/{workload_id}/logs", READ, takes_slot=True)
async def logs(context: AppContext, workload_id: str) -> Response:
    service = context.service
    query = parse_log_query(
        request.args.items(multi=True),
        accepted(request.headers.getlist("Accept")),
        single_header("Last-Event-ID"),
        now(),
    )
    is_head = request.method == "HEAD"
    workload = None
    if is_head or query.after == "end" or not service.engine.is_live(workload_id):
        workload = await service.engine.get(workload_id)
        if query.after == "end" and workload.status.final:
            # The client has the end already; 204 stops an EventSource from reconnecting.
            return no_content()
    if service.draining:
        raise DrainingError("the service is shutting down: resume when it is back")
    body: ResponseBody | bytes = b""
    if not is_head:
        extensions: Any = request.scope["extensions"]
        slot: StreamSlot = extensions[SLOT]
        slot.take()
        body = LogStream(service, workload_id, query, extensions.get(PORT))
    response = _response(body, workload_id, query)
    if is_head and workload is not None and workload.spec.backend == "push":
        response.headers["Upload-Offset"] = str(workload.bytes)
    return response


ROUTES = (logs,)


def _response(body: ResponseBody | bytes, workload_id: str, query: LogQuery) -> Response:
    response = Response(body, content_type=query.format.content_type)
    response.headers.pop("Content-Length", None)
    response.headers["Cache-Control"] = "no-cache, no-store, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    if query.download is not None:
        name = query.download or f"{workload_id}.log"
        # RFC 6266, section 4.3: the plain form is for ASCII names only.
        plain = f'filename="{name}"' if re.fullmatch(r"[\w .-]+", name, re.ASCII) else ""
        response.headers["Content-Disposition"] = "attachment; " + (
            plain or f"filename*=UTF-8''{quote(name, safe='')}"
        )
    # A stream lasts as long as its workload runs and its reader reads: no time limit.
    response.timeout = None
    return response


class LogStream(ResponseBody):
    """The body of one answer. It subscribes when it is entered, without waiting, so nothing leaks
    when the client leaves in between. A chunk is about 64 KiB: written to the port, or
    returned if there is none or it is not open."""

    def __init__(
        self,
        service: Service,
        workload_id: str,
        query: LogQuery,
        port: Port | None = None,
    ) -> None:
        self._query = query
        self._port = port
        self._heartbeat = service.settings.heartbeat
        live_only = query.selection.tail == 0
        self._subscription: Subscription = service.broker.subscribe(
            workload_id, None if live_only else 1, must_exist=True
        )
        self._opened = False
        self._located = False
        self._done = False
        # The last line of an answer that does not follow, or no more; None while it does.
        self._stop_after: int | None = None
        self._is_over = False
        self._beat_at = math.inf

    async def __aenter__(self) -> Self:
        self._subscription.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._subscription.__exit__(exc_type, exc_value, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            for _ in range(CHUNKS_AT_ONCE):
                chunk = await self._next()
                self._beat_at = trio.current_time() + self._heartbeat
                if not self._sent(chunk):
                    return chunk
            await trio.lowlevel.checkpoint()

    def _sent(self, chunk: bytes) -> bool:
        """Whether the port took the chunk, which spares it the way through the framework."""
        if self._port is None:
            return False
        return not self._port.outlet.send_each((self._port.number,), chunk)

    async def _next(self) -> bytes:
        if not self._opened:
            self._opened = True
            self._beat_at = trio.current_time() + self._heartbeat
            if self._query.format.opening:
                await trio.lowlevel.checkpoint()
                return self._query.format.opening
        if self._located and self._stop_after is None:
            # The common case of a busy log, without a scope: a checkpoint follows soon, by the
            # write or after a few of them.
            await trio.lowlevel.checkpoint_if_cancelled()
            chunk = self._render_all(self._subscription.ready())
            if chunk:
                return chunk
        while not self._done:
            # A point in time: lines that are filtered out must not put the next beat off.
            until_at = self._until_at()
            self._is_over = until_at <= trio.current_time()
            deadline = self._beat_at if self._is_over else min(self._beat_at, until_at)
            with trio.move_on_at(deadline) as waiting:
                chunk = await self._step()
            if waiting.cancelled_caught:
                # What was pushed meanwhile was a sign of life, too.
                pushed_at = self._subscription.pushed_at
                self._beat_at = max(self._beat_at, pushed_at + self._heartbeat)
                if trio.current_time() < self._beat_at:
                    continue
                self._beat_at = trio.current_time() + self._heartbeat
                chunk = self._query.format.keep_alive
            if chunk:
                return chunk
        raise StopAsyncIteration

    def _until_at(self) -> float:
        """When a stream that follows will reach `until`, on Trio's clock; it may have already."""
        until = self._query.selection.until
        left = math.inf if until is None else (until - now()) / 1_000_000 + UNTIL_SLACK
        return trio.current_time() + left

    async def _step(self) -> bytes:
        """The next records, rendered; empty if all of them are filtered out or it is the end."""
        try:
            if not self._located:
                # Marked as done in the same step in which it is done: a heartbeat may interrupt it.
                reset = await self._locate()
                self._located = True
                if reset is not None:
                    return self._query.format.control(reset)
            if self._is_over and self._stop_after is None:
                # All that was written in time is known now, and this reader still gets it.
                self._stop_after = self._subscription.head
            if self._stop_after is not None and self._subscription.passed(self._stop_after):
                self._done = True
                return b""
            records = await self._subscription.receive()
        except WorkloadNotFoundError:
            # Deleted since the request came in; a client that returns gets 404.
            self._done = True
            return b""
        return self._render_all(records)

    def _render_all(self, records: Sequence[Record]) -> bytes:
        rendered = [self._render(record) for record in records]
        return rendered[0] if len(rendered) == 1 else b"".join(rendered)

    async def _locate(self) -> Reset | None:
        """Find the first line that is asked for."""
        selection, after = self._query.selection, self._query.after
        reset = None
        head = await self._subscription.load()
        if not self._query.follow:
            self._stop_after = head
        start = 1
        if after == "end":
            reset = Reset("not_ended", "the log has not ended; it follows from its first line")
        elif after is not None:
            start = after + 1
            if after > head:
                detail = f"this log goes to line {head} only; it follows from its first line"
                reset = Reset("beyond_head", detail)
                start = 1
        if selection.tail != 0 and (selection.tail is not None or selection.since is not None):
            start = max(start, await self._subscription.seek(selection, head))
        if selection.tail != 0:
            self._subscription.move(start)
        filtered = selection.stream or selection.since is not None or selection.until is not None
        if self._port is not None and self._query.follow and not filtered:
            # While this waits, what is published is written without it.
            send_each = self._port.outlet.send_each
            self._subscription.push_to(self._port.number, self._query.format.render, send_each)
        return reset

    def _render(self, record: Record) -> bytes:
        query = self._query
        if not isinstance(record, Batch):
            self._done = isinstance(record, End | Detached)
            frame = query.format.control(record)
            if isinstance(record, Detached) and not frame:
                # The bytes alone can't say that there are more.
                raise IncompleteAnswerError("the server shuts down before the end of this log")
            return frame
        if self._stop_after is not None and record.first > self._stop_after:
            self._done = True
            return b""
        if query.selection.until is not None and record.time > query.selection.until:
            # Times of a log never step back: nothing that is asked for can follow but the end.
            self._done = not self._subscription.skip_to_end()
            return b""
        return query.format.render(record) if query.selection.admits(record) else b""
