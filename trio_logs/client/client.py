"""The client for Trio, and for asyncio."""

from __future__ import annotations

import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self, Unpack
from urllib.parse import urlsplit

import anyio
import httpx2
import msgspec

from ..addresses import is_loopback
from . import requests
from .errors import UnreachableError
from .records import Ending, LogRecord, Workload
from .requests import FollowOptions, SubmitOptions
from .resume import Backoff, Outage, Resume, is_temporary
from .upload import Body, Upload

__all__ = ["Client"]


class Client:
    """A connection to one server; use it as a context manager.

    Every method raises RefusedError when the server says no, and UnreachableError when it can't be
    reached. Times are in seconds. `uds` is the path of the server's unix socket, if it has one. A
    proxy that the environment names (`https_proxy`) is used for servers on other machines only.

    `on_outage` is called when the server is away for more than 3 s while a log is followed or
    pushed, with a few words on it: once, until the server is heard again.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        uds: str | None = None,
        on_outage: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        # Without TLS there is nothing to verify, and the authorities take 50 ms to load.
        verify = url.lower().startswith("https:")
        # With a transport of its own it uses no proxy of the environment, which would be shown the
        # token, and would mean another machine by the same address.
        is_here = uds is not None or is_loopback(urlsplit(url).hostname or "")
        self._on_outage = on_outage
        self._outage = Outage()
        self._address = url if uds is None else f"unix:{uds}"
        self._http = httpx2.AsyncClient(
            base_url=url,
            headers=requests.headers(token),
            timeout=requests.TIMEOUT,
            verify=verify,
            transport=httpx2.AsyncHTTPTransport(uds=uds, verify=verify) if is_here else None,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(exc_type, exc_value, traceback)

    async def submit(self, command: Sequence[str], **options: Unpack[SubmitOptions]) -> Workload:
        """Have a command run, or another backend's workload."""
        body = requests.submission(command, options)
        key = options.get("idempotency_key")
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = await self._request("POST", "/v1/workloads", json=body, headers=headers)
        return msgspec.json.decode(answer, type=Workload)

    async def get(self, workload_id: str) -> Workload:
        """One workload."""
        answer = await self._request("GET", requests.path(workload_id))
        return msgspec.json.decode(answer, type=Workload)

    async def list(
        self,
        *,
        status: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Workload, None]:
        """Workloads, newest first, fetched page by page: all, or `limit` at most."""
        before, left = None, limit
        while left != 0:
            query = requests.page_query(status, labels, before, left)
            answer = await self._request("GET", "/v1/workloads", params=query)
            page = msgspec.json.decode(answer, type=requests.Page)
            for workload in page.workloads:
                yield workload
            before = page.next
            if before is None:
                return
            if left is not None:
                left -= len(page.workloads)

    async def stop(self, workload_id: str, *, grace: float | None = None) -> Workload:
        """Ask a workload to end: TERM now, KILL after the grace. Doing it again does nothing."""
        body = {} if grace is None else {"grace": grace}
        answer = await self._request("POST", requests.path(workload_id, "stop"), json=body)
        return msgspec.json.decode(answer, type=Workload)

    async def delete(self, workload_id: str) -> None:
        """Forget a finished workload and its log."""
        await self._request("DELETE", requests.path(workload_id))

    async def follow(
        self, workload_id: str, **options: Unpack[FollowOptions]
    ) -> AsyncGenerator[LogRecord, None]:
        """The log from its first line to its end: each line once, whatever happens to connections.

        To leave early, close it with `contextlib.aclosing`.
        """
        async with aclosing(self.batches(workload_id, **options)) as batches:
            async for records in batches:
                for record in records:
                    yield record

    async def batches(
        self, workload_id: str, **options: Unpack[FollowOptions]
    ) -> AsyncGenerator[Sequence[LogRecord], None]:
        """As `follow`, but as many records at a time as have arrived: for much output."""
        resume = Resume(options)
        url = requests.path(workload_id, "logs")
        while not resume.done:
            reason = "the server ended the stream"
            complete = False
            # When the server began to be away, as far as is known.
            since: float | None = time.monotonic()
            try:
                async with self._http.stream(
                    "GET",
                    url,
                    params=resume.query,
                    headers=resume.begin(),
                    timeout=requests.FOLLOW_TIMEOUT,
                ) as answer:
                    if answer.status_code == httpx2.codes.NO_CONTENT:
                        return
                    if answer.is_success:
                        self._outage.over()
                        since = None
                        async with _chunks(answer) as chunks:
                            async for data in chunks:
                                if records := resume.feed(data):
                                    yield records
                        complete = True
                    elif is_temporary(answer.status_code):
                        reason = f"the server answers {answer.status_code}"
                    else:
                        await answer.aread()
                        requests.read(answer)
            except httpx2.TransportError as error:
                reason = requests.in_words(error)
            # Whatever happened: what has arrived counts, or a bad network would stop all progress.
            if records := resume.flush():
                yield records
            if complete:
                resume.finished()
            if not resume.done:
                await self._pause(resume.delay(reason), reason, since)

    async def push(
        self,
        workload_id: str,
        chunks: AsyncIterable[bytes],
        *,
        ending: Ending | None = None,
        patience: float | None = None,
    ) -> Workload:
        """Send the log of a workload that was submitted with `backend="push"`, and then its end.

        What `chunks` gives is readable at once, and asked for no faster than the server takes it;
        2 MiB are held at most. Connections that break and servers that restart cost time, and no
        byte: `patience` is how many seconds to go on trying when nothing is heard, by default for
        ever. `ending` is read when `chunks` has ended, so it may be filled in until then.

        If `chunks` raises, so does this, and the workload is not ended.
        """
        upload = Upload()
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upload.fill, chunks)
            try:
                return await self._push(workload_id, upload, ending or Ending(), patience)
            except Exception as error:
                # Outside of the group, so that it is raised as it is.
                failure = error
            finally:
                tasks.cancel_scope.cancel()
        assert failure is not None
        raise failure

    async def _push(
        self, workload_id: str, upload: Upload, ending: Ending, patience: float | None
    ) -> Workload:
        backoff = Backoff(patience)
        while True:
            upload.check()
            finishing = upload.all_sent
            try:
                if finishing:
                    body = {**msgspec.to_builtins(ending), "bytes": upload.end}
                    url = requests.path(workload_id, "finish")
                    answer = await self._http.post(url, json=body)
                else:
                    answer = await self._http.send(self._body_request(workload_id, upload))
            except httpx2.TransportError as error:
                reason = requests.in_words(error)
            else:
                if not is_temporary(answer.status_code):
                    backoff.succeeded()
                    self._outage.over()
                    if finishing and answer.is_success:
                        return msgspec.json.decode(requests.read(answer), type=Workload)
                    upload.settle(answer)
                    continue
                reason = f"the server answers {answer.status_code}"
            upload.go_back()
            await self._pause(backoff.delay(reason, *requests.PUSH_DELAYS), reason)

    async def _pause(self, seconds: float, reason: str, since: float | None = None) -> None:
        """Between two attempts, of which the first failed. `since`: the server has not answered
        from then on, in monotonic seconds; by default, from now."""
        if self._outage.is_to_be_told(since) and self._on_outage is not None:
            await self._on_outage(f"{self._address} is away: {reason}")
        await anyio.sleep(seconds)

    def _body_request(self, workload_id: str, upload: Upload) -> httpx2.Request:
        body = Body(upload)
        request = self._http.build_request(
            "POST",
            requests.path(workload_id, "logs"),
            content=body,
            headers={
                "Content-Type": "application/octet-stream",
                "Upload-Offset": str(upload.sent),
            },
            timeout=requests.PUSH_TIMEOUT,
        )
        # Without the generator around it, which nobody would close if the connection breaks.
        request.stream = body
        return request

    async def _request(self, method: str, url: str, **arguments: Any) -> bytes:
        try:
            return requests.read(await self._http.request(method, url, **arguments))
        except httpx2.TransportError as error:
            reason = requests.in_words(error)
            raise UnreachableError(f"{self._address} does not answer: {reason}") from error


@asynccontextmanager
async def _chunks(answer: httpx2.Response) -> AsyncIterator[AsyncIterator[bytes]]:
    """The body of an answer, piece by piece."""
    pieces = answer.aiter_bytes()
    try:
        yield pieces
    finally:
        await answer.aclose()
        # Left early, httpx2 leaves generators within this one to the garbage collector, of which
        # Trio warns. Reading on from what is closed ends them all.
        with suppress(httpx2.HTTPError, httpx2.StreamError, anyio.ClosedResourceError):
            async for _ in pieces:
                pass
