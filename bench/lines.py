"""The lines that every program sends: 100 bytes each, numbered, and stamped when they are written.

    ~000000001 0000000012345678901 xxx...

The `~` is in each line once and nowhere else, so that a reader can count lines as fast as it can
receive them, and find out at each read whether its count is the number of the line before it.
"""

from __future__ import annotations

import time

__all__ = ["BLOCK_LINES", "END_SECONDS", "LINE_BYTES", "MARK", "block", "line"]

LINE_BYTES = 100
"""With the line's end."""

MARK = b"~"

BLOCK_LINES = 500

END_SECONDS = 0.2
"""How long a source with a rate goes on after its last line, here as in each peer: what the ends of
streams cost is not to be taken for the cost of lines."""

_FILL = "x" * (LINE_BYTES - len("~000000001 0000000012345678901 \n"))
_TEMPLATE = "".join(f"~PPPPPP{i:03d} SSSSSSSSSSSSSSSSSSS {_FILL}\n" for i in range(1000)).encode()
_HALVES = (_TEMPLATE[: BLOCK_LINES * LINE_BYTES], _TEMPLATE[BLOCK_LINES * LINE_BYTES :])


def line(number: int) -> bytes:
    """One line, stamped now, with its end."""
    return f"~{number:09d} {time.monotonic_ns():019d} {_FILL}\n".encode()


def block(start: int, most: int = BLOCK_LINES) -> bytes:
    """Lines from `start`, a multiple of 500: 500 of them, or `most`, stamped now.

    So cheap that a program which takes lines in bulk is not held up by their making.
    """
    thousands, rest = divmod(start, 1000)
    template = _HALVES[rest // BLOCK_LINES][: most * LINE_BYTES]
    numbered = template.replace(b"PPPPPP", b"%06d" % thousands)
    return numbered.replace(b"S" * 19, b"%019d" % time.monotonic_ns())
