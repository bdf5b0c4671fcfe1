"""Pages of changes, as a store returns them, and how many deletions a store keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..records import Change

__all__ = ["KEPT_DELETIONS", "ChangePage", "page_of"]

KEPT_DELETIONS = 10_000
"""How many deletions a store keeps, the newest ones. A record keeps its own last change."""


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes after a position, oldest first: of each workload, only the last one.

    With them, a reader has everything up to `position`. When they were read, `newest` was the
    position of the newest change, and deletions up to position `forgotten` were not kept any more.
    Unless it `is_known`, the position before the page was never given, or a failover has lost it.
    """

    changes: Sequence[Change]
    position: int
    newest: int
    forgotten: int
    is_known: bool = True


def page_of(
    changes: Iterable[Change], after: int, max_bytes: int, *, newest: int, forgotten: int
) -> ChangePage:
    """The first changes after a position, until their weight is `max_bytes`. It takes no more of
    `changes`."""
    if after > newest:
        return ChangePage((), newest, newest, forgotten, is_known=False)
    page: list[Change] = []
    for change in changes:
        page.append(change)
        max_bytes -= change.weight
        if max_bytes <= 0:
            return ChangePage(page, change.position, newest, forgotten)
    return ChangePage(page, newest, newest, forgotten)
