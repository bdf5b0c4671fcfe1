"""Figures as tables in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Row", "markdown"]

Row = dict[str, Any]

Column = tuple[str, str, Callable[[Any], str]]


def _count(value: float) -> str:
    """About three digits that count."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.2f}{unit}" if scaled < 10 else f"{scaled:,.0f}{unit}"
    return f"{value:,.0f}"


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _mib(value: float) -> str:
    return f"{value / 2**20:,.1f}"


def _kib(value: float) -> str:
    return f"{value / 2**10:,.1f}"


COLUMNS: dict[str, Sequence[Column]] = {
    "fan_out": (
        ("program", "program", str),
        ("followers", "followers", str),
        ("rate", "lines/s", str),
        ("events_per_second", "events/s", _count),
        ("bytes_per_second", "MiB/s", _mib),
        ("cpu_us_per_event", "CPU s / 1 M events", _short),
        ("latency_p50_ms", "p50 ms", _short),
        ("latency_p99_ms", "p99 ms", _short),
        ("latency_max_ms", "max ms", _short),
        ("lost", "lost", str),
        ("load", "load's share", "{:.0%}".format),
    ),
    "end_to_end": (
        ("program", "program", str),
        ("followers", "followers", str),
        ("lines", "lines", _count),
        ("lines_per_second", "lines/s", _count),
        ("events_per_second", "events/s", _count),
        ("cpu_seconds", "CPU s", _short),
        ("peak_rss", "peak RSS MiB", _mib),
        ("lost", "lost", str),
    ),
    "cancellation": (
        ("streams", "streams", str),
        ("state", "they were", str),
        ("way", "ended by", str),
        ("measured", "measured", str),
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
        ("streams", "streams", str),
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
    "ratios": (
        ("ratio", "in this run", str),
        ("value", "measured", _short),
    ),
}


def markdown(suite: str, rows: Sequence[Row]) -> str:
    """A table; what was skipped or failed says so in its row."""
    columns = COLUMNS[suite]
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
