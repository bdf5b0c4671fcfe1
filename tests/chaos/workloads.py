"""What the nodes run: processes whose lines carry their number and a hash."""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["KINDS", "Job", "counts", "job", "leftover", "starts"]

# It says that it has started, writes its lines in bursts, and says how many they were.
SCRIPT = """
import json, os, sys, time, zlib
key, folder, order = sys.argv[1:]
order = json.loads(order)
file = os.open(f"{folder}/{key}.starts", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(file, b"%d\\n" % os.getpid())
os.close(file)
numbers = [0, 0]
def line(place):
    numbers[place] += 1
    content = f"{key} {('stdout', 'stderr')[place]} {numbers[place]} {time.monotonic():.4f} 0"
    return f"{content} {zlib.crc32(content.encode()):08x}\\n".encode()
written = 0
while written < order["lines"]:
    burst = min(order["burst"], order["lines"] - written)
    place = 1 if order["both"] and written // order["burst"] % 3 == 2 else 0
    data = b"".join(line(place) for _ in range(burst))
    if order["halves"]:
        os.write(place + 1, data[:20])
        time.sleep(order["pause"] / 2)
        data = data[20:]
    while data:
        data = data[os.write(place + 1, data):]
    written += burst
    time.sleep(order["pause"])
with open(f"{folder}/{key}.count", "w") as file:
    json.dump({"stdout": numbers[0], "stderr": numbers[1]}, file)
sys.exit(order["code"])
"""

MARK = "TRIO_LOGS_CHAOS_FOLDER"
"""A variable of each process, by which what is left of a run is found."""


@dataclass(frozen=True)
class Job:
    """Lines in bursts with pauses, in seconds, between them. `both`: each third burst goes to
    stderr. `halves`: a burst comes in two pieces, the first of which ends in the midst of a
    line."""

    lines: int
    burst: int
    pause: float
    both: bool = False
    halves: bool = False
    code: int = 0

    def body(self, key: str, folder: Path) -> dict[str, Any]:
        """The request that submits it."""
        command = [sys.executable, "-ISE", "-c", SCRIPT, key, str(folder), json.dumps(asdict(self))]
        return {"command": command, "name": key, "env": {MARK: str(folder)}}


KINDS = ("fast", "steady", "slow", "quiet", "brief", "both", "halves", "endless")


def job(kind: str, rng: random.Random, seconds: float) -> Job:
    """A job of a kind, which takes about so many seconds at most."""
    seconds *= rng.uniform(0.3, 1)
    code = rng.choice([0, 0, 3])
    match kind:
        case "fast":
            return Job(rng.randint(2_000, 8_000), 500, 0, code=code)
        case "steady":
            return Job(int(100 * seconds), 5, 0.05, code=code)
        case "slow":
            return Job(max(1, int(4 * seconds)), 1, 0.25, code=code)
        case "quiet":
            pause = rng.uniform(1.5, 5)
            return Job(max(2, 2 * int(seconds / pause)), 2, pause, code=code)
        case "brief":
            return Job(rng.randint(1, 5), 5, 0, code=code)
        case "both":
            return Job(int(40 * seconds), 4, 0.1, both=True, code=code)
        case "halves":
            return Job(int(10 * seconds), 2, 0.2, halves=True, code=code)
        case _:
            return Job(1_000_000, 1, 0.2)


def starts(folder: Path) -> dict[str, list[int]]:
    """The ids of the processes that have started, by the keys of their workloads."""
    found: dict[str, list[int]] = defaultdict(list)
    for path in folder.glob("*.starts"):
        found[path.stem] = [int(each) for each in path.read_text().split()]
    return found


def counts(folder: Path) -> dict[str, dict[str, int]]:
    """How many lines of each stream each workload has written that came to its end."""
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.count")}


def leftover(folder: Path) -> list[int]:
    """The ids of the processes of a run that are alive."""
    mark = f"{MARK}={folder}\0".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes() + b"\0":
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found
