"""The state of each stream of a log, as JSON that a store keeps beside it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from . import StreamState

__all__ = ["decode_streams", "encode_streams"]

encode_streams = msgspec.json.encode
_decode = msgspec.json.Decoder(dict[str, StreamState]).decode


def decode_streams(value: bytes | None) -> Mapping[str, StreamState]:
    """The state of each stream; empty for a log without an append."""
    return {} if value is None else _decode(value)
