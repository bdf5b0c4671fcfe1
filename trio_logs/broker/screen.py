"""What a client shows of the lines that have not ended, without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..records import Unfinished

__all__ = ["BLANK", "Screen"]


@dataclass(frozen=True, slots=True)
class Screen:
    """The texts that a client shows, by stream, and the number of the last round that it has. A
    text is never empty."""

    round: int = 0
    texts: Mapping[str, str] = field(default_factory=dict)

    def without(self, streams: Iterable[str]) -> Screen:
        """After lines of these streams: each replaces the unfinished line of its stream."""
        if not self.texts:
            return self
        ended = set(streams)
        texts = {stream: text for stream, text in self.texts.items() if stream not in ended}
        return Screen(self.round, texts)

    def changes(self, target: Screen) -> list[Unfinished]:
        """What to send to a client that shows this, so that it shows the texts of `target`."""
        before, after = self.texts, target.texts
        return [
            Unfinished(stream, after.get(stream, ""))
            for stream in {**before, **after}
            if after.get(stream) != before.get(stream)
        ]


BLANK = Screen()
