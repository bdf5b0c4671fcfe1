"""A few histories of the campaign, and the faults that it must find."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.nodes_campaign import PLANTS, run_seed


@pytest.mark.parametrize("is_rough", [False, True], ids=["calm", "rough"])
def test_some_histories(is_rough: bool, record_figure: Callable[[str], None]) -> None:
    histories = [run_seed(seed, is_rough=is_rough) for seed in range(4)]
    assert [history.faults for history in histories] == [[]] * 4
    kills, moves = (sum(getattr(each, name) for each in histories) for name in ("kills", "moves"))
    record_figure(f"4 histories of nodes: {moves} moves, {kills} kills")
    assert kills > 0


FOUND_FROM = {"no second look": 9}
"""The seeds that find a fault, where seed 0 does not."""


@pytest.mark.parametrize("plant", [name for name in PLANTS if name])
def test_a_planted_fault_is_found(plant: str) -> None:
    first = FOUND_FROM.get(plant, 0)
    runs = ((seed, is_rough) for seed in range(first, 20) for is_rough in (False, True))
    assert any(run_seed(seed, is_rough=rough, plant=plant).faults for seed, rough in runs)
