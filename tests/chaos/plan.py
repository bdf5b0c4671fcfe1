"""What a seed decides: workloads, clients, and faults with their times."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from tests.chaos.workloads import KINDS, Job, job

__all__ = ["FAULTS", "NODES", "Mode", "Plan", "PlannedFault", "PlannedJob", "PlannedPush", "plan"]

NODES = ("a", "b", "c")

Mode = Literal["single", "sync", "async"]
"""The database: one server, or one with a standby of either kind, to which it fails over."""

FAULTS = {
    "kill": 3,
    "pause": 2,
    "stop": 2,
    "rolling": 1,
    "database-restart": 2,
    "database-pause": 2,
    "database-down": 1,
    "cut": 3,
    "cut-off": 2,
    "delay": 2,
    "black-hole": 2,
    "black-hole-push": 2,
}
"""Each with its weight; `black-hole-push` meets a node to which a client pushes. `failover` comes
once, where there is a standby."""


@dataclass(frozen=True)
class PlannedFault:
    """`node` is None for those that concern all, or the database."""

    at: float
    name: str
    node: str | None
    seconds: float


@dataclass(frozen=True)
class PlannedJob:
    """`stop_at`: when a client asks for its stop. `readers` follow it."""

    at: float
    key: str
    kind: str
    job: Job
    readers: int
    stop_at: float | None


@dataclass(frozen=True)
class PlannedPush:
    """A client that pushes so many lines, with pauses between them."""

    at: float
    key: str
    lines: int
    pause: float
    readers: int


@dataclass(frozen=True)
class Plan:
    """A run: faults for so many `seconds`; then everything is healed and must come to its end."""

    seed: int
    seconds: float
    mode: Mode
    patience: float
    drain: float
    max_running: int
    jobs: tuple[PlannedJob, ...]
    pushes: tuple[PlannedPush, ...]
    faults: tuple[PlannedFault, ...]


def plan(
    seed: int, *, seconds: float = 12, mode: Mode | None = None, all_faults: bool = False
) -> Plan:
    """What a seed decides. With `all_faults`, each of them comes once; else they are drawn."""
    rng = random.Random(f"plan {seed}")
    modes: list[Mode] = ["single", "single", "sync", "async"]
    chosen = rng.choice(modes)
    return Plan(
        seed,
        seconds,
        mode or chosen,
        patience=rng.choice([1, 30, 30]),
        drain=rng.choice([0, 0, 1]),
        max_running=rng.choice([2, 5]),
        jobs=tuple(_jobs(random.Random(f"jobs {seed}"), seconds)),
        pushes=tuple(_pushes(random.Random(f"pushes {seed}"), seconds)),
        faults=tuple(_faults(random.Random(f"faults {seed}"), seconds, mode or chosen, all_faults)),
    )


def _jobs(rng: random.Random, seconds: float) -> list[PlannedJob]:
    found = []
    for number in range(rng.randint(8, 12)):
        kind = KINDS[number % len(KINDS)]
        at = rng.uniform(0, 0.7 * seconds)
        stop_at = None
        if kind == "endless" or rng.random() < 0.15:
            stop_at = rng.uniform(at + 0.2, seconds)
        readers = 1 if kind == "brief" else rng.randint(2, 3)
        found.append(
            PlannedJob(at, f"j{number}", kind, job(kind, rng, seconds - at), readers, stop_at)
        )
    return found


def _pushes(rng: random.Random, seconds: float) -> list[PlannedPush]:
    return [
        PlannedPush(
            rng.uniform(0, 0.3 * seconds),
            f"p{number}",
            rng.randint(30, 150),
            rng.choice([0.005, 0.03]),
            rng.randint(1, 2),
        )
        for number in range(rng.randint(2, 3))
    ]


def _faults(rng: random.Random, seconds: float, mode: Mode, all_faults: bool) -> list[PlannedFault]:
    found = []
    names = list(FAULTS)
    rng.shuffle(names)
    at = rng.uniform(0.8, 1.5)
    while at < seconds and (names or not all_faults):
        if all_faults:
            name = names.pop()
        else:
            [name] = rng.choices(list(FAULTS), list(FAULTS.values()))
        node = rng.choice(NODES)
        is_all = name in ("cut", "delay", "black-hole") and rng.random() < 0.3
        found.append(PlannedFault(at, name, None if is_all else node, _duration(name, rng)))
        at += rng.uniform(0.2, 0.5) if all_faults else rng.choice([0.1, 0.5, 1, 2, 4])
    if mode != "single":
        found.append(
            PlannedFault(rng.uniform(0.3, 0.8) * seconds, "failover", None, rng.uniform(0.3, 2))
        )
    return sorted(found, key=lambda each: each.at)


def _duration(name: str, rng: random.Random) -> float:
    match name:
        case "kill" | "stop":
            return rng.uniform(0.1, 2)  # until it is started again
        case "pause":
            return rng.choice([0.3, 2, 4, 8])
        case "database-pause" | "black-hole":
            return rng.choice([0.3, 1.5, 6])
        case "black-hole-push":
            return rng.choice([2, 4, 6])
        case "database-down" | "cut-off":
            return rng.choice([0.5, 2, 5])
        case "delay":
            return rng.uniform(0.5, 3)
    return 0.0
