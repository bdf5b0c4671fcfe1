"""What decides whether a run kept the promises of a service on many nodes: a run in, faults out.

The exceptions are those that `design.md` and `scale.md` of the documentation state.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import pairwise, zip_longest

from tests.chaos.history import FINAL, Event, Final, History, Run, Text, told

__all__ = ["CALM_SECONDS", "check"]

LATE_SECONDS = 4.0
"""Seconds. While nothing fails, notifications bring each line sooner. A line that takes longer came
only because a feed reads again by itself, every 5 s."""

CALM_SECONDS = 3.0
"""How long after a fault its effects may last."""

SLOW_SECONDS = 1.5
"""Seconds from one look of the campaign at the database to the next. If it takes longer, the
machine was too busy to judge times."""

TOLD_SECONDS = 1.0
"""Seconds within which a node sends a reset for a position that the log does not have, if the node
can read the log."""

BURIAL_SECONDS = 4.0
"""Five polls without a change take longer."""


def check(run: Run) -> list[str]:
    """All that is wrong."""
    parts = (
        _Contents(run).faults(),
        _readers(run),
        _finals(run),
        _pushes(run),
        _starts(run),
        _burials(run),
        _changes(run),
        _processes(run),
        run.stuck,
    )
    return [fault for part in parts for fault in part]


def _is_forgiving(run: Run) -> bool:
    """Whether lines may have been delivered from memory and then lost: the store was away for the
    patience, or lacks what it had acknowledged. For a node that is paused, it is away, too."""
    return run.lagging or any(
        (each.away or each.name == "pause") and each.until - each.at >= 0.8 * run.patience
        for each in run.faults
    )


def _lives(history: History) -> Iterator[list[Event]]:
    """The events between two resets: after one, the reader begins anew."""
    life: list[Event] = []
    for event in history.events:
        if event.kind == "reset":
            yield life
            life = []
        else:
            life.append(event)
    yield life


class _Contents:
    """A number never has two contents, and all nodes have the same log in the end."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._forgiving = _is_forgiving(run)
        self._true: dict[str, dict[int, str]] = defaultdict(dict)
        self._gaps: dict[str, set[int]] = defaultdict(set)

    def faults(self) -> Iterator[str]:
        for workload, finals in self._run.finals.items():
            yield from self._agree(workload, finals)
        for history in self._run.readers:
            *earlier, last = _lives(history)
            yield from self._hold(history, last, is_last=True)
            for life in earlier:
                yield from self._hold(history, life, is_last=False)

    def _agree(self, workload: str, finals: list[Final]) -> Iterator[str]:
        first, *others = finals
        for event in first.events:
            if event.kind == "line":
                self._true[workload][event.first] = event.text
            elif event.kind == "gap":
                self._gaps[workload].update(range(event.first, event.last + 1))
                if event.text != "store" or not self._forgiving:
                    yield f"{workload}: a gap of {event.first} to {event.last} ({event.text})"
        shape = _shape(first.events)
        for other in others:
            if _shape(other.events) != shape:
                yield f"{workload}: {other.node} has another log than {first.node} in the end"

    def _hold(self, history: History, life: list[Event], *, is_last: bool) -> Iterator[str]:
        """Each line that a reader has read must be in the log at the end, or in a gap. If lines may
        have been lost, others are allowed in two cases: the reader got a reset later, or no node
        could tell that one was due."""
        true, gaps = self._true[history.workload], self._gaps[history.workload]
        if history.workload not in self._run.finals:
            return  # told elsewhere
        for event in life:
            if event.kind == "line":
                text = true.get(event.first)
                if text == event.text:
                    continue
                if text is None and event.first in gaps:
                    # Delivered from memory by the owner's node, and then declared.
                    continue
                if self._forgiving and not (is_last and self._should_know(life, event, text)):
                    continue
                found = "nothing" if text is None else repr(text)
                yield (
                    f"{history.name}: line {event.first} is {event.text!r} at {event.node}"
                    f" ({event.at:.2f}), but {found} in the end"
                )
                return
            if event.kind == "gap":
                had = [n for n in range(event.first, event.last + 1) if n in true]
                if had and not self._run.lagging:
                    yield (
                        f"{history.name}: told of a gap of {event.first} to {event.last}"
                        f" ({event.text}) at {event.node}, but line {had[0]} exists"
                    )

    def _should_know(self, life: list[Event], line: Event, text: str | None) -> bool:
        """Whether a node had to send a reset for this line: the reader resumed after it, and stayed
        for TOLD_SECONDS, before the log got another line of this number. From then on, no node can
        tell that the reader has a lost line."""
        true = None if text is None else Text.parse(text)
        written = float("inf") if true is None else true.written - self._run.began
        for event, after in pairwise(life):
            until = event.at + TOLD_SECONDS
            if (
                event.kind == "open"
                and event.first >= line.first
                and until < min(after.at, written)
                and not any(
                    each.away and each.at < until and each.until > event.at
                    for each in self._run.faults
                )
            ):
                return True
        return False


