"""Measure: cancellation, leaks, fan-out and more, beside what people would use instead.

python -m bench [--quick | --tiny] [--only SUITE ...] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from .machine import describe
from .plots import plot
from .ratios import ratios
from .report import Row, markdown
from .scale import FULL, QUICK, TINY
from .suites import (
    cancellation,
    end_to_end,
    fan_out,
    holding,
    leaks,
    nodes,
    page,
    records,
    replay,
    search,
    slow_readers,
    unfinished,
)

SUITES: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        *(fan_out, end_to_end, cancellation, leaks, holding, slow_readers, replay, search),
        *(unfinished, page, records, nodes),
    )
}

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="under a minute")
    size.add_argument("--tiny", action="store_true", help="just so that everything runs once")
    parser.add_argument("--only", nargs="+", choices=SUITES, metavar="SUITE", default=list(SUITES))
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    options = parser.parse_args()
    scale = QUICK if options.quick else TINY if options.tiny else FULL
    # The load on its core; the programs, started from here, go to the other one by themselves.
    os.sched_setaffinity(0, {scale.cores[1]})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 30_000)), hard))
    print(f"server on core {scale.cores[0]}, load on core {scale.cores[1]}", flush=True)
    started = time.monotonic()
    results: dict[str, list[Row]] = {}
    for name in options.only:
        results[name] = []
        print(f"\n{SUITES[name].TITLE}", flush=True)
        for row in SUITES[name].run(scale):
            results[name].append(row)
            print(f"[{time.monotonic() - started:4.0f} s] {_brief(row)}", flush=True)
    compared = ratios(results)
    options.output.mkdir(parents=True, exist_ok=True)
    found = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "scale": scale.name,
        "seconds": round(time.monotonic() - started),
        "machine": describe(),
        "ratios": compared,
        "suites": results,
    }
    (options.output / "latest.json").write_text(json.dumps(found, indent=1) + "\n")
    tables = _tables(found, results, compared)
    (options.output / "latest.md").write_text(tables)
    plot(results, options.output)
    print(f"\n{markdown('ratios', compared)}\n\nTables and plots are in {options.output}/")


def _brief(row: Row) -> str:
    shown = []
    for name, value in row.items():
        if isinstance(value, list | dict):
            continue
        shown.append(f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(shown)


def _tables(found: Row, results: dict[str, list[Row]], compared: list[Row]) -> str:
    machine = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    parts = [
        "# Benchmarks",
        f"Taken {found['at']} in {found['seconds']} s at scale “{found['scale']}”, revision"
        f" {machine['revision']}: {machine['cpu']}, {machine['cores']} cores, Linux"
        f" {machine['kernel']}, Python {machine['python']}, {versions}. `bench/README.md` says how"
        " each figure is taken; absolute figures move with the machine, ratios of one run less.",
        "## Ratios",
        markdown("ratios", compared),
    ]
    for name, rows in results.items():
        parts += [f"## {SUITES[name].TITLE}", markdown(name, rows)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
