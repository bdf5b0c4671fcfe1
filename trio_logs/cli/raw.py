"""Print a log as the exact bytes that its workload wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ..client import Client, Line, LogRecord
from ..client.requests import FollowOptions
from .outputs import Outputs
from .printer import Look, Printer

__all__ = ["RawPrinter"]

_KEPT = ("stream", "filter", "regex", "case", "invert", "patience")
"""The options that also matter between two line numbers. Times of a log never step back, so
`since` and `until` hide no line there."""


class RawPrinter(Printer):
    """Prints both streams of a log on standard output.

    The records have the text of a line, but neither its line end nor bytes that are not UTF-8. They
    tell which lines there are, and survive broken connections; the bytes are asked for by numbers.
    """

    def __init__(
        self, client: Client, outputs: Outputs, look: Look, workload_id: str, options: FollowOptions
    ) -> None:
        super().__init__(outputs, look, workload_id)
        self._client = client
        kept = {name: value for name, value in options.items() if name in _KEPT}
        self._options = cast(FollowOptions, kept)

    async def print(self, records: Sequence[LogRecord]) -> None:
        """See `Printer.print`. Raises ClientError, too."""
        run: list[Line] = []
        for record in records:
            if isinstance(record, Line):
                run.append(record)
            else:
                await self._print_bytes(run)
                run = []
                await self._print_one(record)
        await self._print_bytes(run)

    async def _print_bytes(self, run: Sequence[Line]) -> None:
        """Print lines, whose numbers grow."""
        if run:
            options: FollowOptions = {**self._options, "first": run[0].seq, "last": run[-1].seq}
            data = await self._client.raw(self._workload_id, **options)
            await self._outputs.write(self._outputs.stdout, data)
