"""A log that is sent to the server, over any number of requests."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping

import anyio
import httpx2
import msgspec

from . import requests
from .answers import decode
from .backoff import Backoff, is_temporary
from .connection import Connection
from .faults import Faults
from .records import Ending, Workload
from .upload import Body, Upload

__all__ = ["push"]

OFFSETS_AT_END = {"stdout": "Upload-Offset", "stderr": "Upload-Offset-Stderr"}
"""The headers by which the answer to an end that does not fit tells the offset of each stream."""


async def push(
    connection: Connection,
    workload_id: str,
    sources: Mapping[str, AsyncIterable[bytes]],
    ending: Ending,
    patience: float | None,
) -> Workload:
    """As `Client.push`; `sources` has the chunks of each stream."""
    uploads = {stream: Upload() for stream in sources}
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        for stream, chunks in sources.items():
            tasks.start_soon(uploads[stream].fill, chunks)
        try:
            return await _send(connection, workload_id, uploads, ending, patience)
        except Exception as error:
            # Raised outside of the group, which would wrap it.
            failure = error
        finally:
            tasks.cancel_scope.cancel()
    assert failure is not None
    raise failure


async def _send(
    connection: Connection,
    workload_id: str,
    uploads: Mapping[str, Upload],
    ending: Ending,
    patience: float | None,
) -> Workload:
    backoff, faults = Backoff(patience, connection.address), Faults()
    url = requests.path(workload_id, "finish")
    while True:
        await _send_streams(connection, workload_id, uploads, patience)
        size = sum(upload.end for upload in uploads.values())
        body = {**msgspec.to_builtins(ending), "bytes": size}
        try:
            answer = await connection.send(connection.http.build_request("POST", url, json=body))
        except httpx2.RequestError as error:
            faults.clear()
            reason = requests.in_words(error)
        else:
            faults.count(answer, connection.address)
            if not is_temporary(answer.status_code):
                backoff.succeeded()
                connection.heard()
                if answer.is_success:
                    return decode(answer, connection.address, Workload)
                for stream, upload in uploads.items():
                    upload.settle(answer, connection.address, OFFSETS_AT_END[stream])
                continue
            reason = f"the server answers {answer.status_code}"
        for upload in uploads.values():
            upload.go_back()
        await connection.pause(backoff.delay(reason, *requests.REQUEST_DELAYS), reason)


async def _send_streams(
    connection: Connection,
    workload_id: str,
    uploads: Mapping[str, Upload],
    patience: float | None,
) -> None:
    """Return once every source has ended and all its bytes were sent."""
    failures: list[Exception] = []

    async def send(stream: str) -> None:
        try:
            await _send_stream(connection, workload_id, stream, uploads[stream], patience)
        except Exception as error:
            failures.append(error)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for stream in uploads:
            tasks.start_soon(send, stream)
    if failures:
        raise failures[0]


async def _send_stream(
    connection: Connection,
    workload_id: str,
    stream: str,
    upload: Upload,
    patience: float | None,
) -> None:
    backoff, faults = Backoff(patience, connection.address), Faults()
    while True:
        upload.check()
        if upload.all_sent:
            return
        try:
            request = _body_request(connection, workload_id, stream, upload)
            answer = await connection.send(request)
        except httpx2.RequestError as error:
            faults.clear()
            reason = requests.in_words(error)
        else:
            faults.count(answer, connection.address)
            if not is_temporary(answer.status_code):
                backoff.succeeded()
                connection.heard()
                upload.settle(answer, connection.address)
                continue
            reason = f"the server answers {answer.status_code}"
        upload.go_back()
        await connection.pause(backoff.delay(reason, *requests.REQUEST_DELAYS), reason)


def _body_request(
    connection: Connection, workload_id: str, stream: str, upload: Upload
) -> httpx2.Request:
    body = Body(upload)
    request = connection.http.build_request(
        "POST",
        requests.path(workload_id, "logs"),
        content=body,
        headers={
            "Content-Type": "application/octet-stream",
            "Upload-Offset": str(upload.sent),
            "Upload-Stream": stream,
        },
        timeout=requests.PUSH_TIMEOUT,
    )
    # httpx2 wraps the body in a generator, and leaves that open if the connection breaks.
    request.stream = body
    return request
