"""What the bodies of answers to searches share: a place among the searches, and how they stop."""

from __future__ import annotations

from abc import abstractmethod
from types import TracebackType
from typing import Any, Self

import msgspec
from quart import request
from quart.wrappers.response import ResponseBody

from ..broker import Place
from ..errors import IncompleteAnswerError
from ..service import Service
from .slots import SLOT, StreamSlot

__all__ = ["NDJSON", "SearchBody", "admit", "encode_line"]

NDJSON = "application/x-ndjson"


def admit(service: Service) -> None:
    """Count the current request as a stream and as a search. Raises BusyError if there are too many
    of either."""
    extensions: Any = request.scope["extensions"]
    slot: StreamSlot = extensions[SLOT]
    slot.take()
    slot.hold(service.broker.searches.admit())


def encode_line(value: object) -> bytes:
    """One object of NDJSON."""
    return msgspec.json.encode(value) + b"\n"


class SearchBody(ResponseBody):
    """The body of one answer. It holds its place among the searches from entry to exit.

    Raises IncompleteAnswerError if the answer must not look complete, and StoreError.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.place: Place
        # Set it with the last chunk.
        self.is_over = False

    async def __aenter__(self) -> Self:
        self.place = self.service.broker.searches.place().__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.place.__exit__(exc_type, exc_value, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self.is_over:
            raise StopAsyncIteration
        chunk = b""
        while not chunk:
            if self.service.is_detached:
                raise IncompleteAnswerError("the server is shutting down")
            chunk = await self.step()
        return chunk

    @abstractmethod
    async def step(self) -> bytes:
        """Look at a little more; return what is to be sent, perhaps nothing."""
