"""Workloads as a table."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from ..client import Status, Workload
from .controls import one_line

__all__ = ["current_time", "make_table"]

COLOURS = {
    Status.QUEUED: "cyan",
    Status.RUNNING: "blue",
    Status.SUCCEEDED: "green",
    Status.STOPPED: "yellow",
}
"""All other statuses are red."""

NAME_WIDTH = 30
"""Cells that a name takes at most on a terminal."""


def make_table(workloads: Sequence[Workload], now: datetime, *, is_terminal: bool = True) -> Table:
    """A row for each workload, with times relative to `now`. On a terminal, long names are cut; if
    the table is still too wide, names and commands are cut further, other columns never."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("ID", no_wrap=True)
    # Rich narrows columns that may wrap first. Their texts are cut, not wrapped.
    table.add_column("NAME", max_width=NAME_WIDTH if is_terminal else None)
    for title in ("STATUS", "EXIT", "CREATED", "TOOK"):
        table.add_column(title, no_wrap=True)
    table.add_column("LINES", no_wrap=True, justify="right")
    table.add_column("COMMAND")
    for each in workloads:
        ended = each.finished_at or now
        table.add_row(
            each.id,
            _plain(each.name or "-"),
            Text(each.status, style=COLOURS.get(each.status, "red")),
            str(each.exit_code) if each.exit_code is not None else each.signal or "-",
            f"{_duration((now - each.created_at).total_seconds())} ago",
            _duration((ended - each.started_at).total_seconds()) if each.started_at else "-",
            str(each.lines),
            _plain(shlex.join(each.command)),
        )
    return table


def _plain(text: str) -> Text:
    """Untrusted text, which must control neither the terminal nor the table."""
    return Text(one_line(text), no_wrap=True, overflow="ellipsis")


def _duration(seconds: float) -> str:
    """Seconds as the two largest units, as in `3h 5m`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    left = int(seconds)
    shown: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or shown:
            shown.append(f"{count}{unit}")
    return " ".join(shown[:2])


def current_time() -> datetime:
    """The clock of this machine, which may differ from the server's."""
    return datetime.now(UTC)
