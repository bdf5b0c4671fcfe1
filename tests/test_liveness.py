"""Which nodes are dead, by counters alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from trio_logs.engine.liveness import POLLS, POLLS_AFTER_FAILURE, Liveness
from trio_logs.store.shared import Node


def nodes(**counters: int) -> list[Node]:
    return [Node(name, "h", None, 0, 0, counter, 0, 0, False) for name, counter in counters.items()]


def polls(liveness: Liveness, *counters: int) -> list[Sequence[str]]:
    """What each poll finds that sees node `b` with these counters."""
    return [[node.id for node in liveness.see(nodes(a=0, b=each))] for each in counters]


def test_five_polls_without_a_change_after_the_first_sight() -> None:
    assert polls(Liveness("a"), *[7] * (POLLS + 2)) == [[]] * POLLS + [["b"]] * 2


def test_the_own_counter_is_no_matter() -> None:
    liveness = Liveness("a")
    assert [liveness.see(nodes(a=7)) for _ in range(9)] == [[]] * 9


@pytest.mark.parametrize("moves_at", range(1, POLLS + 1))
def test_a_move_begins_the_count_anew(moves_at: int) -> None:
    found = polls(Liveness("a"), *[7] * moves_at, *[8] * POLLS)
    assert found == [[]] * (moves_at + POLLS)


def test_a_node_that_comes_back_is_another_one() -> None:
    liveness = Liveness("a")
    assert polls(liveness, *[7] * POLLS) == [[]] * POLLS
    assert liveness.see(nodes(a=1)) == []
    assert polls(liveness, *[7] * POLLS) == [[]] * POLLS


def test_a_slow_poll_forgets_what_was_seen() -> None:
    liveness = Liveness("a")
    assert polls(liveness, *[7] * POLLS) == [[]] * POLLS
    liveness.forget(failed=False)
    assert polls(liveness, *[7] * POLLS, 7) == [[]] * POLLS + [["b"]]


def test_after_a_failed_poll_others_have_time_to_come_back() -> None:
    liveness = Liveness("a")
    assert polls(liveness, *[7] * POLLS) == [[]] * POLLS
    liveness.forget(failed=True)
    assert polls(liveness, *[7] * POLLS_AFTER_FAILURE) == [[]] * POLLS_AFTER_FAILURE
    assert polls(liveness, 7) == [["b"]]
    # It has moved at last, and then it counts as before.
    assert polls(liveness, *[8] * POLLS, 8, 8) == [[]] * POLLS + [["b"]] * 2
