"""Figures as tables in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["FULL_SPEED", "Row", "markdown"]

FULL_SPEED = "events/s at full speed"
"""What there is a ratio of for each number of followers."""

NO_BREAK = "\N{NO-BREAK SPACE}"

Row = dict[str, Any]

Column = tuple[str, str, Callable[[Any], str]]


def _count(value: float) -> str:
    """About three digits that count, and a unit from which no line break parts them."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            scaled = value / size
            digits = f"{scaled:.2f}" if scaled < 9.995 else f"{scaled:,.0f}"
            return f"{digits}{NO_BREAK}{unit}"
    return f"{value:,.0f}"


def _short(value: float) -> str:
    """About three digits that count."""
    return f"{value:,.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _mib(value: float) -> str:
    return f"{value / 2**20:,.1f}"


def _kib(value: float) -> str:
    return f"{value / 2**10:,.1f}"


_whole = "{:,}".format

_FAN_OUT: Sequence[Column] = (
    ("program", "program", str),
    ("followers", "followers", _whole),
    ("events_per_second", "events/s", _count),
    ("cpu_us_per_event", "CPU s / 1 M events", _short),
    ("latency_p50_ms", "p50 ms", _short),
    ("latency_p99_ms", "p99 ms", _short),
    ("latency_max_ms", "max ms", _short),
    ("lost", "lost", str),
    ("load", "load's share", "{:.0%}".format),
)

COLUMNS: dict[str, Sequence[Column]] = {
    "end_to_end": (
        ("program", "program", str),
        ("followers", "followers", _whole),
        ("lines", "lines", _count),
        ("lines_per_second", "lines/s", _count),
        ("events_per_second", "events/s", _count),
        ("cpu_seconds", "CPU s", _short),
        ("peak_rss", "peak RSS MiB", _mib),
        ("lost", "lost", str),
    ),
    "cancellation": (
        ("streams", "streams", _whole),
        ("state", "they were", str),
        ("way", "ended by", str),
        ("measured", "measured", _whole),
        ("p50_ms", "p50 ms", _short),
        ("p90_ms", "p90 ms", _short),
        ("p99_ms", "p99 ms", _short),
        ("max_ms", "max ms", _short),
    ),
    "leaks": (
        ("planted_bytes", "planted bytes", str),
        ("cycles", "cycles", _count),
        ("equal", "tasks, channels, fds equal", lambda value: "yes" if value else "NO"),
        ("bytes_per_cycle", "bytes a cycle", _short),
        ("low", "95 % from", _short),
        ("high", "to", _short),
    ),
    "holding": (
        ("program", "program", str),
        ("streams", "streams", _whole),
        ("rss_per_stream", "KiB a stream", _kib),
        ("tasks_per_stream", "tasks a stream", _short),
        ("connect_seconds", "s to connect", _short),
        ("connect_cpu_ms_per_stream", "CPU ms to connect one", _short),
        ("idle_cpu_percent", "idle CPU %", _short),
    ),
    "slow_readers": (
        ("program", "program", str),
        ("stalled", "stalled", str),
        ("seconds", "s", _short),
        ("expected_seconds", "at best", _short),
        ("latency_p50_ms", "healthy p50 ms", _short),
        ("latency_p99_ms", "healthy p99 ms", _short),
        ("rss_growth", "RSS + MiB", _mib),
        ("lost", "lost", str),
    ),
    "replay": (
        ("from", "from", str),
        ("lines", "lines", _count),
        ("first_line_ms", "first line ms", _short),
        ("lines_per_second", "lines/s", _count),
        ("cpu_seconds", "CPU s", _short),
        ("lost", "lost", str),
    ),
    "search": (
        ("search", "what", str),
        ("lines", "lines", _count),
        ("matches", "matches", _whole),
        ("lines_per_second", "lines/s", _count),
        ("cpu_seconds", "CPU s", _short),
        ("answer_p50_ms", "answer p50 ms", _short),
        ("answer_p99_ms", "answer p99 ms", _short),
        ("latency_p50_ms", "line p50 ms", _short),
        ("latency_p99_ms", "line p99 ms", _short),
        ("healthz_p99_ms", "/healthz p99 ms", _short),
        ("lost", "lost", str),
    ),
    "unfinished": (
        ("streams", "streams", _whole),
        ("asks", "they ask", lambda value: "yes" if value else "no"),
        ("events_per_second", "events/s for each, most", _short),
        ("fewest_per_second", "fewest", _short),
        ("cpu_percent", "CPU %", _short),
        ("cpu_us_per_event", "CPU µs an event", _short),
    ),
    "records": (
        ("what", "what", str),
        ("workloads", "workloads", _whole),
        ("median_ms", "median ms", _short),
        ("longest_ms", "longest ms", _short),
        ("target_ms", "target ms", _short),
        ("met", "met", lambda value: "yes" if value else "no"),
    ),
    "nodes": (
        ("place", "readers at", str),
        ("followers", "followers", _whole),
        ("rate", "lines/s made", str),
        ("events_per_second", "events/s", _count),
        ("ratio", "to SQLite", _short),
        ("latency_p50_ms", "p50 ms", _short),
        ("latency_p99_ms", "p99 ms", _short),
        ("lost", "lost", _whole),
        ("load", "load's share", "{:.0%}".format),
        ("goal", "goal", str),
        ("met", "met", lambda value: "yes" if value else "NO"),
    ),
    "page": (
        ("measure", "what", str),
        ("lines", "lines", _count),
        ("taken", "times", _whole),
        ("p50", "p50", _short),
        ("p90", "p90", _short),
        ("max", "max", _short),
        ("unit", "unit", str),
        ("bound", "bound", str),
        ("met", "met", lambda value: "yes" if value else "NO"),
    ),
}


