"""Workloads as a table, without I/O."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from ..client import Status, Workload
from .controls import one_line
from .times import local_time

__all__ = ["duration", "make_table", "short_ids"]

COLOURS = {
    Status.QUEUED: 36,
    Status.RUNNING: 34,
    Status.SUCCEEDED: 32,
    Status.STOPPED: 33,
}
"""All other statuses are red."""
RED = 31

SHORT_ID = 6
"""The last characters of an id: they are random, and the first ones are the time."""

GAP = "  "
NAME_WIDTH = 30
"""Cells that a name takes at most on a terminal."""
READABLE_NAME = 16
"""Other columns are left out before a longer name has less."""
READABLE_COMMAND = 10
WIDE = 120
"""From this width on, and in a pipe, CREATED is a time; otherwise it is how long ago that was."""

TITLES = ("ID", "NAME", "STATUS", "EXIT", "CREATED", "TOOK", "LINES", "COMMAND")
OPTIONAL = ("LINES", "TOOK", "EXIT", "CREATED")
"""The first of these is the first to be left out."""


def make_table(
    workloads: Sequence[Workload],
    now: datetime,
    columns: int | None = None,
    *,
    colour: bool = False,
) -> list[str]:
    """The lines of a table: a title, and a row for each workload.

    `columns` is the width of a terminal, in cells; None means a pipe, which takes lines of any
    length, and whole ids. On a terminal, ids are short, and names and commands are cut.
    """
    is_wide = columns is None or columns >= WIDE
    ids = [each.id for each in workloads] if columns is None else short_ids(workloads)
    rows = [
        _cells(each, workload_id, now, is_wide=is_wide)
        for each, workload_id in zip(workloads, ids, strict=True)
    ]
    widths = {
        title: max([len(title), *(_width(row[place]) for row in rows)])
        for place, title in enumerate(TITLES)
    }
    if columns is not None:
        widths = _fit(widths, columns)
    places = [place for place, title in enumerate(TITLES) if title in widths]
    limits = [widths[TITLES[place]] for place in places]
    lines = []
    for row in (TITLES, *rows):
        cells = [_padded(row[place], limit) for place, limit in zip(places, limits, strict=True)]
        if "LINES" in widths:
            place = places.index(TITLES.index("LINES"))
            cells[place] = f"{row[TITLES.index('LINES')]:>{limits[place]}}"
        cells[-1] = cells[-1].rstrip()
        if colour and row is not TITLES:
            cells[2] = f"\x1b[{_colour(row[2])}m{cells[2]}\x1b[0m"
        line = GAP.join(cells)
        lines.append(f"\x1b[1m{line}\x1b[0m" if colour and row is TITLES else line)
    return lines


def short_ids(workloads: Sequence[Workload]) -> list[str]:
    """The last six characters of each id, or more where these are the end of another id too, or a
    name."""
    names = {each.name for each in workloads}
    shown = [each.id for each in workloads]
    longest = max(map(len, shown), default=0)
    waiting = [*range(len(shown))]
    for length in range(SHORT_ID, longest):
        ends = Counter(each.id[-length:] for each in workloads)
        unclear = []
        for place in waiting:
            end = workloads[place].id[-length:]
            if ends[end] > 1 or end in names:
                unclear.append(place)
            else:
                shown[place] = end
        waiting = unclear
        if not waiting:
            break
    return shown


def _cells(workload: Workload, workload_id: str, now: datetime, *, is_wide: bool) -> Sequence[str]:
    each = workload
    ended = each.finished_at or now
    created = f"{duration((now - each.created_at).total_seconds())} ago"
    return (
        workload_id,
        one_line(each.name or "-"),
        each.status,
        str(each.exit_code) if each.exit_code is not None else each.signal or "-",
        local_time(each.created_at) if is_wide else created,
        duration((ended - each.started_at).total_seconds()) if each.started_at else "-",
        str(each.lines),
        one_line(shlex.join(each.command)),
    )


def _fit(widths: Mapping[str, int], columns: int) -> dict[str, int]:
    """The widths of the columns that a terminal has room for. Names are cut before they are left
    out, and a command takes what is left."""
    fitted = dict(widths)
    command = fitted.pop("COMMAND")
    name = fitted["NAME"]
    fitted["NAME"] = min(name, READABLE_NAME)

    def left() -> int:
        return columns - sum(fitted.values()) - len(GAP) * (len(fitted) - 1)

    for title in OPTIONAL:
        if left() >= 0:
            break
        del fitted[title]
    fitted["NAME"] = max(1, min(name, NAME_WIDTH, fitted["NAME"] + left()))
    room = left() - len(GAP)
    if room >= min(command, READABLE_COMMAND):
        fitted["COMMAND"] = min(command, room)
    return fitted


def _padded(text: str, width: int) -> str:
    """The text in so many cells; cut, if it is longer."""
    missing = width - _width(text)
    if missing >= 0:
        return text + " " * missing
    end = min(len(text), width - 1)
    while _width(text[:end]) > width - 1:
        end -= 1
    return f"{text[:end]}…" + " " * (width - 1 - _width(text[:end]))


def _width(text: str) -> int:
    """How many cells the text takes. A letter may take two."""
    if text.isascii():
        return len(text)
    # It loads slowly, and few tables need it.
    from rich.cells import cell_len

    return cell_len(text)


def _colour(status: str) -> int:
    return COLOURS.get(Status(status), RED)


def duration(seconds: float) -> str:
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
