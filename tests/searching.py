"""What the tests of searches share: logs, and what a search of them must find."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.stores import append
from trio_logs.filtering import visible
from trio_logs.records import Batch, Gap, Outcome, Reason, Status, Workload, WorkloadSpec
from trio_logs.store import Store

__all__ = ["END", "HOUR", "Log", "batch_of", "expected_search", "objects", "put"]

HOUR = 3_600_000_000
END = Outcome(Status.SUCCEEDED, exit_code=0, reason=Reason.EXITED)

Log = Sequence[Batch | Gap]


def batch_of(
    first: int, lines: Iterable[str], *, time: int = HOUR, stream: str = "stdout", **flags: bool
) -> Batch:
    """A batch of these lines."""
    lines = list(lines)
    data = "".join(line + "\n" for line in lines).encode()
    return Batch(first, len(lines), time, stream, data, **flags)


async def put(
    store: Store,
    workload_id: str,
    records: Log,
    *,
    labels: Mapping[str, str] | None = None,
    name: str | None = None,
    ended: bool = True,
) -> None:
    """Make a workload with this log."""
    spec = WorkloadSpec(("true",), name=name, labels=dict(labels or {}))
    await store.create(Workload(workload_id, spec, 1))
    await store.start(workload_id, 2)
    await append(
        store, workload_id, records, outcome=END if ended else None, finished_at=3 if ended else 0
    )


def objects(body: bytes) -> list[dict[str, Any]]:
    """The objects of an answer in NDJSON, which has to end with a whole line."""
    *lines, rest = body.split(b"\n")
    assert rest == b""
    return [json.loads(line) for line in lines]


def expected_search(
    logs: Mapping[str, Log],
    word: str,
    *,
    limit: int = 1000,
    per_workload: int | None = None,
    context: int = 0,
    stream: str | None = None,
) -> list[tuple[str, int, bool]]:
    """The lines that a search over these logs finds: workload, number, and whether it is context.

    By the words of the contract, line by line.
    """
    found: list[tuple[str, int, bool]] = []
    left = limit
    for workload_id in sorted(logs, reverse=True):
        lines = {
            number: (record.stream, visible(line).decode())
            for record in logs[workload_id]
            if isinstance(record, Batch)
            for number, line in enumerate(record.lines, record.first)
        }
        matching = [
            number
            for number, (of, line) in sorted(lines.items())
            if word in line and stream in (None, of)
        ]
        wanted = matching[: min(left, per_workload or left)]
        left -= len(wanted)
        following = matching[len(wanted)] if len(wanted) < len(matching) else None
        for number in sorted(lines):
            if number in wanted:
                found.append((workload_id, number, False))
            elif any(abs(number - each) <= context for each in wanted) and (
                following is None or number < following
            ):
                found.append((workload_id, number, True))
        if not left:
            break
    return found
