"""Scenarios, each with many seeds: a seed shuffles the scheduler, and chooses the step at which the
scenario is cancelled. `python -m tests.campaign --scenario NAME --seed N` replays one.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import Any

from tests.change_scenarios import CHANGES
from tests.outage_scenarios import OUTAGES
from tests.scenarios import SCENARIOS, scenario_run, shutdown_run
from tests.search_scenarios import SEARCHES
from tests.several_scenarios import SEVERAL
from tests.steps import InvariantError, explore, run_once
from tests.unfinished_scenarios import UNFINISHED

__all__ = ["RUNS", "campaign", "try_seed"]

RUNS: dict[str, Any] = {
    **{
        name: scenario_run(kind)
        for name, kind in {
            **SCENARIOS,
            **OUTAGES,
            **SEARCHES,
            **CHANGES,
            **SEVERAL,
            **UNFINISHED,
        }.items()
    },
    "shutdown": shutdown_run(),
}


def try_seed(name: str, seed: int, steps: int) -> None:
    """One shuffled run, cancelled somewhere in the first `steps` steps or, at times, not at all.

    Raises InvariantError.
    """
    cancel_at = random.Random(seed).randint(1, steps + steps // 10 + 1)
    run_once(RUNS[name], cancel_at, seed=seed)


def campaign(name: str, seeds: range) -> tuple[int, list[tuple[int, InvariantError]]]:
    """Run a scenario with all the seeds; return its steps, and the seeds that failed."""
    steps = explore(RUNS[name])
    failed = []
    for seed in seeds:
        try:
            try_seed(name, seed, steps)
        except InvariantError as error:
            failed.append((seed, error))
    return steps, failed


def main() -> None:
    """Print a line a scenario; exit 1 if a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many for each scenario")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--scenario", choices=RUNS, help="only this one")
    options = parser.parse_args()
    seeds = range(options.seeds) if options.seed is None else range(options.seed, options.seed + 1)
    any_failed = False
    for name in [options.scenario] if options.scenario else RUNS:
        start = time.monotonic()
        steps, failed = campaign(name, seeds)
        taken = time.monotonic() - start
        print(f"{name}: {steps} steps, {len(seeds)} seeds, {len(failed)} failed, {taken:.0f} s")
        for seed, error in failed:
            any_failed = True
            print(f"  python -m tests.campaign --scenario {name!r} --seed {seed}\n    {error}")
    sys.exit(any_failed)


if __name__ == "__main__":
    main()
