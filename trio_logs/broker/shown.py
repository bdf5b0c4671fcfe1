"""The unfinished lines of a log, as a node tells them to other nodes; without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from ..rests import MAX_REST_BYTES
from ..store.shared import SHOWN_BYTES
from .unfinished import texts_of

__all__ = ["Shown", "decode", "encode"]


@dataclass(frozen=True, slots=True)
class Shown:
    """The unfinished texts that follow line `line` of a log, by stream."""

    line: int
    texts: Mapping[str, str]


def encode(line: int, rests: Mapping[str, bytes]) -> bytes:
    """The unfinished texts of all streams after line `line`, in at most SHOWN_BYTES bytes. `rests`
    are the bytes after the last newline, by stream. Of a long text, only the end is kept; of too
    many streams, none."""
    longest = MAX_REST_BYTES
    while longest:
        cut = {stream: rest[-longest:] for stream, rest in rests.items()}
        content = msgspec.json.encode(Shown(line, texts_of(cut)))
        if len(content) <= SHOWN_BYTES:
            return content
        longest //= 2
    return msgspec.json.encode(Shown(line, {}))


def decode(content: bytes) -> Shown | None:
    """What `encode` has made; None for what another version has made."""
    try:
        return msgspec.json.decode(content, type=Shown)
    except msgspec.DecodeError:
        return None
