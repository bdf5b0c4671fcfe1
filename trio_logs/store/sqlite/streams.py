"""The column `streams` of `workloads`: the state of each stream of a log, as JSON."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from .. import StreamState

__all__ = ["decode_streams", "encode_streams"]

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(dict[str, StreamState]).decode


def encode_streams(streams: Mapping[str, StreamState] | None) -> str | None:
    """The value of the column."""
    return None if streams is None else _encode(streams).decode()


def decode_streams(value: str | None, size: int, unfinished: str | None) -> dict[str, StreamState]:
    """The state of each stream.

    A log of a file before version 4 has no such value. Its `size` bytes count as stdout: a pushed
    log, whose client asks for this number, had no other stream then. `unfinished` is the stream of
    its last batch, if that is a fragment.
    """
    if value is not None:
        return _decode(value)
    streams = {"stdout": StreamState(size)} if size else {}
    if unfinished is not None:
        streams[unfinished] = StreamState(size if unfinished == "stdout" else 0, unfinished=True)
    return streams
