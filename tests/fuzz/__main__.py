"""`python -m tests.fuzz`: fuzz all targets, or those that are named."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests import fuzz

ROW = "row"
"""The target that runs in Node."""


def main() -> None:
    """Print a line for each target; exit 1 after a finding."""
    names = [*(target.name for target in fuzz.targets()), ROW]
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=fuzz.__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET", help=", ".join(names))
    parser.add_argument("--seconds", type=float, default=600, help="for each target; 600")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    chosen = options.names or names
    if unknown := set(chosen) - set(names):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    print("seed:", options.seed, flush=True)
    found = 0
    for target in fuzz.targets():
        if target.name in chosen:
            started = time.monotonic()
            try:
                count = fuzz.run(target, options.seconds, seed=options.seed)
            except Exception:
                traceback.print_exc()
                found += 1
                print(f"{target.name}: a finding after {time.monotonic() - started:.0f} s")
            else:
                took = time.monotonic() - started
                print(f"{target.name}: nothing in {count:,} inputs, {took:.0f} s", flush=True)
    if ROW in chosen:
        found += fuzz_rows(options.seconds, options.seed) != 0
    sys.exit(found > 0)


def fuzz_rows(seconds: float, seed: int) -> int:
    """The row parser of the page; return the exit code."""
    script = Path(__file__).parents[1] / "web" / "row_fuzz.mjs"
    environment = {**os.environ, "SECONDS": str(seconds), "SEED": str(seed)}
    return subprocess.run(["node", str(script)], env=environment, check=False).returncode


if __name__ == "__main__":
    main()
