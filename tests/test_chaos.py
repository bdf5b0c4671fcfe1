"""One seed of the chaos campaign, with each fault but a failover: `python -m tests.chaos` runs
hundreds."""

from __future__ import annotations

import trio

from tests.chaos.campaign import carry_out, make_settings
from tests.chaos.checker import check
from tests.chaos.database import wheel_binaries, workplace
from tests.chaos.plan import FAULTS, plan

SEED = 3

SECONDS = 6.0


async def test_clients_see_what_they_were_promised() -> None:
    planned = plan(SEED, seconds=SECONDS, mode="single", all_faults=True)
    assert {fault.name for fault in planned.faults} == set(FAULTS)
    with workplace(wheel_binaries()) as (folder, template):
        settings = make_settings(planned, folder, wheel_binaries(), template)
        with trio.fail_after(120):
            run = await carry_out(planned, settings)
    assert check(run) == []
    # It was what it should be.
    assert len(run.exits) >= 2
    assert len(run.faults) >= len(FAULTS)
    assert sum(each.moves for each in run.pushed) > 3
    assert {each.way for each in run.readers} == {"sse", "ndjson", "past"}
    assert any(event.kind == "shutdown" for each in run.readers for event in each.events)
    assert sum(each.kind == "line" for reader in run.readers for each in reader.events) > 1000
