"""A thousand clients at their worst leave nothing behind; `tests.storm` sends ten thousand."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.storm import storm

SEED = 20


async def test_a_storm_leaves_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(120):
        report = await storm(tmp_path, 1000, SEED)
    print(report)
    assert report.faults() == []
    # A client that leaves is nobody's error.
    assert caplog.messages == []
    # It was what it should be.
    assert (report.before.connections, report.before.subscriptions) == (0, 0)
    assert sum(report.seen.depths.values()) == 1000
    assert min(report.seen.depths.values()) > 50
    assert report.seen.polls > 10
