"""How much is measured: in full, quickly, or just so that each path runs once."""

from __future__ import annotations

from dataclasses import dataclass

from .machine import cores

__all__ = ["FULL", "QUICK", "TINY", "Scale"]


@dataclass(frozen=True, slots=True)
class Scale:
    """`seconds` and `rate_seconds` are about what a run takes, `timeout` what it may take.
    A progress bar runs for `bar_seconds`. A store has `records` workloads. Logs that are replayed
    and searched have `replay_lines`.
    The page opens each log of `page_lines` so often and jumps in it so often; `page_bursts` bursts
    have `page_burst` lines each.
    The first so many `programs` run in each suite; all of them in the fan-out at full speed.
    """

    name: str
    followers: tuple[int, ...]
    rates: tuple[float, ...]
    seconds: float
    rate_seconds: float
    max_lines: int
    max_events_per_second: int
    process_lines: int
    streams: tuple[int, ...]
    closes: int
    cycles: int
    samples: int
    idle: tuple[int, ...]
    idle_seconds: float
    stalled: tuple[int, ...]
    stalled_lines: int
    replay_lines: int
    search_live_lines: int
    bar_seconds: float
    records: int
    page_lines: tuple[int, ...]
    page_opens: int
    page_jumps: int
    page_burst: int
    page_bursts: int
    programs: int | None = None
    timeout: float = 60
    cores: tuple[int, int] = (0, 0)


FULL = Scale(
    name="full",
    followers=(1, 10, 100, 1000),
    rates=(10, 1000),
    seconds=1.2,
    rate_seconds=1.2,
    max_lines=1_000_000,
    max_events_per_second=100_000,
    process_lines=1_000_000,
    streams=(1, 100, 1000),
    closes=100,
    cycles=100_000,
    samples=50,
    idle=(1000, 10_000),
    idle_seconds=5,
    stalled=(0, 200),
    stalled_lines=2_500,
    replay_lines=1_000_000,
    search_live_lines=500,
    bar_seconds=10,
    records=100_000,
    page_lines=(1_000_000, 10_000_000),
    page_opens=10,
    page_jumps=200,
    page_burst=100_000,
    page_bursts=5,
    cores=cores(),
)

QUICK = Scale(
    name="quick",
    followers=(100,),
    rates=(10,),
    seconds=0.3,
    rate_seconds=0.5,
    max_lines=200_000,
    max_events_per_second=100_000,
    process_lines=200_000,
    streams=(1, 100),
    closes=20,
    cycles=10_000,
    samples=20,
    idle=(200,),
    idle_seconds=0.3,
    stalled=(50,),
    stalled_lines=1_000,
    replay_lines=200_000,
    search_live_lines=100,
    bar_seconds=2,
    records=10_000,
    page_lines=(200_000,),
    page_opens=3,
    page_jumps=20,
    page_burst=20_000,
    page_bursts=1,
    programs=1,
    timeout=15,
    cores=cores(),
)

TINY = Scale(
    name="tiny",
    followers=(3,),
    rates=(10,),
    seconds=0.05,
    rate_seconds=0.2,
    max_lines=2_000,
    max_events_per_second=100_000,
    process_lines=2_000,
    streams=(1, 5),
    closes=2,
    cycles=100,
    samples=20,
    idle=(20,),
    idle_seconds=0.1,
    stalled=(2,),
    stalled_lines=200,
    replay_lines=5_000,
    search_live_lines=20,
    bar_seconds=1,
    records=100,
    page_lines=(5_000,),
    page_opens=1,
    page_jumps=4,
    page_burst=2_000,
    page_bursts=1,
    programs=2,
    timeout=20,
    cores=cores(),
)
