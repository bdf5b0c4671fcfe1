"""One search of `trio-logs grep`, printed as lines, counts or names."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

from ..client import (
    Client,
    Hit,
    MatchesEnd,
    RefusedError,
    SearchEnd,
    SearchRecord,
    Tile,
    Workload,
)
from ..client.search_requests import MatchOptions, SearchOptions
from ..errors import TrioLogsError, WorkloadNotFoundError
from .choose import options_are_named
from .exits import UsageError
from .hits import HitLook, Hits, fields
from .log_names import LogNames
from .objects import encode_object
from .outputs import Outputs

__all__ = ["Grepping"]

WORDS = {"since": "--since", "until": "--until", "label": "--label", "before": "--resume"}
"""The options whose values the server checks, by its names for them."""


class Grepping:
    """Searches the logs of `chosen`, in that order, or those of all workloads that the options
    select. `most` is how many lines of each log are wanted at most.

    Afterwards, `found` tells whether a line was found, and `errors` has one error for each chosen
    log that could not be searched. Each method raises ClientError, and BrokenPipeError if the
    reader of the output has gone.
    """

    def __init__(
        self,
        client: Client,
        outputs: Outputs,
        look: HitLook,
        options: SearchOptions,
        chosen: Sequence[Workload],
        errors: list[TrioLogsError],
        most: int | None,
        *,
        json: bool,
    ) -> None:
        self._client = client
        self._outputs = outputs
        self._look = look
        self._options: SearchOptions = {**options, **_filter_options(look)}
        self._chosen = chosen
        self.errors = errors
        self._most = most
        self._json = json
        self._names = LogNames(client, chosen)
        self._hits = Hits(look, colour=outputs.stdout.colour)
        # A single log needs no name.
        self._shows_names = look.names
        if look.names is None:
            self._shows_names = len(chosen) + len(errors) != 1
        self.found = False

    async def lines(self, limit: int | None, resume: str | None) -> None:
        """Print the lines, `limit` at most, from the position `resume` on."""
        options: SearchOptions = {**self._options, "context": self._look.context}
        if self._most is not None:
            options["per_workload"] = self._most
        logs: list[Workload | None] = [*self._chosen] or [None]
        if resume is not None:
            options["before"] = resume
            if self._chosen:
                logs = self._from(resume)
            self._hits.resume(resume)
        count, position = 0, None
        while logs and position is None:
            workload = logs.pop(0)
            if limit is not None:
                options["limit"] = limit - count
            end = await self._print_lines(options, workload)
            count += end.count
            options.pop("before", None)
            position = end.next and self._hits.position(end.next)
            if position is None and count == limit and logs and logs[0] is not None:
                position = f"{logs[0].id}.0.0"
        self.found = count > 0
        if self._json:
            end_fields = {"event": "end", "count": count, "complete": position is None}
            await self._write(encode_object({**end_fields, "next": position}))
        if position is not None:
            await self._outputs.notice(
                f"--limit {limit} ended the search; to go on, add --resume {position}"
            )

    def _from(self, position: str) -> list[Workload | None]:
        """The chosen logs from that of a position on."""
        ids = [workload.id for workload in self._chosen]
        workload_id = position.rsplit(".", 2)[0]
        if workload_id not in ids:
            raise UsageError(f"--resume {position!r}: it is of none of the given logs")
        return [*self._chosen[ids.index(workload_id) :]]

    async def _print_lines(self, options: SearchOptions, workload: Workload | None) -> SearchEnd:
        end = SearchEnd(0, 0, True, None)
        async with aclosing(self._search(options, workload)) as batches:
            async for records in batches:
                data: list[bytes] = []
                for record in records:
                    if isinstance(record, SearchEnd):
                        end = record
                    elif isinstance(record, Hit):
                        wanted = self._hits.wanted(record)
                        data += [await self._rendered(hit) for hit in wanted]
                await self._write(b"".join(data))
        return end

    async def _rendered(self, hit: Hit) -> bytes:
        if self._json:
            return encode_object(fields(hit))
        name = await self._names.of(hit.workload) if self._shows_names else None
        return self._hits.render(hit, name).encode()

    async def look(self) -> None:
        """Print nothing; end once a line is found."""
        async with aclosing(self._logs_with_lines()) as found:
            async for _ in found:
                self.found = True
                return

    async def names(self) -> None:
        """Print the name of each log that has a line."""
        async with aclosing(self._logs_with_lines()) as found:
            async for workload_id in found:
                self.found = True
                await self._print_log(workload_id)

    async def names_without(self) -> None:
        """Print the name of each log that has none."""
        async with aclosing(self._counts(most=1)) as counts:
            async for workload, count in counts:
                self.found = self.found or count > 0
                if count == 0:
                    await self._print_log(workload.id)

    async def count(self) -> None:
        """Print how many lines of each log there are."""
        async with aclosing(self._counts(self._most)) as counts:
            async for workload, count in counts:
                self.found = self.found or count > 0
                await self._print_log(workload.id, count)

    async def _logs_with_lines(self) -> AsyncGenerator[str, None]:
        options: SearchOptions = {**self._options, "per_workload": 1}
        logs: list[Workload | None] = [*self._chosen] or [None]
        for workload in logs:
            async with aclosing(self._search(options, workload)) as batches:
                async for records in batches:
                    for record in records:
                        if isinstance(record, Hit):
                            yield record.workload

    async def _counts(self, most: int | None) -> AsyncGenerator[tuple[Workload, int], None]:
        async with aclosing(self._selected()) as workloads:
            async for workload in workloads:
                if (count := await self._count(workload, most)) is not None:
                    yield workload, count

    async def _selected(self) -> AsyncGenerator[Workload, None]:
        labels, status = self._options["labels"], self._options["status"]
        if not self._chosen:
            async with aclosing(self._client.list(labels=labels, status=status)) as workloads:
                async for workload in workloads:
                    yield workload
        for workload in self._chosen:
            has_status = not status or workload.status in status
            if has_status and labels.items() <= workload.labels.items():
                yield workload

    async def _count(self, workload: Workload, most: int | None) -> int | None:
        """How many lines of a log there are, `most` at most; None if it was deleted."""
        own = ("regex", "case", "invert", "since", "until", "stream", "patience")
        options: Any = {name: value for name, value in self._options.items() if name in own}
        matches: MatchOptions = options
        count = 0
        pattern = self._look.pattern.filter
        with self._deletion_is_noted(workload), options_are_named(WORDS):
            async with aclosing(self._client.matches(workload.id, pattern, **matches)) as records:
                async for record in records:
                    if isinstance(record, Tile):
                        count += record.count
                    if most is not None and count >= most:
                        return most
                    if isinstance(record, MatchesEnd):
                        return count
        return None

    async def _print_log(self, workload_id: str, count: int | None = None) -> None:
        """Print the name of a log, or the number of its lines."""
        if self._json:
            counted = {} if count is None else {"count": count}
            await self._write(encode_object({"workload": workload_id, **counted}))
            return
        name = None
        if count is None or self._shows_names:
            name = await self._names.of(workload_id)
        await self._write(self._hits.render_log(name, count).encode())

    async def _search(
        self, options: SearchOptions, workload: Workload | None
    ) -> AsyncGenerator[Sequence[SearchRecord], None]:
        """The records of one search: in the log of this workload, or in all."""
        if workload is not None:
            options = {**options, "workloads": [workload.id]}
        found = self._client.search_batches(self._look.pattern.filter, **options)
        with self._deletion_is_noted(workload), options_are_named(WORDS):
            async with aclosing(found) as batches:
                async for records in batches:
                    yield records

    @contextmanager
    def _deletion_is_noted(self, workload: Workload | None) -> Iterator[None]:
        """Go on after a 404: the log was there before, so it was deleted. That is an error only if
        the user named the log."""
        try:
            yield
        except RefusedError as error:
            if error.status != 404 or workload is None:
                raise
            if self._chosen:
                why = f"{workload.id} was deleted before its log was searched to the end"
                self.errors.append(WorkloadNotFoundError(why))

    async def _write(self, data: bytes) -> None:
        if data:
            await self._outputs.write(self._outputs.stdout, data)


def _filter_options(look: HitLook) -> SearchOptions:
    pattern = look.pattern
    return {"regex": pattern.regex, "case": not pattern.ignore_case, "invert": look.invert}
