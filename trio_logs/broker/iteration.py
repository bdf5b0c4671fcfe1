"""Records one by one, from a reader that receives them in groups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Generic, Self, TypeVar

import trio

__all__ = ["OneByOne"]

R = TypeVar("R")


class OneByOne(ABC, Generic[R]):
    """A reader that can be iterated. Use either iteration or `receive`: iteration keeps the records
    that it has received but not handed out yet."""

    def __init__(self) -> None:
        # Bound: one `receive`.
        self._received: deque[R] = deque()

    @abstractmethod
    async def receive(self) -> Sequence[R]:
        """Wait for the next records; never nothing. Raises trio.EndOfChannel after the last one."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        if self._received:
            await trio.lowlevel.checkpoint()
        else:
            try:
                self._received.extend(await self.receive())
            except trio.EndOfChannel:
                raise StopAsyncIteration from None
        return self._received.popleft()