def markdown(suite: str, rows: Sequence[Row]) -> str:
    """A suite's tables, or those of `ratios`; what was skipped or failed says so in its row."""
    match suite:
        case "ratios":
            return _ratios(rows)
        case "fan_out":
            return _by_rate(rows)
    return _table(COLUMNS[suite], rows)


def _ratios(rows: Sequence[Row]) -> str:
    if not rows:
        return "There is nothing to compare."
    by_figure: dict[str, list[Row]] = {}
    for row in rows:
        where = "" if row["of"] == FULL_SPEED else f", {_followers(row['followers'])}"
        by_figure.setdefault(row["of"] + where, []).append(row)
    parts = []
    if full := by_figure.pop(FULL_SPEED, None):
        parts += [f"Ours divided by theirs, {FULL_SPEED}:", _by_followers(full)]
    if by_figure:
        lines = [
            f"- {figure}: " + "; ".join(map(_one_ratio, found))
            for figure, found in by_figure.items()
        ]
        parts += [
            "The same of other figures; of CPU and latency, less is better:",
            "\n".join(lines),
        ]
    return "\n\n".join(parts)


def _one_ratio(row: Row) -> str:
    """Without a space at which a line could be broken."""
    return f"{row['program']} {_short(row['value'])}".replace(" ", NO_BREAK)


def _by_followers(rows: Sequence[Row]) -> str:
    """Programs down, numbers of followers across."""
    programs: dict[str, Row] = {}
    for row in rows:
        name = row["program"]
        found = programs.setdefault(name, {"program": name})
        found[_followers(row["followers"])] = row["value"]
    numbers = sorted({row["followers"] for row in rows})
    columns: list[Column] = [("program", "program", str)]
    columns += [(title, title, _short) for title in map(_followers, numbers)]
    return _table(columns, list(programs.values()))


def _followers(number: int) -> str:
    return "1 follower" if number == 1 else f"{number:,} followers"


def _by_rate(rows: Sequence[Row]) -> str:
    """A table for each rate, full speed first; what did not even start is in that one."""
    by_rate: dict[float, list[Row]] = {}
    for row in rows:
        rate = row.get("rate", "full speed")
        by_rate.setdefault(0 if rate == "full speed" else rate, []).append(row)
    parts = []
    for rate, found in sorted(by_rate.items()):
        parts.append(f"### A source {f'of {rate:,.0f} lines/s' if rate else 'at full speed'}")
        # At full speed, latency is queueing, and the page is narrow.
        hidden = () if rate else ("latency_max_ms",)
        parts.append(_table([each for each in _FAN_OUT if each[0] not in hidden], found))
    return "\n\n".join(parts)


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    lines = [
        "| " + " | ".join(title for _, title, _ in columns) + " |",
        "|" + "|".join(" --- " if i == 0 else " ---: " for i in range(len(columns))) + "|",
    ]
    for row in rows:
        cells = []
        for name, _, form in columns:
            value = row.get(name)
            cells.append("" if value is None else form(value))
        trouble = row.get("failed") or row.get("skipped")
        if trouble:
            cells = [cell for cell in cells if cell]
            state = "failed" if "failed" in row else "skipped"
            cells.append(f"{state}: {trouble}")
            cells += [""] * (len(columns) - len(cells))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
