"""What a server counts."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ServerStatistics"]


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """`connections` are open now; all other fields count since the start. `timed_out_writing` and
    `timed_out_waiting` are connections that the server ended. `refused` were over a limit.
    `exhausted` counts accepts that found no descriptor or memory."""

    connections: int
    accepted: int
    requests: int
    bytes_in: int
    bytes_out: int
    refused: int
    timed_out_writing: int
    timed_out_waiting: int
    failed: int
    exhausted: int
