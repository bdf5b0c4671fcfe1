"""Which lines are asked for: tables, and a comparison with a plain count of whole lines."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_logs.records import Batch, Run
from trio_logs.selection import Selection, Start, Tail


def run(first: int, count: int = 1, stream: str = "stdout", parts: str = "") -> Run:
    """`parts`: "<" where the first line began before, ">" where the only line goes on."""
    return Run(first, count, first, stream, partial=">" in parts, continues="<" in parts)


PLAIN = [run(1, 10), run(11, 5, "stderr"), run(16, 5)]

# Line 1 has the parts 1, 3 and 5; lines 2 and 4 are of another stream.
LONG = [
    run(1, parts=">"),
    run(2, stream="stderr"),
    run(3, parts="<>"),
    run(4, stream="stderr"),
    run(5, 2, parts="<"),
]

BROKEN = [run(1, 10), run(12, parts="<")]


def start(runs: Sequence[Run], tail: int, *, first: int = 1, stream: str | None = None) -> Start:
    found = Tail(Selection(tail=tail, stream=stream), first, runs[-1].last)
    found.feed(reversed(runs))
    return found.start()


@pytest.mark.parametrize(
    ("runs", "tail", "expected"),
    [
        (PLAIN, 0, Start(21)),
        (PLAIN, 1, Start(20)),
        (PLAIN, 7, Start(14)),
        (PLAIN, 20, Start(1)),
        (PLAIN, 99, Start(1)),
        (LONG, 1, Start(6)),
        (LONG, 2, Start(5, {"stdout": 1})),
        (LONG, 3, Start(4, {"stdout": 1})),
        (LONG, 4, Start(2, {"stdout": 1})),
        (LONG[:4], 1, Start(4)),
        (LONG[:3], 1, Start(3, {"stdout": 1})),
        (LONG[2:], 2, Start(5, {"stdout": 3})),
        # Line 11 is the lost first part of 12, so lines 1 to 10 have nothing to do with it.
        (BROKEN, 1, Start(12)),
        (BROKEN, 3, Start(9)),
    ],
)
def test_where_a_tail_starts(runs: Sequence[Run], tail: int, expected: Start) -> None:
    assert start(runs, tail) == expected


def test_a_tail_of_one_stream() -> None:
    assert start(PLAIN, 6, stream="stdout") == Start(10)
    assert start(PLAIN, 1, stream="stderr") == Start(15)
    assert start(PLAIN, 1, stream="system") == Start(21)
    assert start(LONG, 2, stream="stdout").first == 1


def test_what_retention_removed_counts_where_the_tail_reaches_it() -> None:
    runs = [run(11, 5, "stderr"), run(16, 5)]
    assert start(runs, 12) == Start(9)
    assert start(runs, 99) == Start(1)
    assert start(runs, 12, first=11) == Start(11)
    assert start(runs, 6, stream="stderr") == Start(1)
    assert start(runs, 5, stream="stderr") == Start(11)


def test_a_start_cuts_batches() -> None:
    where = Start(5, {"stderr": 3})
    assert where.first == 3
    assert where.cut(Batch(1, 2, 0, "stderr", b"a\nb\n")) is None
    assert where.cut(Batch(3, 2, 0, "stdout", b"c\nd\n")) is None
    kept = where.cut(Batch(3, 2, 0, "stderr", b"c\nd\n"))
    assert kept is not None
    assert (kept.first, kept.data) == (3, b"c\nd\n")
    kept = where.cut(Batch(4, 2, 0, "stdout", b"d\ne\n"))
    assert kept is not None
    assert (kept.first, kept.data) == (5, b"e\n")


STREAMS = ("stdout", "stderr")


@given(
    st.lists(st.tuples(st.sampled_from(STREAMS), st.booleans(), st.integers(1, 3)), max_size=20),
    st.integers(0, 12),
    st.sampled_from([None, *STREAMS]),
)
def test_a_tail_is_the_last_whole_lines(
    pieces: list[tuple[str, bool, int]], tail: int, stream: str | None
) -> None:
    runs: list[Run] = []
    # The whole lines in the order of their ends, or of their newest parts.
    lines: list[tuple[str, list[int]]] = []
    unended: dict[str, list[int]] = {}
    number = 1
    for name, partial, count in pieces:
        count = 1 if partial else count
        runs.append(Run(number, count, number, name, partial, name in unended))
        for part in range(number, number + count):
            line = unended.pop(name, [])
            if line:
                lines.remove((name, line))
            line = [*line, part]
            lines.append((name, line))
            if partial:
                unended[name] = line
        number += count
    asked = [line for name, line in lines if stream in (None, name)]
    expected = (
        sorted(part for line in asked[max(0, len(asked) - tail) :] for part in line) if tail else []
    )
    found = Tail(Selection(tail=tail, stream=stream), 1, number - 1)
    found.feed(reversed(runs))
    where = found.start()
    shown = [
        part
        for each in runs
        if stream in (None, each.stream)
        for part in range(each.first, each.last + 1)
        if part >= where.earlier.get(each.stream, where.line)
    ]
    assert shown == expected
