"""Pages of the database that are overwritten at random: every request is answered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.live import parse_events
from tests.siege import case
from tests.siege.disks import submit
from tests.siege.trial import Trial
from trio_logs.store.sqlite import queries

PAGE = 4096


def stop_at_damage(patch: pytest.MonkeyPatch) -> None:
    """A read ends with the first damaged page."""

    def fail(*_: Any) -> Iterator[Any]:
        raise queries.DAMAGE[0]("database disk image is malformed")

    patch.setattr(queries.salvage, "oldest_first", fail)
    patch.setattr(queries.salvage, "newest_first", fail)


@case(stop_at_damage)
def overwritten(trial: Trial) -> None:
    """Logs have gaps, records are missing; nothing else happens."""
    with trial.server() as server:
        script = "for i in $(seq 300); do echo line $i; sleep 0.001; done"
        logs = [submit(server, "sh", "-c", script) for _ in range(20)]
        for each in logs:
            trial.wait_for(
                lambda each=each: bool(server.get(f"/v1/workloads/{each}").json()["finished_at"])
            )
        assert server.stop() == 0
    database = trial.data / "trio_logs.db"
    whole = database.read_bytes()
    rounds, gaps, opened = (30, 0, 0) if not trial.is_short else (5, 0, 0)
    for seed in range(rounds):
        rng = random.Random(seed)
        spoilt = bytearray(whole)
        for _ in range(3):
            # Not the first pages: without the schema, there is no database.
            place = rng.randrange(30, len(whole) // PAGE) * PAGE
            spoilt[place : place + PAGE] = rng.choice([bytes(PAGE), rng.randbytes(PAGE)])
        database.write_bytes(spoilt)
        said = ""
        try:
            with trial.server() as server, server.client() as client:
                opened += 1
                for each in logs:
                    answer = client.get(f"/v1/workloads/{each}/logs")
                    assert answer.status_code in (200, 404, 503), answer.text
                    if answer.status_code == 200:
                        gaps += _check(answer.content)
                for path in ("/v1/workloads", "/v1/workloads?label=a=b", "/v1/search?filter=line"):
                    assert client.get(path).status_code in (200, 503), path
                assert server.stop() in (0, 1)
                said = "".join(server.lines)
        except RuntimeError as refusal:
            # It may refuse to start, in one line.
            said = str(refusal)
        assert "Traceback" not in said, said
    print(f"    {opened} of {rounds} opened, {gaps} gaps")
    assert opened > rounds / 2
    assert gaps


def _check(answer: bytes) -> int:
    """Each line is there once or in a gap; return how many gaps are damage."""
    events = parse_events(answer)
    place, gaps = 1, 0
    for name, number, content in events[:-1]:
        if name == "gap":
            assert content["from"] == place
            gaps += content["reason"] == "damaged"
            place = content["to"] + 1
        else:
            assert number == str(place)
            place += 1
    assert (events[-1][0], events[-1][2]["lines"]) == ("end", place - 1)
    return gaps
