"""The text of a line that has not ended."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.screens import expected_text
from trio_logs import rests
from trio_logs.rests import MAX_REST_BYTES, rest_text

BAR = "█"
"""Three bytes of UTF-8."""

TEXTS = {
    "a prompt": (b"Password: ", "Password: "),
    "a bar": (b"10%\r20%\r30%", "30%"),
    "a bar that ends each state": (b"10%\r20%\r30%\r", "30%"),
    "more than one carriage return": (b"10%\r\r\r", "10%"),
    "nothing but carriage returns": (b"\r\r", ""),
    "nothing": (b"", ""),
    "other line ends of Unicode": ("a\x0b\x0c\x85\u2028b".encode(), "a\x0b\x0c\x85\u2028b"),
    "a character in part": (f"5{BAR}".encode()[:-1], "5"),
    "a character in part after a carriage return": (f"5%\r{BAR}".encode()[:-2], "5%"),
    "a character of four bytes in part": ("a🙂".encode()[:-1], "a"),
    "invalid UTF-8": (b"a\xffb\xe2\x28", "a\ufffdb\ufffd("),
    "invalid UTF-8 at the end": (b"a\xff", "a\ufffd"),
    "a lonely continuation": (b"a\x80\x80\x80\x80", "a\ufffd\ufffd\ufffd\ufffd"),
    "a colour": (b"1%\r\x1b[32m2%\x1b[0m", "\x1b[32m2%\x1b[0m"),
    "an escape in part": (b"1%\r2%\x1b[3", "2%"),
    "an escape in part after a carriage return": (b"1%\r\x1b[3", "1%"),
    "the start of an escape": (b"1%\x1b", "1%"),
    "a title in part": (b"1%\x1b]0;title", "1%"),
    "a title whose end has come in part": (b"1%\x1b]0;title\x1b", "1%"),
    "a title": (b"1%\x1b]0;title\x1b\\", "1%\x1b]0;title\x1b\\"),
    "the start of a string before a bar": (b"\x1b]1%\r2%", "2%"),
    "as long as may be": (b"x" * MAX_REST_BYTES, "x" * MAX_REST_BYTES),
    "too long": (b"y" + b"x" * MAX_REST_BYTES, "x" * MAX_REST_BYTES),
    "cut before a character": (f"{BAR}{'x' * 4094}".encode(), "x" * 4094),
    "cut before an escape": (b"\x1b[31m" + b"x" * 4094, "x" * 4094),
    "cut after an escape": (b"y\x1b[31m" + b"x" * 4091, "\x1b[31m" + "x" * 4091),
    "grown by its replacement": (b"\xff" * 2000, "\ufffd" * 1365),
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_of_a_rest(name: str) -> None:
    rest, text = TEXTS[name]
    assert rest_text(rest) == text
    assert expected_text(rest) == text


PIECES = st.sampled_from(
    [
        *(b"\r", b"a", b"0;1", b"m", b" ", b"\\", b"\x07", b"\x1b", b"\x1b[", b"\x1b]", b"\x1b[3"),
        *("é".encode(), BAR.encode(), "🙂".encode(), BAR.encode()[:-1], b"\xff", b"\x80", b"\xf0"),
        *(b"\x1b[31m", b"\x1b]0;t\x07", b"\x1b(B", b"\x1b#8", b"10%"),
    ]
)


@given(pieces=st.lists(PIECES, max_size=30), limit=st.integers(4, 20))
@example(pieces=[b"\xf0", b"\x80"], limit=4)
def test_it_is_what_the_contract_says(pieces: list[bytes], limit: int) -> None:
    rest = b"".join(pieces)
    with patch.object(rests, "MAX_REST_BYTES", limit):
        assert rest_text(rest) == expected_text(rest, limit)


@given(rest=st.binary(max_size=40))
def test_any_bytes(rest: bytes) -> None:
    rest = rest.replace(b"\n", b"")
    assert rest_text(rest) == expected_text(rest)
