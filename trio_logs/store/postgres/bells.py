"""What a commit tells the other nodes: one notification of PostgreSQL, with ids alone.

A commit that notifies takes a lock of the whole server, so there is one notification for a group of
writes, not one for each. https://www.postgresql.org/docs/current/sql-notify.html
"""

from __future__ import annotations

import json
from collections.abc import Set
from dataclasses import dataclass, field

__all__ = ["Bell", "Heard", "hear"]

MAX_BYTES = 7_900
"""PostgreSQL takes payloads of less than 8,000 bytes."""


@dataclass(slots=True)
class Bell:
    """What a transaction has to tell. `logs` are those that it has changed, and `buried` those that
    this node watches, too, although the change is its own. `work`: a workload waits for a node, or
    there is a request."""

    logs: set[str] = field(default_factory=set)
    buried: set[str] = field(default_factory=set)
    changes: bool = False
    work: bool = False

    def payload(self, sender: str) -> str | None:
        """The payload, in ASCII; None if there is nothing to tell. `sender` names the store."""
        if not (self.logs or self.buried or self.changes or self.work):
            return None
        flags = ("c" if self.changes else "") + ("w" if self.work else "")
        told = [sender, flags, sorted(self.logs), sorted(self.buried)]
        payload = json.dumps(told, separators=(",", ":"))
        if len(payload) > MAX_BYTES:
            payload = json.dumps([sender, flags, None, [] if not self.buried else None])
        return payload


@dataclass(frozen=True, slots=True)
class Heard:
    """What a bell tells this node. `logs` is None for all logs."""

    logs: Set[str] | None
    changes: bool
    work: bool


def hear(payload: str, receiver: str) -> Heard:
    """What a bell tells the store of that name. What is no bell of ours tells everything."""
    try:
        sender, flags, logs, buried = json.loads(payload)
        told = None if buried is None else frozenset[str](buried)
        if sender == receiver:
            # The store has told its own changes.
            return Heard(told, False, "w" in flags)
        if logs is None or told is None:
            return Heard(None, "c" in flags, "w" in flags)
        return Heard(told.union(logs), "c" in flags, "w" in flags)
    except (ValueError, TypeError):
        return Heard(None, True, True)
