"""The client for scripts without Trio or asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, suppress
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, Unpack

import anyio
from anyio import to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from .client import Client
from .records import (
    ChangeRecord,
    Code,
    Counts,
    Ending,
    LogRecord,
    LogRecords,
    MatchRecord,
    Node,
    SearchRecord,
    Version,
    Workload,
)
from .requests import FollowOptions, ListOptions, SeveralOptions, SubmitOptions
from .search_requests import MatchOptions, SearchOptions

__all__ = ["SyncClient"]

T = TypeVar("T")


class SyncClient:
    """The methods of `Client` for scripts: each call runs in a thread with an event loop."""

    def __init__(self, url: str, token: str | None = None, *, uds: str | None = None) -> None:
        self._client = Client(url, token, uds=uds)
        self._stack = ExitStack()
        self._opened: BlockingPortal | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal("trio"))
            stack.enter_context(portal.wrap_async_context_manager(self._client))
            self._opened = portal
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened = None
        self._stack.__exit__(exc_type, exc_value, traceback)

    @property
    def _portal(self) -> BlockingPortal:
        if self._opened is None:
            raise RuntimeError("use it in a `with` statement: with SyncClient(...) as client: ...")
        return self._opened

    def submit(self, command: Sequence[str], **options: Unpack[SubmitOptions]) -> Workload:
        """See `Client.submit`."""
        return self._portal.call(partial(self._client.submit, command, **options))

    def get(self, workload_id: str) -> Workload:
        """See `Client.get`."""
        return self._portal.call(self._client.get, workload_id)

    def rerun(self, workload_id: str, *, idempotency_key: str | None = None) -> Workload:
        """See `Client.rerun`."""
        return self._portal.call(
            partial(self._client.rerun, workload_id, idempotency_key=idempotency_key)
        )

    def list(
        self, *, limit: int | None = None, **options: Unpack[ListOptions]
    ) -> Iterator[Workload]:
        """See `Client.list`."""
        return self._iterate(self._client.list(limit=limit, **options))

    def count(self, **options: Unpack[ListOptions]) -> Counts:
        """See `Client.count`."""
        return self._portal.call(partial(self._client.count, **options))

    def stop(
        self, workload_id: str, *, grace: float | None = None, signal: str | None = None
    ) -> Workload:
        """See `Client.stop`."""
        return self._portal.call(
            partial(self._client.stop, workload_id, grace=grace, signal=signal)
        )

    def resize(self, workload_id: str, columns: int, rows: int) -> None:
        """See `Client.resize`."""
        self._portal.call(self._client.resize, workload_id, columns, rows)

    def delete(self, workload_id: str) -> None:
        """See `Client.delete`."""
        self._portal.call(self._client.delete, workload_id)

    def make_code(self) -> Code:
        """See `Client.make_code`."""
        return self._portal.call(self._client.make_code)

    def is_unused(self, code: Code) -> bool:
        """See `Client.is_unused`."""
        return self._portal.call(self._client.is_unused, code)

    def nodes(self) -> Sequence[Node]:
        """See `Client.nodes`."""
        return self._portal.call(self._client.nodes)

    def version(self) -> Version:
        """See `Client.version`."""
        return self._portal.call(self._client.version)

    def follow(self, workload_id: str, **options: Unpack[FollowOptions]) -> Iterator[LogRecord]:
        """See `Client.follow`. To leave early, close it with `contextlib.closing`."""
        for records in self.batches(workload_id, **options):
            yield from records

    def batches(
        self, workload_id: str, **options: Unpack[FollowOptions]
    ) -> Iterator[Sequence[LogRecord]]:
        """See `Client.batches`."""
        return self._iterate(self._client.batches(workload_id, **options))

    def raw(self, workload_id: str, **options: Unpack[FollowOptions]) -> bytes:
        """See `Client.raw`."""
        return self._portal.call(partial(self._client.raw, workload_id, **options))

    def position(self) -> str:
        """See `Client.position`."""
        return self._portal.call(self._client.position)

    def events(
        self, after: str | None = None, *, patience: float | None = None
    ) -> Iterator[ChangeRecord]:
        """See `Client.events`. To leave, close it with `contextlib.closing`."""
        return self._iterate(self._client.events(after, patience=patience))

    def follow_several(
        self, workload_ids: Sequence[str], **options: Unpack[SeveralOptions]
    ) -> Iterator[Sequence[LogRecords]]:
        """See `Client.follow_several`. To leave early, close it with `contextlib.closing`."""
        return self._iterate(self._client.follow_several(workload_ids, **options))

    def follow_matching(
        self, labels: Mapping[str, str], *, later: bool = False, **options: Unpack[SeveralOptions]
    ) -> Iterator[Sequence[Workload | LogRecords]]:
        """See `Client.follow_matching`. To leave, close it with `contextlib.closing`."""
        return self._iterate(self._client.follow_matching(labels, later=later, **options))

    def search(self, text: str, **options: Unpack[SearchOptions]) -> Iterator[SearchRecord]:
        """See `Client.search`. To leave early, close it with `contextlib.closing`."""
        for records in self.search_batches(text, **options):
            yield from records

    def search_batches(
        self, text: str, **options: Unpack[SearchOptions]
    ) -> Iterator[Sequence[SearchRecord]]:
        """See `Client.search_batches`."""
        return self._iterate(self._client.search_batches(text, **options))

    def matches(
        self, workload_id: str, text: str, **options: Unpack[MatchOptions]
    ) -> Iterator[MatchRecord]:
        """See `Client.matches`."""
        return self._iterate(self._client.matches(workload_id, text, **options))

    def push(
        self,
        workload_id: str,
        chunks: Iterable[bytes],
        *,
        stderr: Iterable[bytes] | None = None,
        ending: Ending | None = None,
        patience: float | None = None,
    ) -> Workload:
        """See `Client.push`. `chunks` is iterated here, `stderr` in a thread at the same time."""
        send, receive = anyio.create_memory_object_stream[bytes](0)

        async def push() -> Workload:
            async with AsyncExitStack() as stack:
                # If the push fails, closing the channel ends the wait of the sender below.
                stack.enter_context(receive)
                errors = None
                if stderr is not None:
                    errors = await stack.enter_async_context(aclosing(_in_thread(stderr)))
                return await self._client.push(
                    workload_id, receive, stderr=errors, ending=ending, patience=patience
                )

        pushing = self._portal.start_task_soon(push)
        try:
            # The push failed: its result, below, raises the cause.
            with suppress(anyio.BrokenResourceError):
                for chunk in chunks:
                    self._portal.call(send.send, chunk)
        except BaseException:
            pushing.cancel()
            raise
        finally:
            self._portal.call(send.aclose)
        return pushing.result()

    def _iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        try:
            while (item := self._portal.call(anext, items, None)) is not None:
                yield item
        finally:
            self._portal.call(items.aclose)


async def _in_thread(items: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    """The items, each taken in a thread. After a cancellation, the thread is left to end by
    itself."""
    iterator = iter(items)
    while True:
        item = await to_thread.run_sync(next, iterator, None, abandon_on_cancel=True)
        if item is None:
            return
        yield item
