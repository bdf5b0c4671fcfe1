"""Plots of the results, as PNG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from PIL import Image

from .programs import OURS
from .report import Row

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

__all__ = ["plot"]

OURS_COLOUR = "#d1495b"
COLOURS = ("#30638e", "#edae49", "#00798c", "#8d6a9f", "#6a994e", "#8d99ae")

WIDTH = 8.2
"""Inches: pages show a plot as wide as their text, and its letters nearly as large."""


def plot(results: dict[str, list[Row]], folder: Path) -> None:
    """Draw what is there."""
    plt.rcParams.update(
        {
            "figure.dpi": 160,
            "figure.constrained_layout.use": True,
            "font.size": 9,
            "axes.titlesize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.alpha": 0.25,
            "legend.frameon": False,
            "legend.fontsize": 8,
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
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
    # They are committed: with a palette, they take a third.
    with Image.open(path) as image:
        palette = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    palette.save(path, optimize=True)


def _plain(value: float, _: object = None) -> str:
    """0.1, 1,000, 10 k or 1 M: not a power of ten."""
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e4 else f"{value:,g}"


def _logarithmic(axis: Any) -> None:
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_formatter(NullFormatter())


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
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.7))
    drawn: dict[str, Any] = {}
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
                xs, ys = zip(*points, strict=True)
                [drawn[name]] = axes.plot(xs, ys, marker="o", markersize=4, label=name, **style)
    for axes, title, unit in (
        (left, "A source at full speed", "events/s delivered"),
        (right, "A source of 10 lines/s", "p99 from write to read, ms"),
    ):
        _logarithmic(axes.xaxis)
        _logarithmic(axes.yaxis)
        axes.set(title=title, xlabel="followers", ylabel=unit)
    # Below the curves, which go everywhere.
    figure.legend(
        drawn.values(), drawn, loc="outside lower center", ncols=len(drawn), columnspacing=1.2
    )
    _save(figure, path)


def _cancellation(rows: Sequence[Row], path: Path) -> None:
    shown = [row for row in rows if row["streams"] and row["way"] != "stop of the workload"]
    states = list(dict.fromkeys(row["state"] for row in shown))
    figure, panels = plt.subplots(1, len(states), figsize=(WIDTH, 3), sharey=True, squeeze=False)
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
        _logarithmic(axes.xaxis)
        axes.set(title=f"{most:,} streams, {state}", xlabel="ms until it is gone")
        axes.set_xlim(0.1, max(10, longest))
    figure.set_layout_engine("constrained", wspace=0.06)
    panels[0][0].set_ylabel("share of clients")
    panels[0][0].legend(loc="lower right")
    _save(figure, path)


def _leaks(rows: Sequence[Row], path: Path) -> None:
    """What was fitted, from zero to the most cycles; what was measured, pale behind it."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4))
    most = max(row["cycles"] for row in rows)
    for row, colour in zip(rows, (OURS_COLOUR, COLOURS[0]), strict=False):
        cycles, memory = zip(*row["rss"], strict=True)
        more = [(rss - memory[0]) / 2**20 for rss in memory]
        axes.plot(cycles, more, color=colour, alpha=0.4, linewidth=1)
        slope, low, high = (row[name] / 2**20 for name in ("bytes_per_cycle", "low", "high"))
        planted = row["planted_bytes"]
        what = f"the control, which leaks {planted} bytes each time" if planted else "as it is"
        label = (
            f"{what}: {row['bytes_per_cycle']:.1f} bytes ({row['low']:.1f} to {row['high']:.1f})"
        )
        ends = (0, row["cycles"])
        axes.plot(ends, [slope * end for end in ends], color=colour, linewidth=2, label=label)
        if row["cycles"] < most:
            further = (row["cycles"], most)
            axes.plot(further, [slope * end for end in further], color=colour, linestyle=":")
        axes.fill_between(
            (0, most), (0, low * most), (0, high * most), color=colour, alpha=0.15, linewidth=0
        )
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.set(
        title="Memory for each connection that came and went, with its 95 % interval",
        xlabel="connections",
        ylabel="RSS, MiB more",
    )
    axes.plot([], [], color="grey", alpha=0.6, linewidth=1, label="as measured")
    axes.legend(loc="upper left")
    _save(figure, path)


def _holding(rows: Sequence[Row], path: Path) -> None:
    measured = [row for row in rows if "rss_per_stream" in row]
    # As many as most programs were given; ours is measured with more, too.
    number = Counter(row["streams"] for row in measured).most_common(1)[0][0]
    shown = [row for row in measured if row["streams"] == number]
    names = [row["program"] for row in shown]
    colours = [OURS_COLOUR if name == OURS.name else COLOURS[0] for name in names]
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9), sharey=True)
    for axes, title, unit, form, values in (
        (left, "Memory", "KiB a stream", "%.1f", [r["rss_per_stream"] / 1024 for r in shown]),
        (
            right,
            "CPU to connect one",
            "ms",
            "%.2f",
            [row["connect_cpu_ms_per_stream"] for row in shown],
        ),
    ):
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, fmt=form, padding=3, fontsize=8)
        axes.margins(x=0.12)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel=unit, title=title)
    left.invert_yaxis()
    figure.suptitle(f"{number:,} idle streams", fontsize=10)
    _save(figure, path)
