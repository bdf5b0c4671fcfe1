"""`python -m tests.siege`: run the cases, and plant the faults that they must see."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from unittest import SkipTest

from tests import siege
from tests.siege import Case, Plant
from tests.siege.trial import run, sees


def main() -> None:
    """Print a line for each run; exit 1 if a case failed, or did not see a planted fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.siege", description=siege.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="how the names of cases begin")
    parser.add_argument("--list", action="store_true", help="print the names only")
    parser.add_argument("--no-plants", action="store_true", help="plant no fault")
    parser.add_argument("--short", action="store_true", help="as in the suite")
    options = parser.parse_args()
    names = tuple(options.names) or ("",)
    chosen = [case for case in siege.cases() if case.name.startswith(names)]
    failed = 0
    for case in chosen:
        if options.list:
            print(case.name)
            continue
        failed += not _report(case.name, lambda case=case: run(case, is_short=options.short))
        for plant in () if options.no_plants else case.plants:
            failed += not _report(
                f"{case.name} with {plant.__name__}",
                lambda case=case, plant=plant: _must_see(case, plant, options.short),
            )
    if not options.list:
        print(f"{len(chosen)} cases, {failed} failures")
    sys.exit(failed > 0)


def _must_see(case: Case, plant: Plant, is_short: bool) -> None:
    assert sees(case, plant, is_short=is_short), "the planted fault was not seen"


def _report(name: str, action: Callable[[], None]) -> bool:
    """Do it, and print how it went; return whether it went well."""
    start = time.monotonic()
    error: Exception | None = None
    try:
        action()
    except SkipTest as reason:
        print(f"{name}: skipped, {reason}", flush=True)
        return True
    except Exception as caught:  # the other cases run all the same
        error = caught
    found = "ok" if error is None else "FAILED"
    print(f"{name}: {found}, {time.monotonic() - start:.1f} s", flush=True)
    if error is not None:
        traceback.print_exception(error)
    return error is None


if __name__ == "__main__":
    main()
