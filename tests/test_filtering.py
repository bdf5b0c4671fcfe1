"""Filters: each line is asked for exactly if its visible text matches, whatever is around it."""

from __future__ import annotations

import math
import re
import time

import pytest
import re2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trio_logs.errors import InvalidRequestError
from trio_logs.filtering import CALL_SECONDS, MAX_PROGRAM, Filter, visible
from trio_logs.records import Batch


def batch_of(data: bytes, first: int = 1, **flags: bool) -> Batch:
    count = data.count(b"\n") + (not data.endswith(b"\n"))
    return Batch(first, count, 0, "stdout", data, **flags)


def naive(line_filter: Filter, batch: Batch) -> list[int]:
    """The meaning: each line on its own, through RE2."""
    options = re2.Options()
    options.literal = not line_filter.regex
    options.case_sensitive = line_filter.case
    options.never_nl = True
    options.log_errors = False
    expression = re2.compile(line_filter.text.encode(errors="replace"), options)
    found = []
    for number, line in enumerate(batch.lines, batch.first):
        text = visible(line.decode(errors="replace").encode())
        if (expression.search(text) is not None) != line_filter.invert:
            found.append(number)
    return found


PIECES = [
    *(b"a", b"b", b"ab", b"B", b"aab", b"\n", b"\n\n", b"\r\n", b"\r", b" ", b"\t", b"\0"),
    *(b"\x1b[31m", b"\x1b[0m", b"\x1b", b"\x1b[", b"\x1b]8;;x\x07", b"\x1b]a", b"\x1b\\", b"\x07"),
    *(
        b"\xff",
        b"\xc3",
        "é".encode(),
        "É".encode(),
        "ſ".encode(),
        b"s",
        b"^",
        b"$",
        b"\\",
        b"\x1b(",
    ),
]
EXPRESSIONS = [
    *("a", "b$", "^a", "^$", "$", "^", "a*", "", "a+b", "^.", ".$", ".*", "a.b", "[^a]", "[^a]b"),
    *(r"\s", r"\S", r"\W", r"\w+$", r"\ba", r"\Bb", r"\B", r"\b", r"a\sb", r"\n", r"a\nb", r"a|\n"),
    *(r"\Aa", r"b\z", r"\A", r"\z", r"\C", r"\Ca", r"\Qa\E", r"\Q^\E", r"(?m)^a", r"(?m:b$)"),
    *(
        r"(?-m)^a",
        r"(?i)b",
        r"(?s).b",
        r"(?U)a+",
        r"(?is)A.",
        r"(?P<n>a)b",
        r"(?<n>a)+",
        r"(?:a|b)$",
    ),
    *(r"(a)(b)", r"^a|b$", r"\r", r"\x0a", r"[\n]", r"[\s]b", r"\pL", r"\PL", r"[[:space:]]"),
    *(
        "é",
        "�",
        r"\x{fffd}",
        r"\\A",
        r"[(?m)]",
        r"\(?m",
        r"(?ms)^a.",
        r"(?i)(?m)^B",
        "\0",
        r"^\s*$",
    ),
    *(r"a{2}", r"(a?b?){3}$", r"\x1b", r"^[ab]+$", r"(^|b)a", r"a($|\s)", r"(?i)ſ"),
]
texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=30).map(b"".join)
words = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map(
    lambda pieces: b"".join(pieces).decode(errors="replace")
)


@settings(max_examples=400)
@given(
    text=texts,
    repeat=st.sampled_from([1, 1, 70]),
    first=st.integers(1, 10**6),
    word=words | st.sampled_from([each for each in EXPRESSIONS if each]),
    regex=st.booleans(),
    case=st.booleans(),
    invert=st.booleans(),
)
@example(b"x\na\n", 70, 5, "a", True, True, False)
@example(b"a\nx\n\n", 70, 5, "$", True, True, False)
@example(b"a\nb", 1, 1, "a\nb", False, True, False)
def test_a_batch_is_filtered_as_line_by_line(
    text: bytes, repeat: int, first: int, word: str, regex: bool, case: bool, invert: bool
) -> None:
    batch = batch_of(text * repeat, first)
    try:
        line_filter = Filter(word, regex, case, invert)
    except InvalidRequestError:
        assert regex
        return
    expected = naive(line_filter, batch)
    assert list(line_filter.numbers(batch)) == expected
    # Each piece alone gives the same.
    found: list[int] = []
    last = batch.first - 1
    while last < batch.last:
        numbers, last = line_filter.numbers_until(batch.since(last + 1), -math.inf)
        found += numbers
    assert found == expected
    lines = [line.decode(errors="replace") for line in batch.lines]
    matching = [n for n, line in enumerate(lines, first) if line_filter.matches(line)]
    assert matching == expected


