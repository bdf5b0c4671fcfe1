"""The bytes of a stream after its last newline, as text, without I/O.

Sources: ECMA-48, section 5; xterm's ctlseqs, for strings that BEL ends.
"""

from __future__ import annotations

import re
from codecs import utf_8_decode

from .escapes import ESCAPE

__all__ = ["MAX_REST_BYTES", "rest_text"]

MAX_REST_BYTES = 4 * 1024
"""The longest text of an unfinished line, in bytes of UTF-8."""

_BEGUN_ESCAPE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\r\n]*\x1b?|[ -/]*)\Z",
)
"""An escape whose end has not arrived. A `\\r` ends a string: a stray start must not hide a bar."""


def rest_text(rest: bytes) -> str:
    """What a line that has not ended shows: a prompt, or the newest state of a progress bar.

    This is the text after the last `\\r` that has text after it: at most its last 4 KiB, never cut
    inside a character or an escape. U+FFFD replaces what is not valid UTF-8.
    """
    whole = _whole_characters(rest)
    if b"\x1b" in whole:
        whole = _BEGUN_ESCAPE.sub(b"", whole)
    text = whole.rstrip(b"\r").rpartition(b"\r")[2]
    if not text.isascii():
        text = text.decode(errors="replace").encode()
    return _end(text).decode()


def _whole_characters(text: bytes) -> bytes:
    """The text without the start of a character at its end."""
    for back in range(1, min(3, len(text)) + 1):
        byte = text[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            _, length = utf_8_decode(text[-back:], "replace", False)
            return text[: len(text) - back + length]
    return text


def _end(text: bytes) -> bytes:
    """The end of UTF-8, as much as the bound allows."""
    start = len(text) - MAX_REST_BYTES
    if start <= 0:
        return text
    for escape in ESCAPE.finditer(text):
        if escape.end() > start:
            if escape.start() < start:
                start = escape.end()
            break
    while start < len(text) and text[start] & 0xC0 == 0x80:
        start += 1
    return text[start:]
