"""The row in which unfinished lines are drawn."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from trio_logs.cli.row import ERASE, Row, cut
from trio_logs.client import Line

TIME = datetime(2026, 1, 31, 12, tzinfo=UTC)


def line(text: str, *, partial: bool = False) -> Line:
    return Line(1, TIME, "stdout", text, partial)


class Plain:
    """A channel that changes nothing but carriage returns."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    def render(self, lines: Sequence[Line], *, goes_on: bool) -> bytes:
        text = ""
        for each in lines:
            text += "" if goes_on else self.prefix
            text += each.text.rstrip("\r").rpartition("\r")[2]
            text += "" if each.partial else "\n"
            goes_on = each.partial
        return text.encode()

    def draft(self, text: str) -> str:
        return self.prefix + text.rstrip("\r").rpartition("\r")[2]


def screen(written: bytes) -> list[str]:
    """What a terminal shows that is wide enough."""
    rows = [""]
    column = 0
    for token in re.findall(r"\x1b\[K|.|\n|\r", written.decode()):
        match token:
            case "\x1b[K":
                rows[-1] = rows[-1][:column]
            case "\r":
                column = 0
            case "\n":
                rows.append("")
                column = 0
            case _:
                rows[-1] = rows[-1][:column] + token + rows[-1][column + 1 :]
                column += 1
    return rows


@pytest.mark.parametrize(
    ("text", "columns", "kept"),
    [
        ("plain", 10, "plain"),
        ("plain", 5, "plain"),
        ("plain", 4, "plai"),
        ("日本語", 6, "日本語"),
        # Half of a wide character can't be shown, nor what follows it.
        ("日本語x", 5, "日本"),
        ("日本x", 3, "日"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("a\tb", 20, "a       b"),
        ("a\tb", 5, "a"),
        ("\x1b[31mred\x1b[0m", 2, "\x1b[31mre\x1b[0m"),
        ("\x1b[31mred\x1b[0m", 3, "\x1b[31mred\x1b[0m"),
    ],
)
def test_it_is_cut_to_the_cells_of_the_terminal(text: str, columns: int, kept: str) -> None:
    assert cut(text, columns) == kept


def test_a_text_is_drawn_in_place_and_erased_before_a_line() -> None:
    row, channel = Row(lambda: 20), Plain()
    written = [
        row.show(channel, "10%"),
        row.show(channel, "20%"),
        row.print(channel, [line("30%"), line("next")]),
        row.show(channel, "name?"),
        row.write(b"notice\n"),
        row.show(channel, ""),
    ]
    assert written == [
        b"10%",
        ERASE + b"20%",
        ERASE + b"30%\nnext\n",
        b"name?",
        # It is drawn again below.
        ERASE + b"notice\nname?",
        ERASE,
    ]
    assert row.leave() == b""


def test_nothing_is_written_twice() -> None:
    row, channel = Row(lambda: 20), Plain()
    assert row.show(channel, "10%") == b"10%"
    assert row.show(channel, "10%") == b""
    assert row.show(Plain(), "") == b""


def test_the_newest_of_several_is_drawn() -> None:
    row, a, b = Row(lambda: 20), Plain("a | "), Plain("b | ")
    written = row.show(a, "1") + row.show(b, "2")
    assert screen(written) == ["b | 2"]
    written += row.print(a, [line("1 done")])
    assert screen(written) == ["a | 1 done", "b | 2"]
    written += row.show(a, "again") + row.print(a, [line("again done")])
    assert screen(written) == ["a | 1 done", "a | again done", "b | 2"]
    assert row.leave() == b"\n"


def test_nothing_is_drawn_where_there_is_no_terminal() -> None:
    row, channel = Row(None), Plain()
    assert row.show(channel, "10%") == b""
    assert row.print(channel, [line("10%")]) == b"10%\n"
    assert row.print(channel, [line("a\rb", partial=True)]) == b"b"
    assert row.leave() == b""


def test_what_was_drawn_of_a_log_that_breaks_off_stays() -> None:
    row, a, b = Row(lambda: 20), Plain("a | "), Plain("b | ")
    written = row.show(a, "50%") + row.show(b, "60%") + row.end(a) + row.end(b)
    assert screen(written) == ["a | 50%", "b | 60%", ""]
    assert row.leave() == b""


def test_a_bar_that_is_longer_than_a_line_may_be_takes_one_row() -> None:
    row, channel = Row(lambda: 20), Plain("a | ")
    written = row.print(channel, [line("1%\r2%\r3", partial=True)])
    assert screen(written) == ["a | 3"]
    # The part has cut it in the middle.
    written += row.show(channel, "4%")
    assert screen(written) == ["a | 4%"]
    written += row.print(channel, [line("3%\r4", partial=True), line("%\r5%\r", partial=True)])
    written += row.print(Plain("b | "), [line("other")])
    assert screen(written) == ["b | other", "a | 5%"]
    written += row.print(channel, [line("99%"), line("done")])
    assert screen(written) == ["b | other", "a | 99%", "a | done", ""]
    written += row.print(channel, [line("1%\r2", partial=True)]) + row.print(channel, [line("%")])
    assert screen(written)[3:] == ["a | 2%", ""]


def test_nothing_is_drawn_behind_a_line_that_is_printed_in_part() -> None:
    row, a, b = Row(lambda: 20), Plain("a | "), Plain("b | ")
    written = row.print(a, [line("long", partial=True)])
    written += row.show(a, "er")
    written += row.show(b, "50%")
    assert screen(written) == ["a | long"]
    written += row.print(a, [line("er")])
    assert screen(written) == ["a | longer", "b | 50%"]


@pytest.mark.parametrize("seed", range(50))
def test_the_screen_has_all_lines_and_the_newest_text(seed: int) -> None:
    rng = random.Random(seed)
    row = Row(lambda: 1000)
    channels = [Plain(f"{name} | ") for name in "abc"]
    rests: dict[Plain, str] = {}
    expected: list[str] = []
    written = b""
    for number in range(60):
        channel = rng.choice(channels)
        match rng.choice(["show", "line", "part", "notice"]):
            case "show":
                rest = rests.pop(channel, "") + f"\r{number}"
                rests[channel] = rest
                written += row.show(channel, str(number))
            case "part" if channel in rests:
                # What has come so far is delivered as a part.
                part = rests[channel] + f"\r{number}"
                written += row.print(channel, [line(part, partial=True)])
                written += row.print(channel, [line("!")])
                expected.append(f"{channel.prefix}{number}!")
                del rests[channel]
            case "line":
                text = rests.pop(channel, "") + f" end {number}"
                written += row.print(channel, [line(text)])
                expected.append(channel.prefix + text.rpartition("\r")[2])
            case "notice":
                written += row.write(b"notice\n")
                expected.append("notice")
    newest = [f"{channel.prefix}{rest.rpartition(chr(13))[2]}" for channel, rest in rests.items()]
    assert screen(written) == [*expected, newest[-1] if newest else ""]
