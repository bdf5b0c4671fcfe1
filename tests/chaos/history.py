"""What clients have seen, with times in seconds since the run began."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tests.chaos.nodes import Exit

__all__ = [
    "FINAL",
    "Event",
    "Fault",
    "Final",
    "History",
    "Pushed",
    "Run",
    "Submitted",
    "Text",
    "told",
]

Kind = Literal[
    "open",  # a connection to `node`, which answers 200; `first` is the position that it asked for
    "line",  # `first` is its number
    "gap",  # `first` to `last`; `text` is the reason
    "reset",  # `text` is the reason
    "end",  # `first` is `lines`; `text` the status
    "stop",  # an answer that does not follow has ended
    "shutdown",  # `first` is `retry` in ms
    "cut",  # the connection was cut, or is silent
    "refused",  # `first` is the status of the answer
]


class Event(NamedTuple):
    """One thing that a reader saw at a node."""

    at: float
    kind: Kind
    node: str
    first: int = 0
    last: int = 0
    text: str = ""


@dataclass
class History:
    """All that one reader saw of a log, over all its connections. `way` is how it reads: `sse` and
    `ndjson` follow to the end, `past` reads what is there."""

    name: str
    workload: str
    way: str
    start: int = 1
    events: list[Event] = field(default_factory=list)

    @property
    def is_gone(self) -> bool:
        """Whether a node said at last that it does not know the workload."""
        last = self.events[-1] if self.events else None
        return last is not None and (last.kind, last.first) == ("refused", 404)

    @property
    def lines(self) -> int:
        """The number of the last line that it has, or was told to be missing, since a reset."""
        for event in reversed(self.events):
            if event.kind == "line":
                return event.first
            if event.kind == "gap":
                return event.last
            if event.kind == "reset":
                break
        return self.start - 1


class Text(NamedTuple):
    """The content of a line: whose, of which stream, its number there, when it was written (in
    seconds of CLOCK_MONOTONIC), and by which attempt of a client that pushes."""

    key: str
    stream: str
    number: int
    written: float
    attempt: int

    def line(self) -> str:
        """With a hash of all of it."""
        content = f"{self.key} {self.stream} {self.number} {self.written:.4f} {self.attempt}"
        return f"{content} {_hash(content)}"

    @classmethod
    def parse(cls, line: str) -> Text | None:
        """None if the line is not what its writer wrote."""
        content, _, found = line.rpartition(" ")
        fields = content.split(" ")
        if len(fields) != 5 or found != _hash(content):
            return None
        return cls(fields[0], fields[1], int(fields[2]), float(fields[3]), int(fields[4]))


def _hash(content: str) -> str:
    return f"{zlib.crc32(content.encode()):08x}"


@dataclass(frozen=True)
class Fault:
    """What the campaign did, from when to when; `nodes` had no database in that time if `away`, and
    did not run if `down`."""

    at: float
    until: float
    name: str
    nodes: tuple[str, ...] = ()
    away: bool = False
    down: bool = False


@dataclass
class Submitted:
    """A workload that a client has submitted, with all ids that nodes answered to its key."""

    key: str
    kind: str
    ids: list[str] = field(default_factory=list)
    stopped: bool = False


@dataclass
class Pushed:
    """What a client of the push routes knows. `content` is what it sent, by lines; `acknowledged`
    how many bytes of it; `replaced` are lines that it had sent before, of which some may be in
    their places. `faults` are answers that contradict that."""

    key: str
    content: list[str] = field(default_factory=list)
    acknowledged: int = 0
    moves: int = 0
    finished: bool = False
    faults: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)


@dataclass
class Final:
    """A log when all is over, as one node has it, and its record."""

    record: dict[str, Any]
    events: list[Event]
    node: str


FINAL = frozenset({"succeeded", "failed", "stopped", "timed_out", "lost"})


def told(changes: Sequence[tuple[float, str, Any]]) -> dict[str, str]:
    """The status of each workload, by its id, that a reader of changes knows in the end."""
    listed: dict[str, str] = {}
    states: dict[str, str] = {}
    for _, kind, (_, _, content) in changes:
        if kind == "reset":
            states, listed = {}, {}
        elif kind == "listed":
            listed = content
        elif kind == "workload":
            states[content["id"]] = content["status"]
    # Changes before the list may come after it, and later ones follow them.
    return {**listed, **states}


@dataclass
class Run:
    """All that is known of a run. `patience` is the nodes' `--store-patience` in seconds;
    `lagging` says that the database has failed over to a standby that may have lacked commits.
    `began` is the time of CLOCK_MONOTONIC at which times are 0, and `began_at` that of the clock on
    the wall.
    `beats` are the counters of the nodes in the database, as they were read there, or None where
    they could not be. `starts` are the process ids by the keys of workloads, `counts` the lines of
    each stream of those that ended by themselves. `leftover` are processes that outlived it all.
    """

    began: float
    patience: float
    began_at: float = field(default_factory=time.time)
    lagging: bool = False
    readers: list[History] = field(default_factory=list)
    submitted: list[Submitted] = field(default_factory=list)
    pushed: list[Pushed] = field(default_factory=list)
    finals: dict[str, list[Final]] = field(default_factory=dict)
    starts: dict[str, list[int]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    exits: list[Exit] = field(default_factory=list)
    beats: list[tuple[float, dict[str, int] | None]] = field(default_factory=list)
    changes: list[list[tuple[float, str, Any]]] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    leftover: list[str] = field(default_factory=list)
    healed: float = 0.0

    def write(self, folder: Path) -> None:
        """Keep all of it, as JSON, a line for each event of a reader."""
        folder.mkdir(parents=True, exist_ok=True)
        for reader in self.readers:
            path = folder / f"reader-{reader.name}.jsonl"
            _write_lines(path, [[reader.workload, reader.way, reader.start], *reader.events])
        for number, changes in enumerate(self.changes):
            _write_lines(folder / f"changes-{number}.jsonl", changes)
        for workload, finals in self.finals.items():
            for final in finals:
                path = folder / f"final-{workload}-{final.node}.jsonl"
                _write_lines(path, [final.record, *final.events])
        _write_lines(folder / "beats.jsonl", self.beats)
        rest = asdict(self)
        for name in ("readers", "changes", "finals", "beats"):
            del rest[name]
        (folder / "run.json").write_text(json.dumps(rest, indent=1) + "\n")


def _write_lines(path: Path, objects: Iterable[Any]) -> None:
    with path.open("w") as file:
        for each in objects:
            file.write(json.dumps(each) + "\n")
