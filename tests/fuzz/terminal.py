"""The text of a log on a terminal: `trio_logs.cli.controls`."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from tests.fuzz import Target
from trio_logs.cli.controls import Neutralizer, is_harmless, one_line

__all__ = ["TARGETS"]

_PIECES = st.one_of(
    st.sampled_from(
        [
            "\x1b",
            "\x1b[",
            "\x9b",
            "\x1b]8;;http://x\x07",
            "\x1b]52;c;eA==\x1b\\",
            "\x1bP",
            "\x1b\\",
            "\x07",
            "\x9c",
            "\x9d",
            "31",
            "0",
            ";",
            ":",
            "m",
            "J",
            "2J",
            "\r",
            "\x1b[38;5;1m",
            "\x1b[" + "1;" * 200,
            "\u202e",
            "\u2066",
            "\t",
            "?",
            " ",
            "\x1b[0m",
            "\x18",
            "\x7f",
        ]
    ),
    st.text(max_size=6),
    st.text(alphabet="\x1b[]m0123456789;:?! \\\x07\x9bABJP^_X", max_size=12),
)
_LINES = st.lists(st.tuples(st.lists(_PIECES, max_size=12).map("".join), st.booleans()), max_size=5)

_COLOUR = re.compile(r"\x1b\[[0-9;:]{0,256}m")


def check(lines: list[tuple[str, bool]]) -> None:
    """Nothing but colours gets through, and each line resets them."""
    plain, coloured = Neutralizer(colour=False), Neutralizer(colour=True)
    for text, partial in lines:
        text = text.replace("\n", "")
        shown = plain.line(text, partial=partial)
        assert is_harmless(shown.encode(errors="surrogatepass"))
        shown = coloured.line(text, partial=partial)
        assert is_harmless(_COLOUR.sub("", shown).encode(errors="surrogatepass"))
        assert not _COLOUR.search(shown) or shown.endswith("\x1b[0m")
        one = one_line(text)
        assert is_harmless(one.encode(errors="surrogatepass"))
        assert not re.search("[\n\r\t\u2028\u2029]", one)
        # What is harmless stays, but for the controls that reorder text.
        assert one_line(one) == one


TARGETS = [Target("controls", _LINES, check)]
