"""The campaign of several logs, with few seeds."""

from __future__ import annotations

import pytest

from tests.several_campaign import run, run_matching


@pytest.mark.parametrize("seed", [0, 1])
async def test_each_log_is_complete_over_cuts(seed: int) -> None:
    assert await run(seed, logs=100, lines=4) > 2


@pytest.mark.parametrize("seed", [0, 3])
async def test_all_of_a_label_are_complete_over_cuts(seed: int) -> None:
    assert await run_matching(seed, logs=12, lines=40) > 2
