"""Outlets for tests: what is written to ports is the batch itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trio_logs import Batch

__all__ = ["BatchOutlet"]

SendEach = Callable[[Sequence[int], Any], Sequence[int]]


class BatchOutlet:
    """Gives batches to a function instead of bytes to ports."""

    def __init__(self, send_each: SendEach) -> None:
        self._send_each = send_each

    def render(self, batch: Batch) -> Any:
        return batch

    def choose(self, texts: Mapping[str, str]) -> Mapping[str, str]:
        return texts

    def control(self, record: Any) -> Any:
        return record

    def send_each(self, ports: Sequence[int], chunk: Any) -> Sequence[int]:
        return self._send_each(ports, chunk)