@pytest.mark.parametrize("expression", [each for each in EXPRESSIONS if each])
@pytest.mark.parametrize("case", [True, False])
def test_each_expression_means_the_same_in_a_batch(expression: str, case: bool) -> None:
    """Each on a text in which every neighbour matters, in pieces of a line too."""
    lines = [a + b for a in PIECES for b in (b"", b"a", b"b", b"\r")]
    batch = batch_of(b"\n".join(lines) + b"\n\n", 7)
    line_filter = Filter(expression, regex=True, case=case)
    expected = naive(line_filter, batch)
    assert list(line_filter.numbers(batch)) == expected
    object.__setattr__(line_filter, "_reach", 1)
    assert list(line_filter.numbers(batch)) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("error", b"\x1b[1mer\x1b[31mror\x1b[0m"),
        ("error", b"e\x1b]8;;http://x\x07rror"),
        ("error", b"e\x1b]8;;http://x\x1b\\rror"),
        ("error", b"er\x1bPq\x1b\\ror"),
        ("error", b"er\x1b(Bror"),
        ("error", b"er\x1b7ror"),
        # A sequence that does not end hides only its start.
        ("[31", b"\x1b[31"[1:]),
        ("31", b"\x1b[31"),
        ("8;;x", b"\x1b]8;;x"),
        # What a carriage return would overwrite counts, too.
        ("50%", b" 50%\r100%"),
        ("�", b"\xff"),
    ],
)
def test_visible_text_is_found(text: str, line: bytes) -> None:
    batch = batch_of(b"x\n" + line + b"\r\nx\n")
    assert list(Filter(text).numbers(batch)) == [2]
    assert list(Filter(text, case=False).numbers(batch)) == [2]
    assert list(Filter(re.escape(text), regex=True).numbers(batch)) == [2]
    assert list(Filter(text, invert=True).numbers(batch)) == [1, 3]


@pytest.mark.parametrize("flags", [{"partial": True}, {"continues": True}])
def test_parts_of_a_long_line_are_each_for_themselves(flags: dict[str, bool]) -> None:
    assert list(Filter("ab").numbers(batch_of(b"xab", **flags))) == [1]
    assert list(Filter("ab$", regex=True).numbers(batch_of(b"xab\r", **flags))) == []
    assert list(Filter("ab", invert=True).numbers(batch_of(b"xa", **flags))) == [1]


@pytest.mark.parametrize(
    "expression",
    ["(", "a**", r"\8", "(?=a)", "a{1001}", "((a{100}){100}){100}", r"(a)\1", "(?P<>a)"],
)
def test_a_malformed_expression_is_refused(expression: str) -> None:
    with pytest.raises(InvalidRequestError, match="RE2 refuses"):
        Filter(expression, regex=True)


@pytest.mark.parametrize(
    "expression", [r"\PL{300}", r"(?i)(\pL\PN[^\pZ]){50}q", "(?i)[\\pL]{100}q", ".{1,900}q" * 40]
)
def test_an_expression_that_is_too_large_is_refused_at_once(expression: str) -> None:
    start = time.thread_time()
    with pytest.raises(InvalidRequestError, match=r"^filter: "):
        Filter(expression, regex=True)
    assert time.thread_time() - start < 0.05


def test_a_program_of_too_many_instructions_is_refused() -> None:
    """Though RE2 takes it."""
    with pytest.raises(InvalidRequestError, match="instructions, and 2,000 are the most"):
        Filter(".{1,500}q", regex=True)


@pytest.mark.parametrize(
    "expression", [r"\pL+\pN", r"(?i)\pL+", r"(x?y?z?){300}q", r"\p{Greek}+", "(?i)(\\w+ )+x"]
)
def test_large_but_usual_expressions_are_taken(expression: str) -> None:
    Filter(expression, regex=True)


def test_nothing_is_empty() -> None:
    with pytest.raises(InvalidRequestError, match="empty"):
        Filter("")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("(a+)+$", b"a" * 99 + b"b"),
        ("(x?y?z?){300}q", b"xyzzyxyx" * 12),
        ("(a|aa)+$", b"a" * 99 + b"b"),
        ("[ab]*a[ab]{200}c", b"abbabaaabbbabab" * 7),
        (r"(?i)(\pL|\pN|[^a-z])+x\d", "éÀßж中x".encode() * 9),
    ],
)
def test_a_hostile_expression_is_looked_at_in_short_pieces(expression: str, text: bytes) -> None:
    """One call of RE2 takes about 10 ms at most; a busy machine gets ten times as long, but the
    whole batch would take more than that."""
    line_filter = Filter(expression, regex=True)
    batch = batch_of((text + b"\n") * (64 * 1024 // len(text)))
    last = 0
    durations = []
    while last < batch.last:
        part = batch.since(last + 1)
        start = time.thread_time()
        _, last = line_filter.numbers_until(part, -math.inf)
        durations.append(time.thread_time() - start)
    assert sorted(durations)[len(durations) // 2] < 2 * CALL_SECONDS
    assert max(durations) < 10 * CALL_SECONDS


def test_the_size_of_program_and_batch_decide_whether_a_filter_is_quick() -> None:
    assert Filter("a").is_quick(4096)
    assert not Filter("a").is_quick(10**6)
    assert Filter("ab", case=False).is_quick(1000)
    large = Filter("(x?y?z?){300}q", regex=True)
    assert not large.is_quick(1000)
    assert large.is_quick(20)
    assert large._expression.programsize <= MAX_PROGRAM


def test_the_cache_of_re2_keeps_nothing() -> None:
    Filter("a+", regex=True)
    assert re2._Regexp._make.cache_info().currsize == 0
