"""What `trio-logs grep` and `logs --grep` print for a line, without a server."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
import re2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trio_logs.cli.controls import Neutralizer
from trio_logs.cli.exits import UsageError
from trio_logs.cli.highlight import HIT, highlight, matching_state
from trio_logs.cli.hits import HitLook, Hits
from trio_logs.cli.patterns import Pattern
from trio_logs.client import Hit
from trio_logs.filtering import Filter

# On a busy machine, examples take long to make.
patient = settings(suppress_health_check=[HealthCheck.too_slow])

START, RESET = f"\x1b[{HIT}m", "\x1b[0m"


def pattern(*patterns: str, fixed: bool = False, ignore_case: bool = False) -> Pattern:
    return Pattern("-e", patterns, fixed=fixed, ignore_case=ignore_case)


@pytest.mark.parametrize(
    ("patterns", "fixed", "matching", "others"),
    [
        (["a.c"], False, ["abc"], ["ac"]),
        (["a.c"], True, ["a.c"], ["abc"]),
        (["^a", "b$"], False, ["ab", "ax", "xb"], ["xbx"]),
        # Each begins a quotation, and the first one does not end it.
        (["\\Qa.c", "\\Qb.d"], False, ["a.c", "b.d"], ["abc", "bxd", "a.c|b"][:2]),
        (["\\Qa\\E.c", "x"], False, ["abc", "x"], ["ac"]),
        (["a\\\\Qb", "x"], False, ["a\\Qb", "x"], ["a"]),
        (["(?i)a", "b"], False, ["A", "b"], ["B"]),
        (["a.b", "c|d", ")"], True, ["a.b", "c|d", ")"], ["axb", "c", "d"]),
        (["a\nb"], False, ["a", "b"], ["c"]),
        (["a\nb"], True, ["a", "b"], ["c"]),
        ([""], False, ["", "x"], []),
        ([""], True, ["", "x"], []),
        (["a", ""], True, ["", "x"], []),
        (["a", ""], False, ["", "x"], []),
    ],
)
def test_any_of_the_patterns(
    patterns: list[str], fixed: bool, matching: list[str], others: list[str]
) -> None:
    """As the server filters, with what it is sent."""
    found = pattern(*patterns, fixed=fixed)
    filtered = Filter(found.filter, regex=found.regex)
    assert [text for text in [*matching, *others] if filtered.matches(text)] == matching


@patient
@given(st.lists(st.text("ab.*\\EQ|()[]-^$", max_size=5), min_size=1, max_size=4))
def test_joined_patterns_match_what_each_alone_matches(patterns: list[str]) -> None:
    try:
        each = [pattern(one) for one in patterns]
    except UsageError:
        with pytest.raises(UsageError):
            pattern(*patterns)
        return
    joined = pattern(*patterns)
    filtered = Filter(joined.filter, regex=joined.regex)
    alone = [Filter(one.filter, regex=one.regex) for one in each]
    for text in ("", "a", "ab", "a.b", "E", "Q", "aE", "\\", "ba|b", "(a)", "[-]", "^$*"):
        assert filtered.matches(text) == any(one.matches(text) for one in alone), text


@patient
@given(st.text("ab.*\\EQ|()[]", min_size=1, max_size=6), st.text("ab.*\\EQ|()[]", max_size=9))
def test_fixed_texts_are_found_as_they_are(wanted: str, text: str) -> None:
    joined = pattern(wanted, "zz", fixed=True)
    assert Filter(joined.filter, regex=joined.regex).matches(text) == (wanted in text)


def test_a_pattern_that_is_refused_names_its_option() -> None:
    with pytest.raises(UsageError, match=re.escape("-e 'b(': RE2 refuses this expression")):
        pattern("a", "b(")
    with pytest.raises(UsageError, match=re.escape(r"-e: '\udcff' is not UTF-8")):
        pattern("\udcff")
    assert pattern("(", fixed=True).filter == "("


@pytest.mark.parametrize(
    ("shown", "wanted", "coloured"),
    [
        ("an error here", "error", f"an {START}error{RESET} here"),
        ("eee", "e", f"{START}e{RESET}" * 3),
        ("äöäö", "ö", f"ä{START}ö{RESET}ä{START}ö{RESET}"),
        ("none", "x", "none"),
        ("empty", "x*", "empty"),
        # A colour within a match, before it and behind it.
        (
            "\x1b[32ma\x1b[1mb\x1b[0m",
            "ab",
            f"\x1b[32m{RESET}{START}ab{RESET}\x1b[32m\x1b[1m\x1b[0m",
        ),
        ("\x1b[32ma\x1b[0mb", "b", f"\x1b[32ma\x1b[0m{START}b{RESET}"),
        ("a\x1b[32mb\x1b[0m", "a", f"{START}a{RESET}\x1b[32mb\x1b[0m"),
    ],
)
def test_matches_are_coloured(shown: str, wanted: str, coloured: str) -> None:
    assert highlight(shown, pattern(wanted)) == coloured


def cells(text: str) -> list[tuple[str, str]]:
    """Each character with the colours that it has on a terminal."""
    found, colours = [], ""
    for piece in re.findall(r"\x1b\[[0-9;]*m|[^\x1b]", text):
        if not piece.startswith("\x1b"):
            found.append((piece, colours))
        elif re.match(r"\x1b\[0*[;m]", piece) and piece != START:
            colours = piece if piece.strip("\x1b[0;m") else ""
        else:
            colours += piece
    return found


COLOURED = st.lists(
    st.sampled_from(["a", "b", "ab", "x", "ä", "\x1b[31m", "\x1b[1m", "\x1b[0m", "\x1b[m"])
)


@patient
@given(COLOURED, st.sampled_from(["a", "ab", "a+", "b|x", "^a", "[abx]+$", "ä?"]))
def test_only_matches_change_their_colour(pieces: list[str], wanted: str) -> None:
    shown = Neutralizer(colour=True).line("".join(pieces))
    before, after = cells(shown), cells(highlight(shown, pattern(wanted)))
    assert [text for text, _ in after] == [text for text, _ in before]
    plain = "".join(text for text, _ in before)
    hit = {at for match in re.finditer(wanted, plain) for at in range(*match.span())}
    for at, ((_, own), (_, now)) in enumerate(zip(before, after, strict=True)):
        assert now == (START if at in hit else own)


@patient
@given(st.text("ab\x1b[]m0;1\x07\x9b\x90\r", max_size=30))
def test_nothing_but_colours_gets_through(text: str) -> None:
    hits = Hits(HitLook(pattern("a|b")), colour=True)
    shown = hits.render(hit(1, text), None)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", re.sub(r"\x1b\[[0-9;:]*m", "", shown))
    parts = Hits(HitLook(pattern("[^z]+"), only_matching=True), colour=False)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", parts.render(hit(1, text), None))


def hit(seq: int, text: str = "x", *, context: bool = False, log: str = "w") -> Hit:
    return Hit(seq, datetime(2026, 1, 31, tzinfo=UTC), "stdout", text, log, context=context)


@pytest.mark.parametrize(
    ("text", "wanted", "state"),
    [
        ("1%\r50%\r99%", "50", "1%\r50%"),
        ("1%\r50%\r99%", "%", "1%\r50%\r99%"),
        ("1%\r50%\r", "%", "1%\r50%"),
        ("a\rb", "a.b", "a\rb"),
        ("1\x1b[1m0\r2", "10", "1\x1b[1m0"),
    ],
)
def test_the_state_that_matches_is_shown(text: str, wanted: str, state: str) -> None:
    assert matching_state(text, pattern(wanted)) == state


def numbers(before: int | None, after: int | None, *found: Hit) -> list[int]:
    hits = Hits(HitLook(pattern("x"), before=before, after=after), colour=False)
    return [shown.seq for each in found for shown in hits.wanted(each)]


def test_lines_around_a_match() -> None:
    """The search finds as many before as after."""
    around = [hit(number, context=number not in (4, 9)) for number in range(1, 13)]
    assert numbers(0, 3, *around) == [4, 5, 6, 7, 9, 10, 11, 12]
    assert numbers(2, 0, *around) == [2, 3, 4, 7, 8, 9]
    assert numbers(1, 1, *around) == [3, 4, 5, 8, 9, 10]
    assert numbers(3, None, *around) == [1, 2, 3, 4, 6, 7, 8, 9]
    # Those before a match of the next log are no lines after a match of this one.
    other = [hit(1, context=True, log="v"), hit(2, log="v"), hit(3, context=True, log="v")]
    assert numbers(0, 2, hit(1), *other) == [1, 2, 3]
    assert numbers(1, 0, hit(1), hit(2, context=True), *other) == [1, 1, 2]
    # Lines before a match may be missing; older ones, or those of another log, do not replace them.
    after = [hit(1), hit(2, context=True), hit(3, context=True)]
    assert numbers(2, 0, *after, hit(9)) == [1, 9]
    assert numbers(2, 0, *after, hit(3, log="v")) == [1, 3]


@patient
@given(st.text("ab1 ", min_size=1, max_size=12), st.sampled_from(["a", "b+", "[ab]1", "x"]))
def test_parts_are_what_re2_finds(text: str, wanted: str) -> None:
    hits = Hits(HitLook(pattern(wanted), only_matching=True), colour=False)
    coloured = "".join(f"\x1b[3{number % 7}m{each}" for number, each in enumerate(text))
    shown = hits.render(hit(1, coloured), "log")
    assert shown == "".join(f"log:{part}\n" for part in re2.findall(wanted, text))
