"""Plots of the results, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from PIL import Image

from .programs import OURS
from .report import Row

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import NullFormatter

__all__ = ["plot"]

OURS_COLOUR = "#d1495b"
COLOURS = ("#30638e", "#edae49", "#00798c", "#8d6a9f", "#6a994e", "#8d99ae")


def plot(results: dict[str, list[Row]], folder: Path) -> None:
    """Draw what is there."""
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "legend.frameon": False,
        }
    )
    if rows := results.get("fan_out"):
        _fan_out(rows, folder / "fan_out.png")
    if rows := results.get("cancellation"):
        _cancellation(rows, folder / "cancellation.png")
    if rows := results.get("leaks"):
        _leaks(rows, folder / "leaks.png")
    if rows := results.get("holding"):
        _holding(rows, folder / "holding.png")


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
    # They are committed: with a palette, they take a third.
    with Image.open(path) as image:
        palette = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    palette.save(path, optimize=True)


def _styles(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    names = list(dict.fromkeys(row["program"] for row in rows))
    others = iter(COLOURS * 2)
    return {
        name: {"color": OURS_COLOUR, "linewidth": 2.5, "zorder": 3}
        if name == OURS.name
        else {"color": next(others), "linewidth": 1.3}
        for name in names
    }


def _fan_out(rows: Sequence[Row], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    for name, style in _styles(rows).items():
        for axes, rate, value in (
            (left, "full speed", "events_per_second"),
            (right, 10, "latency_p99_ms"),
        ):
            points = [
                (row["followers"], row[value])
                for row in rows
                if row["program"] == name and row.get("rate") == rate and value in row
            ]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name, **style)
    for axes, title, unit in (
        (left, "A source at full speed", "events/s delivered"),
        (right, "A source of 10 lines/s", "p99 from write to read, ms"),
    ):
        axes.set(xscale="log", yscale="log", title=title, xlabel="followers", ylabel=unit)
    # Beside the curves, which go everywhere.
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def _cancellation(rows: Sequence[Row], path: Path) -> None:
    shown = [row for row in rows if row["streams"] and row["way"] != "stop of the workload"]
    states = list(dict.fromkeys(row["state"] for row in shown))
    figure, panels = plt.subplots(1, len(states), figsize=(10, 3.6), sharey=True, squeeze=False)
    most = max(row["streams"] for row in shown)
    longest = max(max(row["times_ms"]) for row in shown if row["streams"] == most)
    for axes, state in zip(panels[0], states, strict=True):
        for row, colour in zip(
            [row for row in shown if row["state"] == state and row["streams"] == most],
            COLOURS,
            strict=False,
        ):
            times = row["times_ms"]
            shares = [(i + 1) / len(times) for i in range(len(times))]
            axes.step(times, shares, where="post", color=colour, label=row["way"])
        axes.set(xscale="log", title=f"{most} streams, {state}", xlabel="ms until it is gone")
        axes.set_xlim(0.1, max(10, longest))
        axes.xaxis.set_minor_formatter(NullFormatter())
    panels[0][0].set_ylabel("share of clients")
    panels[0][0].legend(fontsize=8)
    _save(figure, path)


def _leaks(rows: Sequence[Row], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 3.6))
    for row, colour in zip(rows, (OURS_COLOUR, COLOURS[0]), strict=False):
        start = row["rss"][0][1]
        points = [(cycles, (rss - start) / 2**20) for cycles, rss in row["rss"]]
        planted = row["planted_bytes"]
        label = f"with a planted leak of {planted} bytes" if planted else "as it is"
        axes.plot(*zip(*points, strict=True), color=colour, label=label)
    axes.set(xlabel="connections that came and went", ylabel="RSS, MiB more", title="Leaks")
    axes.legend(fontsize=8)
    _save(figure, path)


def _holding(rows: Sequence[Row], path: Path) -> None:
    most = max(row["streams"] for row in rows if "streams" in row)
    shown = [row for row in rows if row.get("streams") == most and "rss_per_stream" in row]
    figure, axes = plt.subplots(figsize=(6, 3.2))
    names = [row["program"] for row in shown]
    colours = [OURS_COLOUR if name == OURS.name else COLOURS[0] for name in names]
    values = [row["rss_per_stream"] / 1024 for row in shown]
    axes.barh(names, values, color=colours)
    axes.invert_yaxis()
    axes.set(xlabel="KiB a stream", title=f"Memory of {most:,} idle streams")
    _save(figure, path)
