"""The routes by which a client writes the log of a `push` workload: its bytes, and its end."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from quart import Response, request

from ..backends.inbox import STREAMS, Inbox, moved
from ..errors import ConflictError, InvalidRequestError, NotReadyError, OffsetError
from ..records import Outcome, Reason, Status
from ..service import Service
from .answers import UnsupportedMediaError, json_response, no_content
from .bodies import FinishRequest, WorkloadRecord
from .headers import single_header
from .openapi import push as described
from .request_body import BODY
from .routes import AppContext, route
from .workloads import decode

__all__ = ["ROUTES", "upload_offsets"]


@route("POST", "/v1/workloads/{workload_id}/logs", described.PUSH, streams_body=True)
async def receive(context: AppContext, workload_id: str) -> Response:
    if request.args:
        raise InvalidRequestError(
            "there are no parameters: the header Upload-Stream names the stream"
        )
    single_header("Content-Type")
    codings = ",".join(request.headers.getlist("Content-Encoding")).lower().split(",")
    if not {coding.strip() for coding in codings} <= {"", "identity"}:
        raise UnsupportedMediaError("send the bytes as they are, without a Content-Encoding")
    stream = single_header("Upload-Stream")
    if stream is None:
        stream = "stdout"
    elif stream not in STREAMS:
        raise InvalidRequestError("Upload-Stream: it is `stdout` or `stderr`")
    inbox = await _find(context.service, workload_id)
    body: Any = request.scope["extensions"][BODY]
    async with _owned(context.service, workload_id):
        durable = await inbox.receive(body, _offset(), stream)
    return no_content({"Upload-Offset": str(durable)})


@route("POST", "/v1/workloads/{workload_id}/finish", described.FINISH)
async def finish(context: AppContext, workload_id: str) -> Response:
    data = await request.get_data()
    body = decode(data, FinishRequest) if data.strip() else FinishRequest()
    outcome = _outcome(body)
    engine = context.service.engine
    known = await engine.get(workload_id)
    if not (known.spec.backend == "push" and known.status.final):
        inbox = await _find(context.service, workload_id)
        async with _owned(context.service, workload_id):
            await inbox.finish(outcome, body.bytes)
        known = await engine.finished(workload_id)
        if not known.status.final and not context.service.draining:
            raise moved()
        if not known.status.final:
            raise NotReadyError("the service is shutting down: finish it when it is back")
    if (known.status, known.exit_code, known.signal) != (
        outcome.status,
        outcome.exit_code,
        outcome.signal,
    ):
        raise ConflictError(f"the workload is {known.status}: it ended in another way")
    return json_response(WorkloadRecord.of(known))


ROUTES = (receive, finish)


async def _find(service: Service, workload_id: str) -> Inbox:
    """The inbox that takes the bytes of a workload.

    Raises WorkloadNotFoundError, ConflictError if its log takes no bytes, and NotReadyError
    while the service starts or shuts down.
    """
    inbox = service.push.inbox(workload_id)
    if inbox is not None and not inbox.is_fenced:
        return inbox
    workload = await service.engine.get(workload_id)
    if workload.spec.backend != "push":
        raise ConflictError(
            f"its lines come from the backend {workload.spec.backend!r}, not from clients"
        )
    if workload.status.final:
        raise ConflictError(f"the workload is {workload.status}: its log has ended")
    # With a shared store, the client went on here: another node had the log.
    if await service.engine.take_over(workload_id):
        inbox = service.push.inbox(workload_id)
        if inbox is not None and not inbox.is_fenced:
            return inbox
    raise NotReadyError("the service is starting or shutting down: go on when it is back")


@asynccontextmanager
async def _owned(service: Service, workload_id: str) -> AsyncIterator[None]:
    """A client that has sent more to another node must not be told to go back: raise NotReadyError
    for an OffsetError if another node has the log."""
    try:
        yield
    except OffsetError:
        if await service.engine.owns(workload_id):
            raise
        raise moved() from None


async def upload_offsets(service: Service, workload_id: str) -> dict[str, str]:
    """Headers that say how many bytes of each stream of a pushed log are durable. Raises
    StoreError."""
    log = await service.store.log(workload_id)
    streams = {} if log is None else log.streams
    sizes = [streams[name].bytes if name in streams else 0 for name in STREAMS]
    return dict(zip(("Upload-Offset", "Upload-Offset-Stderr"), map(str, sizes), strict=True))


def _outcome(body: FinishRequest) -> Outcome:
    """The outcome that the client reports."""
    if body.signal is not None:
        error = f"The command was ended by {body.signal}."
        return Outcome(Status.FAILED, body.exit_code, body.signal, error, Reason.SIGNALED)
    if body.exit_code:
        error = f"The command exited with {body.exit_code}."
        return Outcome(Status.FAILED, body.exit_code, error=error, reason=Reason.EXITED)
    return Outcome(Status.SUCCEEDED, body.exit_code, reason=Reason.EXITED)


def _offset() -> int:
    given = single_header("Upload-Offset")
    if given is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,18}", given):
        raise InvalidRequestError("Upload-Offset: it is a number of bytes")
    return int(given)
