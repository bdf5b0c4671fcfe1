"""Bad days and attacks, each with the planted faults that show that its check can fail.

`python -m tests.siege` runs all cases, `python -m tests.siege NAME ...` those whose names begin so.

Each module of MODULES is one kind of fault. A case is a function of it with `@case`, `def` or
`async def`: it gets a `Trial`, and raises if the service does not do what it should. A plant is a
function that gets a `pytest.MonkeyPatch` and breaks the product; with it, the case must raise.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.siege.trial import Trial

__all__ = ["MODULES", "Case", "Check", "Plant", "case", "cases"]

MODULES: tuple[str, ...] = (
    "stderrs",
    "disks",
    "full",
    "history",
    "pages",
    "processes",
    "descriptors",
    "clocks",
    "http",
    "memory",
)
"""The modules of this package that have cases."""

Check = Callable[["Trial"], Awaitable[None] | None]
Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Case:
    """A check, and the faults that it must see. `in_suite`: the suite runs it with
    `Trial.is_short`; `plants_in_suite`: there, it also plants the first fault."""

    name: str
    check: Check
    plants: Sequence[Plant]
    in_suite: bool
    plants_in_suite: bool


_cases: dict[str, Case] = {}


def case(
    *plants: Plant, in_suite: bool = False, plants_in_suite: bool = False
) -> Callable[[Check], Check]:
    """Register a check under the names of its module and of itself. It needs a plant."""
    assert plants, "show that the check can fail"

    def register(check: Check) -> Check:
        name = f"{check.__module__.rpartition('.')[2]}.{check.__name__}"
        _cases[name] = Case(name, check, plants, in_suite, plants_in_suite)
        return check

    return register


def cases() -> Iterator[Case]:
    """All cases, in the order of MODULES."""
    for module in MODULES:
        importlib.import_module(f"tests.siege.{module}")
        yield from (each for name, each in _cases.items() if name.startswith(f"{module}."))
