"""The checker of the chaos campaign finds each violation in a planted history, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import check
from tests.chaos.history import Event, Fault, Final, History, Pushed, Run, Submitted, Text
from tests.chaos.nodes import Exit

BEGAN = 1000.0
COUNT = 6


def text(number: int, *, key: str = "j0", attempt: int = 0, written: float | None = None) -> str:
    """A line that was written 0.1 s before `read` has it."""
    at = BEGAN + number - 0.1 if written is None else written
    return Text(key, "stdout", number, at, attempt).line()


def read(number: int, node: str = "a", **changes: Any) -> Event:
    return Event(float(number), "line", node, number, text=text(number, **changes))


def end(lines: int = COUNT, status: str = "succeeded", at: float = 10) -> Event:
    return Event(at, "end", "a", lines, text=status)


def whole(**changes: Any) -> list[Event]:
    return [read(number, **changes) for number in range(1, COUNT + 1)]


FINISHED = "1970-01-01T00:33:29.500000Z"
"""At 9.5 s of a run that begins at 2,000 s."""


def record(lines: int = COUNT) -> dict[str, Any]:
    return {"status": "succeeded", "reason": "exited", "lines": lines, "finished_at": FINISHED}


def sound() -> Run:
    """A workload of six lines, a push of three, and a reader of each that moved."""
    run = Run(BEGAN, patience=30, began_at=2000)
    run.submitted = [Submitted("j0", "steady", ["w0", "w0"]), Submitted("p0", "push", ["w1"])]
    events = [Event(0, "open", "a"), *whole(), end()]
    events[3:3] = [Event(2.5, "cut", "a"), Event(2.6, "refused", "b", 503)]
    events[5:5] = [Event(2.7, "shutdown", "c", 400), Event(2.8, "open", "b", 2)]
    run.readers = [
        History("r0", "w0", "sse", events=events),
        History("r1", "w1", "ndjson", events=[read(n, key="p0") for n in (1, 2, 3)] + [end(3)]),
        History("past", "w0", "past", 3, [read(3), read(4), Event(5, "stop", "c")]),
    ]
    run.finals = {
        "w0": [Final(record(), [*whole(), end()], node) for node in "abc"],
        "w1": [
            Final(record(lines=3), [*(read(n, key="p0") for n in (1, 2, 3)), end(3)], node)
            for node in "abc"
        ],
    }
    content = [text(number, key="p0") + "\n" for number in (1, 2, 3)]
    run.pushed = [Pushed("p0", content, len("".join(content)), 3, True)]
    run.starts, run.counts = {"j0": [17]}, {"j0": {"stdout": COUNT, "stderr": 0}}
    run.beats = [(at / 2, {"a-1": at // 2, "b-1": at // 2}) for at in range(40)]
    changes = [
        (0.1, "workload", ["a", "1", {"id": "w0", "status": "queued"}]),
        (0.2, "progress", ["a", "1", {"id": "w0", "lines": 2}]),
        (0.3, "workload", ["b", "4", {"id": "w0", "status": "succeeded"}]),
        (0.4, "workload", ["b", "5", {"id": "w1", "status": "succeeded"}]),
    ]
    run.changes = [changes]
    return run


def away(run: Run, seconds: float = 40) -> None:
    run.faults.append(Fault(0, seconds, "database down", ("a", "b", "c"), away=True))


def lagging(run: Run) -> None:
    run.lagging = True


def dead(run: Run) -> None:
    run.faults.append(Fault(0, 1, "kill", ("a",), down=True))


def events(run: Run) -> list[Event]:
    return run.readers[0].events


def final_events(run: Run) -> list[list[Event]]:
    return [final.events for final in run.finals["w0"]]


def test_nothing_is_found_in_a_sound_run() -> None:
    assert check(sound()) == []


Change = Callable[[Run], object]


def other_content(run: Run) -> None:
    events(run)[2] = read(2, written=BEGAN)


def line_skipped(run: Run) -> None:
    del events(run)[2]


def line_doubled(run: Run) -> None:
    events(run).insert(2, events(run)[2])


def no_end(run: Run) -> None:
    events(run).pop()


def two_ends(run: Run) -> None:
    events(run).append(end())


def wrong_count(run: Run) -> None:
    events(run)[-1] = end(COUNT + 1)


def other_status(run: Run) -> None:
    events(run)[-1] = end(status="lost")


def lost_without_death(run: Run) -> None:
    for final in run.finals["w0"]:
        final.record.update(status="lost", reason="server_lost")
    events(run)[-1] = end(status="lost")
    run.changes[0][2] = (0.3, "workload", ["b", "4", {"id": "w0", "status": "lost"}])


def without_a_word(run: Run) -> None:
    events(run).insert(3, Event(2.3, "stop", "a"))


def unknown(run: Run) -> None:
    events(run).insert(3, Event(2.3, "refused", "a", 404))


def gap(run: Run) -> None:
    events(run)[2] = Event(2, "gap", "a", 2, 2, "store")


def gap_in_store(run: Run) -> None:
    gap(run)
    run.readers[2].events = [Event(5, "stop", "c")]
    for each in final_events(run):
        each[1] = Event(2, "gap", "a", 2, 2, "store")


def reset(run: Run) -> None:
    """Two lines, a reset, and the log anew, in which the second one is another."""
    own = events(run)
    own[:] = [own[0], read(1), read(2, written=BEGAN), Event(3, "reset", "b", text="beyond_head")]
    own += [*whole(), end()]


def late(run: Run) -> None:
    own = events(run)
    own[-2] = own[-2]._replace(at=12.0)
    own[-1] = end(at=13)


def late_end(run: Run) -> None:
    events(run)[-1] = end(at=14)


def nodes_differ(run: Run) -> None:
    final_events(run)[1].pop(3)


def renumbered(run: Run) -> None:
    """A line that was stored twice, under two numbers."""
    twice = [*whole(), end(COUNT + 1)]
    twice.insert(3, twice[2])
    twice = [
        event._replace(first=number) if event.kind == "line" else event
        for number, event in enumerate(twice, 1)
    ]
    for final in run.finals["w0"]:
        final.events, final.record["lines"] = twice, COUNT + 1
    run.readers = [History("r0", "w0", "sse", events=list(twice))]


def shorter(run: Run) -> None:
    """The workload wrote more than the log has."""
    run.counts["j0"]["stdout"] = COUNT + 2


def foreign(run: Run) -> None:
    for each in final_events(run):
        each[2] = each[2]._replace(text=each[2].text + "x")
    run.readers = []


def acknowledged(run: Run) -> None:
    run.pushed[0].content[1] = text(2, key="p0", attempt=2) + "\n"


def older_attempt(run: Run) -> None:
    """Bytes of epoch 1 after those of epoch 2."""
    run.readers, run.pushed = [], []
    for final in run.finals["w1"]:
        final.events[1] = read(2, key="p0", attempt=2)
        final.events[2] = read(3, key="p0", attempt=1)


def push_contradicted(run: Run) -> None:
    run.pushed[0].faults.append("204 with 3 of 4 bytes")


def two_starts(run: Run) -> None:
    run.starts["j0"].append(18)


def two_ids(run: Run) -> None:
    run.submitted[0].ids[1] = "w9"


def buried_alive(run: Run) -> None:
    run.beats = [
        (at, {"a-1": 1} if number > 20 else beats)
        for number, (at, beats) in enumerate(run.beats, 0)
    ]


def change_undone(run: Run) -> None:
    run.changes[0] += [
        (0.5, "workload", ["c", "6", {"id": "w0", "status": "running"}]),
        (0.6, "workload", ["c", "7", {"id": "w0", "status": "succeeded"}]),
    ]


def change_missing(run: Run) -> None:
    run.changes[0].pop()


def position_back(run: Run) -> None:
    run.changes[0].append((0.5, "progress", ["c", "3", {"id": "w0"}]))


def changes_reset(run: Run) -> None:
    run.changes[0].insert(1, (0.2, "reset", ["c", None, {"reason": "too_old"}]))


def changes_lost(run: Run) -> None:
    """A failover has lost an end and positions: the reader lists again."""
    changes = run.changes[0]
    changes.insert(3, (0.31, "reset", ["c", None, {"reason": "beyond_head"}]))
    changes.insert(4, (0.32, "listed", ["c", "3", {"w0": "running", "w1": "running"}]))
    changes.insert(5, (0.33, "workload", ["c", "4", {"id": "w0", "status": "running"}]))
    changes.insert(6, (0.34, "workload", ["c", "4", {"id": "w0", "status": "succeeded"}]))


def not_told_after_a_reset(run: Run) -> None:
    """The list is older than the end, which was told before the reset alone."""
    changes = run.changes[0]
    changes.insert(3, (0.31, "reset", ["c", None, {"reason": "beyond_head"}]))
    changes.insert(4, (0.32, "listed", ["c", "4", {"w0": "running"}]))


def stopped_unasked(run: Run) -> None:
    events(run)[-1] = end(status="stopped")
    for final in run.finals["w0"]:
        final.record.update(status="stopped", reason="stop_requested")
    run.changes[0][2] = (0.3, "workload", ["b", "4", {"id": "w0", "status": "stopped"}])


def stuck(run: Run) -> None:
    run.stuck.append("r0: no end")


def traceback(run: Run) -> None:
    run.tracebacks.append("ValueError")


def leftover(run: Run) -> None:
    run.leftover.append("17")


VIOLATIONS: dict[Change, str] = {
    other_content: "in the end",
    line_skipped: "line 3 at a (3.00), where 2 was due",
    line_doubled: "line 2 at a (2.00), where 3 was due",
    no_end: "0 ends",
    two_ends: "2 ends",
    wrong_count: "counts 7 lines",
    other_status: "different ends",
    lost_without_death: "lost, though no node died",
    without_a_word: "without a word",
    unknown: "404",
    gap: "told of a gap",
    gap_in_store: "a gap of 2 to 2",
    reset: "without a cause",
    late: "line 6 was read 6.1 s late",
    late_end: "the end was read 4.5 s late",
    nodes_differ: "another log",
    renumbered: "stdout 3 in line 4, where 4 was due",
    shorter: "wrote {'stdout': 8}",
    foreign: "line 3 is",
    acknowledged: "were acknowledged",
    older_attempt: "of attempt 1 after 2",
    push_contradicted: "204 with 3",
    two_starts: "started 2 times",
    two_ids: "one idempotency key",
    buried_alive: "after its counter moved",
    change_undone: "was succeeded, and is running",
    change_missing: "was told as nothing",
    position_back: "position 3 after 5",
    changes_reset: "reset",
    changes_lost: "reset",
    not_told_after_a_reset: "was told as running",
    stopped_unasked: "unasked",
    stuck: "no end",
    traceback: "a traceback",
    leftover: "outlived",
}


@pytest.mark.parametrize("change", VIOLATIONS, ids=lambda change: change.__name__)
def test_a_violation_is_found(change: Change) -> None:
    run = sound()
    change(run)
    assert any(VIOLATIONS[change] in fault for fault in check(run)), check(run)


def after_a_pause(run: Run) -> None:
    """A counter that stood still for long enough."""
    run.beats = [
        (at, {name: min(count, 5) if name == "b-1" else count for name, count in beats.items()})
        for at, beats in run.beats
        if beats is not None
    ]
    run.beats += [(20 + at / 2, {"a-1": 20 + at}) for at in range(4)]


def left(run: Run) -> None:
    """A node that said so."""
    buried_alive(run)
    run.exits.append(Exit(10, "b", 0, asked=True))


def left_in_a_pause(run: Run) -> None:
    """A node said so to a database that was paused, and carried it out later."""
    run.beats = [
        (at, None if 5 < at < 14 else beats if at <= 5 else {"a-1": 30 + number})
        for number, (at, beats) in enumerate(run.beats)
    ]
    run.exits.append(Exit(7, "b", 0, asked=True))


def torn(run: Run) -> None:
    """The process was killed in the midst of its last line."""
    for final in run.finals["w0"]:
        final.events[-2] = final.events[-2]._replace(text="j0 stdout 6 10")
        final.record.update(status="lost", reason="server_lost")
        final.events[-1] = end(status="lost")
    events(run)[-2:] = run.finals["w0"][0].events[-2:]
    run.changes[0][2] = (0.3, "workload", ["b", "4", {"id": "w0", "status": "lost"}])


def slow(run: Run) -> None:
    """The machine took three seconds to look at the database."""
    run.beats = [each for each in run.beats if not 9 < each[0] < 12]


def late_request(run: Run) -> None:
    """An abandoned request was read late, after the client had sent another line in its place."""
    run.pushed[0].replaced.append(run.pushed[0].content[1])
    acknowledged(run)


def forgotten(run: Run) -> None:
    """The record of a workload that still runs is lost, and its client has submitted it again."""
    run.leftover.append("17")
    run.submitted[0].ids.append("w7")


def paused(run: Run) -> None:
    """A node stood still for longer than the patience."""
    run.faults.append(Fault(5, 40, "pause", ("a",)))


EXCEPTIONS: list[tuple[Change, Change]] = [
    (paused, reset),
    (lambda run: None, late_request),
    (lagging, forgotten),
    # The store was away for longer than the patience.
    (away, reset),
    (away, gap_in_store),
    # A failover to a standby that lagged.
    (lagging, reset),
    (lagging, gap_in_store),
    (lagging, two_starts),
    (lagging, changes_lost),
    # While something fails, a line may take its time.
    (lambda run: away(run, 10), late),
    (slow, late_end),
    (dead, lost_without_death),
    (dead, torn),
    (lambda run: None, after_a_pause),
    (lambda run: None, left),
    (lambda run: None, left_in_a_pause),
]


@pytest.mark.parametrize(("cause", "change"), EXCEPTIONS)
def test_a_stated_exception_is_none(cause: Change, change: Change) -> None:
    run = sound()
    cause(run)
    change(run)
    assert check(run) == []


def test_a_short_outage_is_no_cause() -> None:
    run = sound()
    away(run, 20)
    reset(run)
    assert any("without a cause" in fault for fault in check(run))


def test_what_is_kept_can_be_read_again(tmp_path: Path) -> None:
    run = sound()
    run.write(tmp_path / "kept")
    first, *rest = (tmp_path / "kept" / "reader-r0.jsonl").read_text().splitlines()
    assert json.loads(first) == ["w0", "sse", 1]
    assert [Event(*json.loads(line)) for line in rest] == run.readers[0].events
    assert json.loads((tmp_path / "kept" / "run.json").read_text())["starts"] == {"j0": [17]}