def _shape(events: Iterable[Event]) -> list[tuple[object, ...]]:
    """Gaps may be told in pieces."""
    found: list[tuple[object, ...]] = []
    for event in events:
        if event.kind == "gap":
            found += [("gap", n) for n in range(event.first, event.last + 1)]
        elif event.kind in ("line", "end"):
            found.append((event.kind, event.first, event.text))
    return found


def _readers(run: Run) -> Iterator[str]:
    forgiving = _is_forgiving(run)
    for history in run.readers:
        resets = [event for event in history.events if event.kind == "reset"]
        if resets and not forgiving:
            yield f"{history.name}: reset ({resets[0].text}) at {resets[0].at:.2f} without a cause"
        for life in _lives(history):
            yield from _contiguous(history, life)
        yield from _ends(run, history)
        yield from _late(run, history)
        for event in history.events:
            if event.kind == "refused" and event.first not in (429, 503, 404 * run.lagging):
                yield f"{history.name}: {event.first} at {event.node} ({event.at:.2f})"
            if event.kind == "stop" and history.way != "past" and not run.lagging:
                yield f"{history.name}: an answer ended without a word at {event.at:.2f}"


def _contiguous(history: History, life: list[Event]) -> Iterator[str]:
    due = history.start
    for event in life:
        if event.kind == "line":
            if event.first != due:
                yield (
                    f"{history.name}: line {event.first} at {event.node} ({event.at:.2f}), where"
                    f" {due} was due"
                )
                return
            due = event.first + 1
        elif event.kind == "gap":
            if event.first != due or event.last < event.first:
                yield (
                    f"{history.name}: a gap of {event.first} to {event.last} at {event.node}"
                    f" ({event.at:.2f}), where {due} was due"
                )
                return
            due = event.last + 1
        elif event.kind == "end" and event.first != due - 1:
            # A reader that begins behind the end has `end` alone.
            if due == history.start and event.first < due:
                continue
            yield (
                f"{history.name}: an end that counts {event.first} lines at {event.node}"
                f" ({event.at:.2f}), where {due} was due"
            )


def _ends(run: Run, history: History) -> Iterator[str]:
    if history.is_gone and run.lagging:
        return
    ends = [event for event in history.events if event.kind == "end"]
    if history.way != "past" and len(ends) != 1:
        yield f"{history.name}: {len(ends)} ends of {history.workload}"
    if ends and history.events[-1] is not ends[-1]:
        yield f"{history.name}: {history.events[-1]} after the end"


def _late(run: Run, history: History) -> Iterator[str]:
    """While nothing fails, a line is not left lying, nor the end."""
    busy = _busy(run)
    finals = run.finals.get(history.workload)
    since = 0.0
    for event in history.events:
        if event.kind == "open":
            since = event.at
            continue
        if event.kind == "line" and (text := Text.parse(event.text)) is not None:
            written = max(since, text.written - run.began)
        elif event.kind == "end" and finals and (at := finals[0].record["finished_at"]):
            written = max(since, datetime.fromisoformat(at).timestamp() - run.began_at)
        else:
            continue
        if event.at - written < LATE_SECONDS:
            continue
        if not any(at < event.at and until > written for at, until in busy):
            name = "the end" if event.kind == "end" else f"line {event.first}"
            yield (
                f"{history.name}: {name} was read {event.at - written:.1f} s late at {event.node}"
                f" ({event.at:.2f})"
            )
            return


