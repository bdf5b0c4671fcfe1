"""Parsers on hostile input, which Hypothesis makes up: `python -m tests.fuzz --seconds 600 TARGET`.

Each module has the targets for one kind of input. A finding is an exception of a check; Hypothesis
prints the smallest input that it found for it. The page's row parser runs in Node: see
`tests/web/row_fuzz.mjs`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import hypothesis
from hypothesis import HealthCheck
from hypothesis.strategies import SearchStrategy

__all__ = ["Target", "run", "targets"]

ROUND = 500
"""Inputs between two looks at the clock."""


@dataclass(frozen=True)
class Target:
    """`check` raises for a finding. `opened` makes what it is called with, besides the input."""

    name: str
    inputs: SearchStrategy[Any]
    check: Callable[..., None]
    opened: Callable[[], AbstractContextManager[Any]] = nullcontext


def targets() -> Iterator[Target]:
    """All targets but that of the page."""
    from tests.fuzz import events, http, queries, terminal

    for module in (http, terminal, events, queries):
        yield from module.TARGETS


def run(target: Target, seconds: float, *, seed: int = 0, examples: int = ROUND) -> int:
    """Check inputs for so long, and a first round at least; return how many."""
    deadline = time.monotonic() + seconds
    count = 0
    with target.opened() as opened:

        def check(given: Any) -> None:
            nonlocal count
            count += 1
            if opened is None:
                target.check(given)
            else:
                target.check(opened, given)

        while True:
            limits = hypothesis.settings(
                max_examples=examples,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            hypothesis.seed(seed)(limits(hypothesis.given(target.inputs)(check)))()
            seed += 1
            if time.monotonic() >= deadline:
                return count
