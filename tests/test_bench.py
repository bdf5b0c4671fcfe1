"""The benchmarks run, at a tiny size, and their load finds what is missing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.followers import Follower, Stalled, drain
from bench.lines import BLOCK_LINES, LINE_BYTES, block, line
from bench.machine import interval, percentile, slope
from bench.programs import PROGRAMS
from bench.ratios import ratios
from bench.report import Row, markdown

ROOT = Path(__file__).parent.parent


@pytest.mark.surroundings
def test_every_suite_runs(tmp_path: Path) -> None:
    """One command gives the table and the plots; nothing is lost, left behind or, in CI,
    skipped."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--tiny", "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "latest.json").read_text())
    suites = found["suites"]
    assert set(suites) == {
        *("fan_out", "end_to_end", "cancellation", "leaks", "holding", "slow_readers", "replay"),
        *("search", "unfinished", "page", "records", "nodes"),
    }
    rows = [(suite, row) for suite, rows in suites.items() for row in rows]
    skipped = [row for _, row in rows if "skipped" in row]
    assert not (skipped and os.environ.get("CI")), skipped
    for suite, row in rows:
        # Others may stall behind readers that never read; that is what the suite is there to show.
        assert "failed" not in row or (suite, row["program"] != "trio_logs") == (
            *("slow_readers", True),
        ), row
        assert row.get("lost", 0) == 0
    names = {program.name for program in PROGRAMS}
    assert {row["program"] for row in suites["fan_out"]} == names
    for row in suites["leaks"]:
        assert row["equal"], row["before_and_after"]
    assert [row["planted_bytes"] for row in suites["leaks"]] == [0, 64]
    assert {row["from"] for row in suites["replay"]} == {"start", "middle", "tail=100"}
    assert {row.get("matches", 5000) for row in suites["search"]} == {0, 1, 5000}
    assert {row.get("healthz_p99_ms", 1) > 0 for row in suites["search"]} == {True}
    # The figures that time does not change; the machine may be busy.
    for row in suites["page"]:
        assert row.get("met", True) or row["unit"] == "ms" or "skipped" in row, row
    assert len(suites["page"]) == 14 or "skipped" in suites["page"][0]
    # Three places, and a goal of each but SQLite's; latency has one at the other node.
    assert [row.get("goal") for row in suites["nodes"]] == [
        *(None, "ratio 0.6", "ratio 0.4", None, "ratio 0.8", "ratio 0.8"),
        *(None, None, "p99 under 10 ms"),
    ]
    for row in suites["unfinished"]:
        # The first round comes at once.
        assert row["events_per_second"] <= 4 + 1
        assert (row["fewest_per_second"] > 0) == row["asks"]
    ways = {row["way"] for row in suites["cancellation"]}
    assert {"FIN", "RST", "half-close", "stop of five processes"} <= ways
    table = (tmp_path / "latest.md").read_text()
    assert all(name in table for name in names)
    plots = [tmp_path / f"{name}.png" for name in ("fan_out", "cancellation", "leaks", "holding")]
    assert all(plot.read_bytes().startswith(b"\x89PNG") for plot in plots)


def test_lines_are_what_readers_count_on() -> None:
    made = block(1500) + block(2000, 3) + line(2003)
    lines = made.splitlines(keepends=True)
    assert len(lines) == BLOCK_LINES + 4
    for number, text in enumerate(lines, 1500):
        assert len(text) == LINE_BYTES
        assert text.count(b"~") == 1
        assert int(text[1:10]) == number


FRAMES = [b"id: %d\ndata: %s\n\n" % (n + 1, line(n)[:-1]) for n in range(50)]


@pytest.mark.parametrize(
    ("sent", "lost"),
    [
        (FRAMES, False),
        (FRAMES[:20] + FRAMES[21:], True),
        (FRAMES[:21] + FRAMES[20:], True),
        (FRAMES[1:], True),
    ],
    ids=["all", "dropped", "doubled", "first dropped"],
)
@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_a_reader_finds_what_is_missing(sent: list[bytes], lost: bool, size: int) -> None:
    data = b"".join(sent)
    with _follower() as follower:
        for start in range(0, len(data), size):
            part = data[start : start + size]
            follower.feed(bytearray(part), len(part), None)
        # What is lost within one read shows at the next one, or in the count.
        follower.feed(bytearray(line(50)), LINE_BYTES, None)
        assert (follower.lost > 0) == lost
        assert follower.lines == 51


def test_a_log_that_stops_is_not_waited_for() -> None:
    with _follower() as follower, pytest.raises(Stalled, match="0 of 1 lines"):
        drain([follower], 1, seconds=0.05)


@contextmanager
def _follower() -> Iterator[Follower]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Follower(ours)


def test_a_slope_and_its_interval() -> None:
    steps = [(float(x), 16.0 * x + (x // 50 * 7 % 5) * 100) for x in range(0, 5000, 50)]
    low, high = interval(steps)
    assert 15.5 < low < slope(steps) < high < 16.5
    assert slope([(0, 1), (1, 3), (2, 5)]) == 2


def test_percentiles_by_nearest_rank() -> None:
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0, 0.5, 0.99, 1)] == [1, 51, 100, 100]


def test_what_was_skipped_says_so_in_the_table() -> None:
    rows = [
        {"program": "a", "followers": 1, "rate": 10, "events_per_second": 1_234_567.0, "lost": 0},
        {"program": "b", "skipped": "needs b"},
    ]
    full, ten = markdown("fan_out", rows).split("### A source of 10 lines/s")
    assert full.splitlines()[-2].startswith("| b | skipped: needs b |")
    assert "| 1.23\N{NO-BREAK SPACE}M |" in ten.splitlines()[-1]


def test_ratios_are_of_ours_to_each_other() -> None:
    def row(program: str, followers: int, rate: str | int, **figures: float) -> Row:
        return {"program": program, "followers": followers, "rate": rate, **figures}

    found = ratios(
        {
            "fan_out": [
                row("trio_logs", 1, "full speed", events_per_second=100.0),
                row("trio_logs", 1000, "full speed", events_per_second=300.0),
                row("trio_logs", 1000, 10, cpu_us_per_event=5.0, latency_p99_ms=3.0),
                row("Go", 1, "full speed", events_per_second=50.0),
                row("Go", 1000, "full speed", events_per_second=100.0),
                row("Go", 1000, 10, cpu_us_per_event=0.0, latency_p99_ms=4.0),
                {"program": "Node", "followers": 1, "rate": "full speed", "failed": "late"},
                {"program": "nginx, nchan", "skipped": "needs nginx"},
            ]
        }
    )
    table = markdown("ratios", found).splitlines()
    assert "| program | 1 follower | 1,000 followers |" in table
    assert "| Go | 2.00 | 3.00 |" in table
    assert table[-1] == "- p99 latency at 10 lines/s, 1,000 followers: Go\N{NO-BREAK SPACE}0.75"
    assert len(found) == 3
    assert markdown("ratios", ratios({})) == "There is nothing to compare."
