"""What nodes tell each other: one notification of PostgreSQL for each commit, with ids alone.

A commit that notifies takes a lock of the whole server, so there is one notification for a group of
writes, not one for each. https://www.postgresql.org/docs/current/sql-notify.html
"""

from __future__ import annotations

import json
from base64 import b85decode, b85encode
from collections.abc import Set
from dataclasses import dataclass, field

__all__ = ["Bell", "Heard", "asking", "hear", "showing"]

MAX_BYTES = 7_900
"""PostgreSQL takes payloads of less than 8,000 bytes."""


@dataclass(slots=True)
class Bell:
    """What a transaction tells the nodes. `logs` are the logs that it has changed; the node of this
    transaction knows of these changes. `all_nodes` are logs that it has changed for another node,
    so this node needs the notification, too. `changes`: records have changed. `work`: a workload
    waits for a node, or a request waits for an owner."""

    logs: set[str] = field(default_factory=set)
    all_nodes: set[str] = field(default_factory=set)
    changes: bool = False
    work: bool = False

    def payload(self, sender: str) -> str | None:
        """The payload, in ASCII; None if there is nothing to tell. `sender` names the store."""
        if not (self.logs or self.all_nodes or self.changes or self.work):
            return None
        flags = ("c" if self.changes else "") + ("w" if self.work else "")
        payload = _encode([sender, flags, sorted(self.logs), sorted(self.all_nodes)])
        if len(payload) > MAX_BYTES:
            payload = _encode([sender, flags, None, None if self.all_nodes else []])
        return payload


def asking(sender: str, workload_id: str) -> str:
    """The payload that asks for the unfinished lines of a log."""
    return _encode([sender, "?", workload_id])


def showing(sender: str, workload_id: str, content: bytes) -> str:
    """The payload that shows the unfinished lines of a log."""
    return _encode([sender, "=", workload_id, b85encode(content).decode()])


def _encode(told: list[object]) -> str:
    # ASCII alone: the database may have any encoding.
    return json.dumps(told, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Heard:
    """What a notification tells this node. `logs` is None for all logs. `asked` is a log whose
    unfinished lines another node asks for, and `shown` a log with such lines."""

    logs: Set[str] | None = frozenset()
    changes: bool = False
    work: bool = False
    asked: str | None = None
    shown: tuple[str, bytes] | None = None


def hear(payload: str, receiver: str) -> Heard:
    """What a payload tells the store with the name `receiver`. Every role of the database may
    notify: a payload that this version can't read means that anything may have changed."""
    try:
        sender, kind, *told = json.loads(payload)
        own = sender == receiver
        if kind in ("?", "="):
            if own:
                return Heard()
            if kind == "?":
                return Heard(asked=str(told[0]))
            return Heard(shown=(str(told[0]), b85decode(told[1])))
        logs, all_nodes = told
        if all_nodes is None or (logs is None and not own):
            heard = None
        else:
            heard = frozenset[str](all_nodes).union(() if own else logs)
        # A store tells its own changes of records itself.
        return Heard(heard, "c" in kind and not own, "w" in kind)
    except (ValueError, TypeError, IndexError, RecursionError):
        # RecursionError: the payload nests more deeply than `json` can follow.
        return Heard(None, True, True)
