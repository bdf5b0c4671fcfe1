"""The client for scripts without Trio or asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, Unpack

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from .client import Client
from .records import ChangeRecord, Ending, LogRecord, Workload
from .requests import FollowOptions, SubmitOptions

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

    def list(
        self,
        *,
        status: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Workload]:
        """See `Client.list`."""
        return self._iterate(self._client.list(status=status, labels=labels, limit=limit))

    def stop(self, workload_id: str, *, grace: float | None = None) -> Workload:
        """See `Client.stop`."""
        return self._portal.call(partial(self._client.stop, workload_id, grace=grace))

    def delete(self, workload_id: str) -> None:
        """See `Client.delete`."""
        self._portal.call(self._client.delete, workload_id)

    def follow(self, workload_id: str, **options: Unpack[FollowOptions]) -> Iterator[LogRecord]:
        """See `Client.follow`. To leave early, close it with `contextlib.closing`."""
        for records in self.batches(workload_id, **options):
            yield from records

    def batches(
        self, workload_id: str, **options: Unpack[FollowOptions]
    ) -> Iterator[Sequence[LogRecord]]:
        """See `Client.batches`."""
        return self._iterate(self._client.batches(workload_id, **options))

    def position(self) -> str:
        """See `Client.position`."""
        return self._portal.call(self._client.position)

    def events(
        self, after: str | None = None, *, patience: float | None = None
    ) -> Iterator[ChangeRecord]:
        """See `Client.events`. To leave, close it with `contextlib.closing`."""
        return self._iterate(self._client.events(after, patience=patience))

    def push(
        self,
        workload_id: str,
        chunks: Iterable[bytes],
        *,
        ending: Ending | None = None,
        patience: float | None = None,
    ) -> Workload:
        """See `Client.push`."""
        send, receive = anyio.create_memory_object_stream[bytes](0)

        async def push() -> Workload:
            # If the push fails, closing the channel ends the wait of the sender below.
            with receive:
                return await self._client.push(
                    workload_id, receive, ending=ending, patience=patience
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
