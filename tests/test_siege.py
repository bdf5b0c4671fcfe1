"""Short forms of the cases of `python -m tests.siege`, and planted faults that they must see."""

from __future__ import annotations

import pytest

from tests.siege import Case, cases
from tests.siege.trial import run, sees

IN_SUITE = [each for each in cases() if each.in_suite]

PLANTED = [each for each in IN_SUITE if each.plants_in_suite]
"""Others take too long to fail."""


@pytest.mark.parametrize("case", IN_SUITE, ids=lambda case: case.name)
def test_the_service_holds(case: Case) -> None:
    run(case, is_short=True)


@pytest.mark.parametrize("case", PLANTED, ids=lambda case: case.name)
def test_a_planted_fault_is_seen(case: Case) -> None:
    assert sees(case, case.plants[0], is_short=True)