def _busy(run: Run) -> list[tuple[float, float]]:
    """When something failed, or this machine was too slow to tell."""
    busy = [(each.at, each.until + CALM_SECONDS) for each in run.faults]
    for (before, _), (at, beats) in pairwise(run.beats):
        if beats is None or at - before > SLOW_SECONDS:
            busy.append((before, at))
    return busy


def _finals(run: Run) -> Iterator[str]:
    keys = {each.ids[0]: each for each in run.submitted if each.ids}
    ends: dict[str, set[tuple[int, str]]] = defaultdict(set)
    for history in run.readers:
        for event in history.events:
            if event.kind == "end":
                ends[history.workload].add((event.first, event.text))
    for workload, finals in run.finals.items():
        record = finals[0].record
        if record["status"] not in FINAL:
            continue  # told as stuck
        ends[workload].add((record["lines"], record["status"]))
        if len(ends[workload]) > 1 and not run.lagging:
            yield f"{workload}: different ends: {sorted(ends[workload])}"
        yield from _texts(run, keys[workload].key, finals[0])
        if record["status"] == "lost" and not any(each.down or each.away for each in run.faults):
            yield f"{workload}: lost, though no node died"
        if record["reason"] in ("stop_requested", "timeout") and not keys[workload].stopped:
            yield f"{workload}: {record['status']} ({record['reason']}) unasked"


def _texts(run: Run, key: str, final: Final) -> Iterator[str]:
    """The lines are those that the workload wrote, each once, in order; all of them if it ended by
    itself."""
    numbers: Counter[str] = Counter()
    missing = False
    attempt = 0
    last = next((event for event in reversed(final.events) if event.kind == "line"), None)
    for event in final.events:
        if event.kind == "gap":
            missing = True
        if event.kind != "line":
            continue
        text = Text.parse(event.text)
        if text is None and event is last and final.record["reason"] != "exited":
            break  # the process was killed in the midst of a line
        if text is None or text.key != key:
            yield f"{key}: line {event.first} is {event.text!r}"
            return
        due = numbers[text.stream] + 1
        # A failover may lose that a node has taken a pushed log, and has told the client to send
        # these lines again. Then the earlier owner stores them, too.
        is_repeated = run.lagging and text.attempt > attempt
        if (text.number < due and not is_repeated) or (text.number > due and not missing):
            yield f"{key}: {text.stream} {text.number} in line {event.first}, where {due} was due"
            return
        if text.attempt < attempt and not run.lagging:
            yield f"{key}: line {event.first} of attempt {text.attempt} after {attempt}"
            return
        attempt = max(attempt, text.attempt)
        numbers[text.stream] = text.number
    if final.record["reason"] == "exited" and key in run.counts and not missing:
        written = {name: count for name, count in run.counts[key].items() if count}
        if written != dict(numbers):
            yield f"{key}: wrote {written}, but the log has {dict(numbers)}"


def _pushes(run: Run) -> Iterator[str]:
    ids = {each.key: each.ids[0] for each in run.submitted if each.ids}
    for pushed in run.pushed:
        if not run.lagging:
            for fault in pushed.faults:
                yield f"{pushed.key}: {fault}"
        if ids.get(pushed.key) not in run.finals or run.lagging:
            continue
        final = run.finals[ids[pushed.key]][0]
        if any(event.kind == "gap" for event in final.events):
            continue
        have = [event.text + "\n" for event in final.events if event.kind == "line"]
        replaced = set(pushed.replaced)
        place = 0
        for line, sent in zip_longest(have, pushed.content, fillvalue=""):
            if place >= pushed.acknowledged:
                break
            # An abandoned request may be read late; its offset keeps it in its place.
            if line != sent and line not in replaced:
                yield (
                    f"{pushed.key}: {pushed.acknowledged} bytes were acknowledged, but the text is"
                    f" another one from byte {place} on"
                )
                break
            place += len(line)


