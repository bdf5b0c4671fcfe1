"""The bytes of an answer to a search to records, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from .events import ObjectParser
from .records import Hit, MatchesEnd, Progress, SearchEnd, Tile

__all__ = ["HitParser", "TileParser"]

_HITS = msgspec.json.Decoder(Hit)
_TILES = msgspec.json.Decoder(Tile)


class HitParser(ObjectParser):
    """For a search over logs."""

    _kind = "a search"

    def _lines(self, objects: bytes | memoryview) -> Sequence[Any]:
        return _HITS.decode_lines(objects)

    def _control(self, name: str, data: bytes) -> Sequence[Any]:
        match name:
            case "progress":
                return [msgspec.json.decode(data, type=Progress)]
            case "end":
                return [msgspec.json.decode(data, type=SearchEnd)]
        # Later versions of the service may have events of other names.
        return []


class TileParser(ObjectParser):
    """For the matches in one log."""

    _kind = "a search"

    def _lines(self, objects: bytes | memoryview) -> Sequence[Any]:
        return _TILES.decode_lines(objects)

    def _control(self, name: str, data: bytes) -> Sequence[Any]:
        if name == "end":
            return [msgspec.json.decode(data, type=MatchesEnd)]
        return []
