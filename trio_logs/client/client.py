"""The client for Trio, and for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from . import codes, following, pushing, requests
from .about import AboutServer
from .answers import check_empty, decode
from .changes import ChangesResume
from .connection import Connection
from .matching import MatchesResume
from .raw import RawLogs
from .records import (
    ChangeRecord,
    Code,
    Counts,
    Ending,
    LogRecord,
    MatchRecord,
    SearchRecord,
    Workload,
)
from .requests import FollowOptions, ListOptions, SubmitOptions
from .resumable import Resumable
from .resume import Resume
from .search_requests import MatchOptions, SearchOptions
from .searching import SearchResume
from .several import SeveralLogs

__all__ = ["Client"]

T = TypeVar("T")


class Client(SeveralLogs, RawLogs, AboutServer):
    """A client of one server; use it as a context manager.

    `uds` is the path of the server's unix socket, if it has one. A proxy that the environment names
    (`https_proxy`) is used for servers on other machines only.

    `on_outage` is called with a sentence when the server is away for more than 3 s while a log is
    followed or pushed: once for each outage.

    Times are in seconds. Every method raises RefusedError when the server refuses, UnreachableError
    when no answer comes, and ClientError for an answer that is not the service's.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        uds: str | None = None,
        on_outage: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._connection = Connection(url, token, uds, on_outage)

    async def __aenter__(self) -> Self:
        await self._connection.http.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connection.http.__aexit__(exc_type, exc_value, traceback)

    async def submit(self, command: Sequence[str], **options: Unpack[SubmitOptions]) -> Workload:
        """Submit a workload: a command, or the parameters of another backend."""
        body = requests.submission(command, options)
        key = options.get("idempotency_key")
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = await self._connection.ask("POST", "/v1/workloads", json=body, headers=headers)
        return decode(answer, self._connection.address, Workload)

    async def rerun(self, workload_id: str, *, idempotency_key: str | None = None) -> Workload:
        """Submit a workload with the specification of another one. A second call with the same
        `idempotency_key` returns the first workload."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        url = requests.path(workload_id, "rerun")
        answer = await self._connection.ask("POST", url, headers=headers)
        return decode(answer, self._connection.address, Workload)

    async def get(self, workload_id: str) -> Workload:
        """One workload."""
        answer = await self._connection.ask("GET", requests.path(workload_id))
        return decode(answer, self._connection.address, Workload)

    async def list(
        self, *, limit: int | None = None, **options: Unpack[ListOptions]
    ) -> AsyncGenerator[Workload, None]:
        """Workloads, newest first, fetched page by page: all, or `limit` at most."""
        before, left = None, limit
        while left != 0:
            query = requests.page_query(options, before, left)
            answer = await self._connection.ask("GET", "/v1/workloads", params=query)
            page = decode(answer, self._connection.address, requests.Page)
            for workload in page.workloads:
                yield workload
            before = page.next
            if before is None:
                return
            if left is not None:
                left -= len(page.workloads)

    async def count(self, **options: Unpack[ListOptions]) -> Counts:
        """How many workloads `list` would return, and how many there are of each status."""
        query = [*requests.list_query(options), ("limit", "1"), ("counts", "true")]
        answer = await self._connection.ask("GET", "/v1/workloads", params=query)
        return decode(answer, self._connection.address, Counts)

    async def stop(
        self, workload_id: str, *, grace: float | None = None, signal: str | None = None
    ) -> Workload:
        """Ask a workload to end: TERM now, or the signal of that name, such as SIGINT; KILL after
        the grace. A later call sends its own signal, and can only shorten the grace."""
        given = (("grace", grace), ("signal", signal))
        body = {name: value for name, value in given if value is not None}
        url = requests.path(workload_id, "stop")
        answer = await self._connection.ask("POST", url, json=body)
        return decode(answer, self._connection.address, Workload)

    async def resize(self, workload_id: str, columns: int, rows: int) -> None:
        """Give the terminal of a running workload another size, in characters."""
        url = requests.path(workload_id, "resize")
        size = {"columns": columns, "rows": rows}
        check_empty(await self._connection.ask("POST", url, json=size), self._connection.address)

    async def delete(self, workload_id: str) -> None:
        """Delete a finished workload and its log."""
        answer = await self._connection.ask("DELETE", requests.path(workload_id))
        check_empty(answer, self._connection.address)

    async def make_code(self) -> Code:
        """Make a code that signs a browser in, once."""
        return await codes.make(self._connection)

    async def is_unused(self, code: Code) -> bool:
        """Whether a code was not used yet, and has not expired."""
        return await codes.is_unused(self._connection, code)

    def follow(
        self, workload_id: str, **options: Unpack[FollowOptions]
    ) -> AsyncGenerator[LogRecord, None]:
        """The log from its first line to its end: each line once, also over broken connections.

        An answer that is not a log counts against `patience`, as no answer does. If the workload is
        deleted before its last line is read, a Gap with reason `deleted` comes, and then
        RefusedError with status 404 is raised. To leave early, close it with `contextlib.aclosing`.
        """
        return _each(self.batches(workload_id, **options))

    def batches(
        self, workload_id: str, **options: Unpack[FollowOptions]
    ) -> AsyncGenerator[Sequence[LogRecord], None]:
        """As `follow`, but in lists of the records that have arrived: faster for much output."""
        resume = Resume(options, self._connection.address)
        return following.follow(self._connection, requests.path(workload_id, "logs"), resume)

    async def position(self) -> str:
        """The position of now among the `events`. Take it before a list: the events after it have
        every change that the list lacks."""
        answer = await self._connection.ask("GET", "/v1/workloads", params={"limit": "1"})
        return decode(answer, self._connection.address, requests.Position).position

    def events(
        self, after: str | None = None, *, patience: float | None = None
    ) -> AsyncGenerator[ChangeRecord, None]:
        """Changes of workloads after a position, by default new ones, over any number of
        connections and restarts of the server.

        A `WorkloadChanged` has the newest state of its workload. After a Reset, changes are
        missing: list the workloads again. An answer that has no events counts against `patience`,
        in seconds, as no answer does. It never ends: close it with `contextlib.aclosing`.
        """
        resume: Resumable[Any] = ChangesResume(after, patience, self._connection.address)
        return _each(following.follow(self._connection, "/v1/events", resume))

    def search(
        self, text: str, **options: Unpack[SearchOptions]
    ) -> AsyncGenerator[SearchRecord, None]:
        """The lines that have a text, or match it as an RE2 expression with `regex`, in the logs of
        workloads, newest workload first: each line once, also over broken connections.

        The last record is a SearchEnd; `Progress` comes at least once a second. A server that is
        busy with other searches counts against `patience`.
        """
        return _each(self.search_batches(text, **options))

    def search_batches(
        self, text: str, **options: Unpack[SearchOptions]
    ) -> AsyncGenerator[Sequence[SearchRecord], None]:
        """As `search`, but in lists of the records that have arrived."""
        resume = SearchResume(text, options, self._connection.address)
        return following.follow(self._connection, "/v1/search", resume)

    def matches(
        self, workload_id: str, text: str, **options: Unpack[MatchOptions]
    ) -> AsyncGenerator[MatchRecord, None]:
        """How many lines of a log `search` finds, and where: tiles without a hole, up to the last
        line that is known when it begins, and a MatchesEnd."""
        resume = MatchesResume(text, options, self._connection.address)
        url = requests.path(workload_id, "matches")
        return _each(following.follow(self._connection, url, resume))

    async def push(
        self,
        workload_id: str,
        chunks: AsyncIterable[bytes],
        *,
        stderr: AsyncIterable[bytes] | None = None,
        ending: Ending | None = None,
        patience: float | None = None,
    ) -> Workload:
        """Send the log of a workload that was submitted with `backend="push"`, and then its end.

        Each line is readable at once. The chunks of `stderr` go to the stream of that name, over a
        connection of their own. The client takes no more chunks than the server takes, and holds
        2 MiB of each stream at most. A broken connection or a restart of the server loses no byte.
        `patience`: seconds to try without an answer, by default without limit. A service that
        answers 500 for 60 s raises RefusedError all the same. `ending` is read
        after the last chunk, so it may be filled in until then.

        If `chunks` or `stderr` raises, so does this, and the workload is not ended.
        """
        streams = {"stdout": chunks} if stderr is None else {"stdout": chunks, "stderr": stderr}
        return await pushing.push(
            self._connection, workload_id, streams, ending or Ending(), patience
        )


async def _each(batches: AsyncGenerator[Sequence[T], None]) -> AsyncGenerator[T, None]:
    async with aclosing(batches):
        async for records in batches:
            for record in records:
                yield record