def _starts(run: Run) -> Iterator[str]:
    for submitted in run.submitted:
        if len(set(submitted.ids)) > 1 and not run.lagging:
            yield f"{submitted.key}: one idempotency key made {sorted(set(submitted.ids))}"
    for key, pids in run.starts.items():
        if len(pids) > 1 and not run.lagging:
            yield f"{key}: started {len(pids)} times: {pids}"


def _readable(run: Run) -> Callable[[float], float]:
    """Gives, for a time, the seconds until then in which the database could be read."""
    times, seconds = [], []
    up = 0.0
    for (before, _), (at, beats) in pairwise(run.beats):
        up += 0 if beats is None else at - before
        times.append(at)
        seconds.append(up)
    return lambda at: seconds[min(bisect_left(times, at), len(times) - 1)] if times else 0.0


def _burials(run: Run) -> Iterator[str]:
    """A node leaves the list only when it says so, or when its counter stood still for a while in
    which the database could be read."""
    left = [each for each in run.exits if each.asked and each.code >= 0]
    moved: dict[str, float] = {}
    counters: dict[str, int] = {}
    readable = _readable(run)
    for at, beats in run.beats:
        if beats is None:
            continue
        up = readable(at)
        for node, counter in beats.items():
            if counters.get(node) != counter:
                counters[node], moved[node] = counter, up
        for node in counters.keys() - beats.keys():
            still = up - moved[node]
            name = node.rpartition("-")[0]
            # A database that is paused carries out later what a node has told it before its exit.
            said = [abs(readable(each.at) - up) for each in left if each.node == name]
            if still < BURIAL_SECONDS <= min(said, default=math.inf) and not run.lagging:
                yield f"{node}: buried at {at:.2f}, {still:.1f} s after its counter moved"
            del counters[node]


def _changes(run: Run) -> Iterator[str]:
    """After a reset, a reader of changes begins anew with a list."""
    for reader, changes in enumerate(run.changes):
        states: dict[str, str] = {}
        position = 0
        for at, kind, (node, found, content) in changes:
            if kind == "reset":
                states, position = {}, 0
                if run.lagging and content["reason"] == "beyond_head":
                    continue
                yield f"changes {reader}: reset at {node} ({at:.2f}): {content['reason']}"
            if found is not None and int(found) < position:
                yield f"changes {reader}: position {found} after {position} at {node} ({at:.2f})"
            position = int(found or 0)
            if kind != "workload":
                continue
            before = states.get(content["id"], "")
            if before in FINAL and content["status"] != before:
                yield f"changes {reader}: {content['id']} was {before}, and is {content['status']}"
            states[content["id"]] = content["status"]
        known = told(changes)
        for workload, finals in run.finals.items():
            if changes and known.get(workload) != finals[0].record["status"]:
                yield (
                    f"changes {reader}: {workload} is {finals[0].record['status']}, but was told as"
                    f" {known.get(workload, 'nothing')}"
                )


def _processes(run: Run) -> Iterator[str]:
    for each in run.tracebacks:
        yield f"a traceback: {each}"
    for each in run.leftover:
        if not (run.lagging and _is_forgotten(run, int(each))):
            yield f"a process outlived its node: {each}"


def _is_forgotten(run: Run, pid: int) -> bool:
    """Whether a failover has lost the record of the workload with this process: nobody knows of it,
    or the client has submitted it again, and the campaign does not stop that one."""
    keys = {key for key, pids in run.starts.items() if pid in pids}
    submitted = [each for each in run.submitted if each.key in keys]
    return any(len(set(each.ids)) > 1 or each.ids[0] not in run.finals for each in submitted)
