"""A log that is sent to the server, over any number of requests."""

from __future__ import annotations

from collections.abc import AsyncIterable

import anyio
import httpx2
import msgspec

from . import requests
from .answers import decode
from .backoff import Backoff, is_temporary
from .connection import Connection
from .records import Ending, Workload
from .upload import Body, Upload

__all__ = ["push"]


async def push(
    connection: Connection,
    workload_id: str,
    chunks: AsyncIterable[bytes],
    ending: Ending,
    patience: float | None,
) -> Workload:
    """As `Client.push`."""
    upload = Upload()
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(upload.fill, chunks)
        try:
            return await _send(connection, workload_id, upload, ending, patience)
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
    upload: Upload,
    ending: Ending,
    patience: float | None,
) -> Workload:
    backoff = Backoff(patience, connection.address)
    while True:
        upload.check()
        finishing = upload.all_sent
        try:
            if finishing:
                body = {**msgspec.to_builtins(ending), "bytes": upload.end}
                url = requests.path(workload_id, "finish")
                request = connection.http.build_request("POST", url, json=body)
            else:
                request = _body_request(connection, workload_id, upload)
            answer = await connection.send(request)
        except httpx2.RequestError as error:
            reason = requests.in_words(error)
        else:
            if not is_temporary(answer.status_code):
                backoff.succeeded()
                connection.heard()
                if finishing and answer.is_success:
                    return decode(answer, connection.address, Workload)
                upload.settle(answer, connection.address)
                continue
            reason = f"the server answers {answer.status_code}"
        upload.go_back()
        await connection.pause(backoff.delay(reason, *requests.PUSH_DELAYS), reason)


def _body_request(connection: Connection, workload_id: str, upload: Upload) -> httpx2.Request:
    body = Body(upload)
    request = connection.http.build_request(
        "POST",
        requests.path(workload_id, "logs"),
        content=body,
        headers={
            "Content-Type": "application/octet-stream",
            "Upload-Offset": str(upload.sent),
        },
        timeout=requests.PUSH_TIMEOUT,
    )
    # httpx2 wraps the body in a generator, and leaves that open if the connection breaks.
    request.stream = body
    return request
