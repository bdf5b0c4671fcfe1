"""What a client shows of lines that have not ended, and what the contract says about that."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Iterable

from trio_logs.records import Batch, Unfinished

__all__ = ["Viewer", "expected_text"]

ESC = "\x1b"


class Viewer:
    """A client that shows unfinished lines, by stream. `faults` are events that it need not get."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.events: list[tuple[str, str]] = []
        self.lines: list[str] = []
        self.faults: list[str] = []
        self.taken: list[object] = []

    def take(self, records: Iterable[object]) -> None:
        """Take the next records of the answer."""
        for record in records:
            self.taken.append(record)
            match record:
                case Unfinished(stream, text):
                    if self.texts.get(stream, "") == text:
                        self.faults.append(f"{stream} shows {text!r} already")
                    self.events.append((stream, text))
                    self.texts.pop(stream, None)
                    if text:
                        self.texts[stream] = text
                case Batch():
                    self.texts.pop(record.stream, None)
                    self.lines += [line.decode(errors="replace") for line in record.lines]


def expected_text(rest: bytes, limit: int = 4096) -> str:
    """The `text` of a rest, by the words of the contract: token by token."""
    tokens = _tokens(getincrementaldecoder("utf-8")("replace").decode(rest))
    while tokens and tokens[-1] == "\r":
        tokens.pop()
    for index in reversed(range(len(tokens))):
        if tokens[index] == "\r":
            tokens = tokens[index + 1 :]
            break
    while len("".join(tokens).encode()) > limit:
        tokens.pop(0)
    return "".join(tokens)


def _tokens(text: str) -> list[str]:
    """Characters and escapes; an escape that has begun at the end is left out."""
    tokens = []
    while text:
        length = _escape(text) if text[0] == ESC else 1
        if length is None:
            break
        tokens.append(text[:length])
        text = text[length:]
    return tokens


def _escape(text: str) -> int | None:
    """The length of the escape at the start; None if its end has not come."""
    if len(text) == 1:
        return None
    kind = text[1]
    if kind in "]PX^_":
        for index in range(2, len(text)):
            if text[index] == "\x07":
                return index + 1
            if text[index] == ESC:
                if index + 1 == len(text):
                    return None
                return index + 2 if text[index + 1] == "\\" else 2
            if text[index] in "\r\n":
                return 2
        return None
    index = 1
    if kind == "[":
        index = 2
        while index < len(text) and "0" <= text[index] <= "?":
            index += 1
    while index < len(text) and " " <= text[index] <= "/":
        index += 1
    if index == len(text):
        return None
    if ("@" if kind == "[" else "0") <= text[index] <= "~":
        return index + 1
    return 2 if kind == "[" else 1
