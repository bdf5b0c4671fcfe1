"""What a workload may do to a terminal: colours, and nothing else."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_logs.cli.controls import Neutralizer, is_harmless

RESET = "\x1b[0m"
HARMFUL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
TEXT = "a text\twith ü and 日本"

# name: what is written, what is shown without colour
LINES = {
    "text": (TEXT, TEXT),
    "empty": ("", ""),
    "colour": ("\x1b[1;31mred\x1b[0m", "red"),
    "colour of 24 bits": ("\x1b[38:2::255:0:0mred\x1b[m", "red"),
    "cursor": ("a\x1b[2Jb\x1b[1;1Hc\x1b[?25ld\x1b[6ne", "abcde"),
    "keyboard mode, which ends like a colour": ("\x1b[>4;2mx\x1b[?4my", "xy"),
    "intermediate byte": ("\x1b[2 qx\x1b[!py", "xy"),
    "title": ("\x1b]0;owned\x07x\x1b]2;owned\x1b\\y", "xy"),
    "clipboard": ("\x1b]52;c;cm0gLXJmIC8=\x07x", "x"),
    "link": ("\x1b]8;;http://evil/\x1b\\click\x1b]8;;\x1b\\ here", "click here"),
    "device control": ("\x1bPq#0;2;0;0;0\x1b\\x\x1b_a\x1b\\y\x1b^p\x1b\\z\x1bXs\x1b\\!", "xyz!"),
    "C1": ("a\x9b31mb\x9d0;t\x9cc\x90q\x9cd\x85e\x84f", "abcdef"),
    "C1 opens, escape closes": ("\x9d0;t\x1b\\x", "x"),
    "charset, reset, keypad": ("\x1b(0a\x1bcb\x1b=c\x1b#8d", "abcd"),
    "C0": ("a\x00b\x05c\x07d\x08e\x0bf\x0cg\x0eh\x7fi", "abcdefghi"),
    "unfinished": ("a\x1b", "a"),
    "unfinished CSI": ("a\x1b[31", "a31"),
    "unfinished title": ("a\x1b]0;never ended", "a0;never ended"),
    "sequence in a title": ("\x1b]0;a\x1b[31mb\x07c", "0;abc"),
    "control in a sequence": ("\x1b[3\x081mx", "31mx"),
    "a sequence around another": ("\x1b\x1b[2J[2Jx", "[2Jx"),
    "progress": ("10%\r55%\r100%", "100%"),
    "progress, cleared": ("55%\r\x1b[K100%\x1b[K\r", "100%"),
    "progress over spaces": ("55%\r    \rdone", "done"),
    "npm's spinner": ("⠙\x1b[1G\x1b[0K⠹\x1b[1G\x1b[0Kdone", "done"),
    "npm's spinner, cleared": ("⠙\x1b[1G\x1b[0K", ""),
    "a whole line erased": ("50%\x1b[2K\rdone", "done"),
    "the first column by default": ("50%\x1b[Gdone", "done"),
    "another column": ("50%\x1b[10Gdone", "50%done"),
    "the rest of a line erased": ("kept\x1b[K too\x1b[1K", "kept too"),
    "C1 returns and erases": ("50%\x9b1G\x9bKdone", "done"),
    "carriage returns alone": ("\r\r", ""),
    "override": ("safe\u202eexe.\u202c", "safe<U+202E>exe.<U+202C>"),
    "isolate": ("a\u2066b\u2069\u2067c\u2068", "a<U+2066>b<U+2069><U+2067>c<U+2068>"),
    "text that is written from the right": ("שלום\u200f!", "שלום\u200f!"),
}


@pytest.mark.parametrize(("written", "shown"), LINES.values(), ids=LINES)
def test_lines(written: str, shown: str) -> None:
    assert Neutralizer(colour=False).line(written) == shown


COLOURED = {
    "none": (["a", "b"], ["a", "b"]),
    "one word": (["a \x1b[31mred\x1b[0m b"], [f"a \x1b[31mred\x1b[0m b{RESET}"]),
    "over lines": (
        ["\x1b[1m\x1b[31mred", "still", "end\x1b[m", "plain"],
        [
            f"\x1b[1m\x1b[31mred{RESET}",
            f"\x1b[1m\x1b[31mstill{RESET}",
            f"\x1b[1m\x1b[31mend\x1b[m{RESET}",
            "plain",
        ],
    ),
    "a reset that sets": (
        ["\x1b[1mx\x1b[0;32my", "z"],
        [f"\x1b[1mx\x1b[0;32my{RESET}", f"\x1b[0;32mz{RESET}"],
    ),
    "C1 becomes what every terminal knows": (["\x9b32mx"], [f"\x1b[32mx{RESET}"]),
    "set in what was erased": (["\x1b[32m⠙\x1b[1G\x1b[0K20%"], [f"\x1b[32m20%{RESET}"]),
    "set before it is erased": (["⠙\x1b[1G\x1b[32m\x1b[K20%"], [f"\x1b[32m20%{RESET}"]),
    "set in a state that is gone": (["\x1b[32m10%\r20%"], [f"\x1b[32m20%{RESET}"]),
    "no end of colours": (
        ["\x1b[31m" * 1000 + "x", "y"],
        ["\x1b[31m" * 1000 + f"x{RESET}", f"\x1b[31my{RESET}"],
    ),
    "not a colour": (["\x1b[>4;2mx", "y"], ["x", "y"]),
    "a colour that is too long": (
        ["\x1b[1m\x1b[" + "0" * 300 + ";31mx", "Jy"],
        [f"\x1b[1mx{RESET}", f"\x1b[1mJy{RESET}"],
    ),
    "the longest colour": (
        ["\x1b[" + "1;" * 126 + "31mx", "Jy"],
        ["\x1b[" + "1;" * 126 + f"31mx{RESET}", "\x1b[" + "1;" * 126 + f"31mJy{RESET}"],
    ),
}


@pytest.mark.parametrize(("written", "shown"), COLOURED.values(), ids=COLOURED)
def test_colours(written: list[str], shown: list[str]) -> None:
    neutralizer = Neutralizer(colour=True)
    assert [neutralizer.line(line) for line in written] == shown


@pytest.mark.parametrize("at", range(40))
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("ab\x1b[1;31mred\x1b[0m", "abred"),
        ("ab\x1b]8;;http://x\x1b\\link\x1b]8;;\x07", "ablink"),
        ("ab\x9d52;c;ZXZpbA==\x9ccd\x1b(0ef", "abcdef"),
    ],
)
def test_a_sequence_may_be_cut_where_a_long_line_is(line: str, shown: str, at: int) -> None:
    neutralizer = Neutralizer(colour=False)
    parts = [neutralizer.line(line[:at], partial=True), neutralizer.line(line[at:])]
    assert "".join(parts) == shown
    assert neutralizer.idle


def test_a_string_without_end_hides_its_own_line_alone() -> None:
    neutralizer = Neutralizer(colour=False)
    assert neutralizer.line("a\x1b]52;c;" + "A" * 1000, partial=True) == "a"
    assert neutralizer.line("A" * 1000, partial=True) == ""
    assert neutralizer.line("still in it\x07 out") == " out"
    assert neutralizer.line("a\x1b]52;c;x") == "a52;c;x"
    assert neutralizer.line("the next") == "the next"


LONG_COLOUR = "\x1b[" + "1;" * 200 + "31m"
PIECES = st.one_of(
    st.sampled_from(
        [*"\x1b[]m0;\x9b\x9c\x9d\x07\r\x08P\u202e\u2069", "31", "\x1b[31m", LONG_COLOUR]
    ),
    st.text(max_size=3),
)
WRITTEN = st.lists(PIECES, max_size=20).map("".join)


@given(st.lists(st.tuples(WRITTEN, st.booleans())))
def test_each_colour_is_complete(lines: list[tuple[str, bool]]) -> None:
    """A cut colour would make the next letter its end, and so a command to the terminal."""
    neutralizer = Neutralizer(colour=True)
    for text, partial in lines:
        shown = neutralizer.line(text, partial=partial)
        assert "\x1b" not in re.sub(r"\x1b\[[0-9;:]*m", "", shown)


@given(st.lists(st.tuples(WRITTEN, st.booleans())), st.booleans())
def test_nothing_but_colours_gets_through(lines: list[tuple[str, bool]], colour: bool) -> None:
    neutralizer = Neutralizer(colour=colour)
    shown = "".join(neutralizer.line(text, partial=partial) for text, partial in lines)
    without = re.sub(r"\x1b\[[0-9;:]*m", "", shown)
    assert not re.search(HARMFUL, without.replace("\n", ""))
    assert colour or shown == without


@given(WRITTEN)
def test_each_line_is_complete_in_itself(text: str) -> None:
    shown = Neutralizer(colour=True).line(text)
    assert "\x1b" not in shown or shown.endswith(RESET)


@given(st.text() | WRITTEN)
def test_the_quick_look_sees_what_the_slow_one_changes(text: str) -> None:
    text = text.replace("\n", "")
    harmless = is_harmless(text.encode(errors="replace"))
    assert harmless == (not re.search(HARMFUL, text))
    if harmless:
        assert Neutralizer(colour=False).line(text) == text


@pytest.mark.parametrize("piece", ["\x9d", "\x1b]", "\x1b[", "\x9b0", "\x1b[1", "\r", "\x1b[m\r"])
@pytest.mark.parametrize("end", ["", "\x07", "\x1b"])
def test_no_line_takes_long(piece: str, end: str) -> None:
    line = piece * (64 * 1024 // len(piece)) + end
    start = time.process_time()
    for partial in (True, False):
        Neutralizer(colour=True).line(line, partial=partial)
    # It takes 0.1 s; what looks at the rest of the line from each of its places takes minutes.
    assert time.process_time() - start < 5
