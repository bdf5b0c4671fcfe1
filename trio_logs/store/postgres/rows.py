"""Workload records as rows, and texts as the bytes of a column."""

from __future__ import annotations

from typing import overload

import msgspec

from ...records import End, Outcome, Status, Workload, WorkloadSpec

__all__ = ["WORKLOAD", "binary", "text", "to_end", "to_workload"]

WORKLOAD = (
    "w.id, w.spec, w.created_at, w.status, w.started_at, w.finished_at, w.exit_code, w.signal,"
    " w.error, w.reason, w.node, w.rerun_of, l.lines, l.bytes"
)
"""What `to_workload` takes, of `workloads AS w` and `logs AS l`."""

_decode_spec = msgspec.json.Decoder(WorkloadSpec).decode
_decode_outcome = msgspec.json.Decoder(Outcome).decode


@overload
def binary(value: str) -> bytes: ...


@overload
def binary(value: str | None) -> bytes | None: ...


def binary(value: str | None) -> bytes | None:
    """A text as a column of bytes has it."""
    return None if value is None else value.encode(errors="surrogatepass")


def text(value: bytes | None) -> str | None:
    """The text of such a column."""
    return None if value is None else value.decode(errors="surrogatepass")


def to_end(outcome: bytes | None, lines: int, size: int) -> End | None:
    """The end of a log with that column and these totals; None if it has not ended."""
    return None if outcome is None else End(_decode_outcome(outcome), lines, size)


def to_workload(
    workload_id: bytes,
    spec: bytes,
    created_at: int,
    status: str,
    started_at: int | None,
    finished_at: int | None,
    exit_code: int | None,
    signal: bytes | None,
    error: bytes | None,
    reason: bytes | None,
    node: bytes | None,
    rerun_of: bytes | None,
    lines: int,
    size: int,
) -> Workload:
    """The record of a row of WORKLOAD."""
    return Workload(
        workload_id.decode(errors="surrogatepass"),
        _decode_spec(spec),
        created_at,
        Status(status),
        started_at=started_at,
        finished_at=finished_at,
        exit_code=exit_code,
        signal=text(signal),
        error=text(error),
        reason=text(reason),
        node=text(node),
        rerun_of=text(rerun_of),
        lines=lines,
        bytes=size,
    )
