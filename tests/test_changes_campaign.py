"""The campaign of changes, with few seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.changes_campaign import STORES, run, run_with_kills

RUNS = {"memory": 25, "sqlite": 8}


@pytest.mark.parametrize("kind", STORES)
def test_listing_and_following_misses_no_change(kind: str) -> None:
    resets = [run(seed, kind) for seed in range(RUNS[kind])]
    # Bounds are small in some runs only, so most readers never have to list again.
    assert 0 < sum(map(bool, resets)) < len(resets)


async def test_a_killed_server_loses_no_change(tmp_path: Path) -> None:
    assert await run_with_kills(tmp_path, 1, 1) > 0
