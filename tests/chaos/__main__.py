"""Run the chaos campaign: one line a seed.

python -m tests.chaos [--seeds A..B] [--seconds SECONDS] [--mode single|sync|async] [--plant NAME]
                      [--drill NAME] [--keep FOLDER] [--postgres FOLDER]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import trio

from tests.chaos.campaign import carry_out, make_settings
from tests.chaos.checker import check
from tests.chaos.cluster import Settings
from tests.chaos.database import wheel_binaries, workplace
from tests.chaos.drills import DRILLS, drill
from tests.chaos.history import Run
from tests.chaos.plan import plan
from tests.chaos.planted import PLANTS

__all__ = ["main"]

SHOWN = 10
"""Faults of a seed that are printed; the folder has all."""


def main() -> None:
    """Exit 1 if a seed failed; with a planted bug, if none did."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description="Three nodes and a database under faults."
    )
    parser.add_argument("--seeds", type=_seeds, default=range(1, 21), metavar="A..B")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for histories that fail")
    parser.add_argument("--seconds", type=float, default=12, help="of faults, a seed")
    parser.add_argument("--mode", choices=["single", "sync", "async"], help="the database")
    parser.add_argument("--plant", choices=PLANTS, help="a bug that some seed must catch")
    parser.add_argument("--drill", choices=DRILLS, help="one fault, with its figures")
    parser.add_argument("--postgres", type=Path, metavar="FOLDER", help="binaries; else the wheel")
    options = parser.parse_args()
    binaries = options.postgres or wheel_binaries()
    failed = 0
    began = time.monotonic()
    with workplace(binaries) as (top, template):
        if options.drill:
            sys.exit(_drill(top, binaries, template, options))
        for seed in options.seeds:
            folder = top / f"seed-{seed}"
            folder.mkdir()
            if _try(seed, folder, binaries, template, options):
                failed += 1
                if options.plant:
                    break
            shutil.rmtree(folder)
    taken = time.monotonic() - began
    print(f"{len(options.seeds)} seeds, {failed} failed, {taken:.0f} s", flush=True)
    sys.exit((failed == 0) if options.plant else (failed > 0))


def _drill(top: Path, binaries: Path, template: Path, options: argparse.Namespace) -> bool:
    """Carry out a drill and print its figures; whether it failed."""
    folder = top / "drill"
    folder.mkdir()
    settings = Settings(folder, binaries, template, plant=options.plant)
    began = time.monotonic()
    figures, found, run = trio.run(drill, options.drill, settings)
    print(f"{options.drill}: {'FAILED' if found else 'ok'}, {time.monotonic() - began:.1f} s")
    for name, figure in figures.items():
        print(f"  {name}: {figure}")
    if found:
        _show(found)
        if options.keep:
            _keep(options.keep / options.drill, run, found, folder)
    return bool(found)


def _show(found: list[str]) -> None:
    for fault in found[:SHOWN]:
        print(f"  {fault}")
    if len(found) > SHOWN:
        print(f"  and {len(found) - SHOWN} more")


def _seeds(text: str) -> range:
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def _try(
    seed: int, folder: Path, binaries: Path, template: Path, options: argparse.Namespace
) -> bool:
    """Run a seed and print its line; whether it failed."""
    planned = plan(seed, seconds=options.seconds, mode=options.mode)
    settings = make_settings(planned, folder, binaries, template, options.plant)
    began = time.monotonic()
    run = trio.run(partial(carry_out, planned, settings))
    found = check(run)
    names = [each.name for each in planned.faults]
    lines = sum(event.kind == "line" for reader in run.readers for event in reader.events)
    print(
        f"seed {seed}: {'FAILED' if found else 'ok'}, {time.monotonic() - began:.1f} s,"
        f" {planned.mode}, patience {planned.patience:.0f} s, {len(run.readers)} readers,"
        f" {lines:,} lines, {sum(each.moves for each in run.pushed)} moves,"
        f" {len(run.exits)} exits; {', '.join(names)}",
        flush=True,
    )
    if not found:
        return False
    _show(found)
    if options.keep:
        kept = options.keep / f"seed-{seed}"
        _keep(kept, run, found, folder)
        (kept / "plan.json").write_text(json.dumps(asdict(planned), indent=1) + "\n")
        print(f"  histories: {kept}")
    more = f" --mode {options.mode}" if options.mode else ""
    more += f" --plant {options.plant}" if options.plant else ""
    print(
        f"  again: python -m tests.chaos --seeds {seed}..{seed} --seconds {options.seconds:g}{more}"
    )
    return True


def _keep(kept: Path, run: Run, found: list[str], folder: Path) -> None:
    shutil.rmtree(kept, ignore_errors=True)
    run.write(kept)
    (kept / "faults.txt").write_text("\n".join(found) + "\n")
    for log in folder.glob("*.log"):
        shutil.copy(log, kept)


if __name__ == "__main__":
    main()
