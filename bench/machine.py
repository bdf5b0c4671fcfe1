"""The machine that it runs on, and figures about figures."""

from __future__ import annotations

import os
import platform
import random
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["cores", "describe", "interval", "percentile", "slope"]


def cores() -> tuple[int, int]:
    """One core for the server and one for the load; the same one where there is only one."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


def describe() -> dict[str, Any]:
    """What a reader of the figures wants to know about where they come from."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    packages = ("trio", "hypercorn", "quart", "quart-trio", "apsw")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "revision": _revision(),
    }


def _revision() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def percentile(values: Sequence[float], share: float) -> float:
    """Of sorted values, by nearest rank."""
    return values[min(len(values) - 1, int(len(values) * share))]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line through the points, by least squares."""
    count = len(points)
    middle_x = sum(x for x, _ in points) / count
    middle_y = sum(y for _, y in points) / count
    above = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return above / sum((x - middle_x) ** 2 for x, _ in points)


def interval(
    points: Sequence[tuple[float, float]], *, blocks: int = 20, rounds: int = 2000
) -> tuple[float, float]:
    """The 95 % interval of their slope, by a bootstrap over blocks of neighbours.

    Neighbours depend on each other, as memory is taken and given back in steps; blocks keep that.
    """
    chooser = random.Random(0)
    size = max(2, len(points) // blocks)
    parts = [points[i : i + size] for i in range(0, len(points) - size + 1, size)]
    found = []
    for _ in range(rounds):
        drawn = [point for _ in parts for point in chooser.choice(parts)]
        if len({x for x, _ in drawn}) > 1:
            found.append(slope(drawn))
    found.sort()
    return percentile(found, 0.025), percentile(found, 0.975)
