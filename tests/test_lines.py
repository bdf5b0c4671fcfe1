"""Bytes to lines: every rule of the wire contract as a table, then everything at random."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_logs.lines import MAX_BATCH_BYTES, MAX_LINE_BYTES, Lines, LineSplitter

TABLE = [
    ("nothing", b"", []),
    ("one line", b"a\n", [(b"a\n", False)]),
    ("no end", b"a", [(b"a", False)]),
    ("empty lines", b"\n\n", [(b"\n", False), (b"\n", False)]),
    ("CRLF", b"a\r\nb\r\n", [(b"a\r\n", False), (b"b\r\n", False)]),
    ("a lone CR does not split", b"a\rb\n", [(b"a\rb\n", False)]),
    ("CR at the very end", b"a\r", [(b"a\r", False)]),
    ("CR CR LF", b"a\r\r\n", [(b"a\r\r\n", False)]),
    ("LF CR", b"a\n\rb\n", [(b"a\n", False), (b"\rb\n", False)]),
    ("VT, FF, NEL and U+2028 do not split", "a\v\f\x85\u2028b\n".encode(), None),
    (
        "NUL and invalid UTF-8",
        b"\0\xff\xc3\n\x80\n",
        [(b"\0\xff\xc3\n", False), (b"\x80\n", False)],
    ),
    ("as long as the limit", b"12345678\n", [(b"12345678\n", False)]),
    ("as long as the limit, CRLF", b"12345678\r\n", [(b"12345678\r\n", False)]),
    ("as long as the limit, no end", b"12345678", [(b"12345678", False)]),
    ("over-long by one", b"123456789\n", [(b"12345678", True), (b"9\n", False)]),
    ("over-long by a CR", b"12345678\rx\n", [(b"12345678", True), (b"\rx\n", False)]),
    ("over-long by a CR, no end", b"12345678\r", [(b"12345678", True), (b"\r", False)]),
    ("twice the limit", b"1234567812345678\n", [(b"12345678", True), (b"12345678\n", False)]),
    (
        "a character is not cut",
        "1234567é\n".encode(),
        [(b"1234567", True), ("é\n".encode(), False)],
    ),
    (
        "what only looks like a character is",
        b"12345\x80\x80\x80\x80\x80\n",
        [(b"12345\x80\x80\x80", True), (b"\x80\x80\n", False)],
    ),
]


def pieces(runs: list[Lines]) -> list[tuple[bytes, bool]]:
    """Each line on its own, and whether it goes on in the next."""
    found = []
    for run in runs:
        lines = run.data.split(b"\n")
        whole = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
        assert len(whole) == run.count
        found += [(line, run.partial) for line in whole]
    return found


def split(data: list[bytes], max_line: int = 8, max_lines: int = 1000) -> list[Lines]:
    splitter = LineSplitter(max_line, max_lines)
    return [run for part in data for run in splitter.feed(part)] + splitter.close()


@pytest.mark.parametrize(
    ("data", "expected"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_table(data: bytes, expected: list[tuple[bytes, bool]] | None) -> None:
    limit = 8 if expected is not None else 64
    expected = [(data, False)] if expected is None else expected
    assert pieces(split([data], limit)) == expected
    assert pieces(split([bytes([byte]) for byte in data], limit)) == expected


def reference(data: bytes, max_line: int) -> list[tuple[bytes, bool]]:
    """The rules again, line by line and slowly."""
    found = []
    lines = data.split(b"\n")
    for i, line in enumerate(lines):
        ended = i < len(lines) - 1
        if not ended and not line:
            continue
        end = (b"\r\n" if line.endswith(b"\r") else b"\n") if ended else b""
        text = line[:-1] if end == b"\r\n" else line
        while len(text) > max_line:
            cut = max_line
            for back in range(min(4, max_line)):
                if text[cut - back] & 0xC0 != 0x80:
                    cut -= back if text[cut - back] >= 0xC0 else 0
                    break
            found.append((text[:cut], True))
            text = text[cut:]
        found.append((text + end, False))
    return found


bits = st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"bc", "é".encode(), "€".encode(), b"\xff"])
texts = st.one_of(st.binary(max_size=80), st.lists(bits, max_size=40).map(b"".join))


@given(texts, st.integers(4, 12), st.integers(1, 4), st.randoms(use_true_random=False))
def test_any_pieces_give_the_same(
    data: bytes, max_line: int, max_lines: int, rng: random.Random
) -> None:
    parts, start = [], 0
    while start < len(data):
        stop = start + rng.randint(1, 9)
        parts.append(data[start:stop])
        start = stop
    runs = split(parts, max_line, max_lines)
    assert pieces(runs) == reference(data, max_line)
    assert b"".join(run.data for run in runs) == data
    for before, run in zip([None, *runs], [*runs, None], strict=False):
        assert run is None or run.continues == (before is not None and before.partial)
        assert run is None or run.count == max(1, run.data.count(b"\n")) <= max_lines
        assert run is None or len(run.data) <= max_line + 2


def test_bounds_of_a_run() -> None:
    data = b"x" * 99 + b"\n"
    runs = split([data * 5000], MAX_LINE_BYTES)
    assert [run.count for run in runs] == [655] * 7 + [415]
    assert max(len(run.data) for run in runs) <= MAX_BATCH_BYTES
    assert [run.count for run in split([b"\n" * 2500], MAX_LINE_BYTES)] == [1000, 1000, 500]


def test_it_holds_no_more_than_the_limit() -> None:
    splitter = LineSplitter(1024)
    for _ in range(100):
        splitter.feed(b"x" * 100)
        assert len(splitter.rest) <= 1025
