"""Writers at full speed against the bound of the history, and the space that they leave."""

from __future__ import annotations

import sys
import time

import pytest

from tests.siege import case
from tests.siege.disks import submit
from tests.siege.trial import Trial
from trio_logs.store.sqlite.free_pages import FreePages
from trio_logs.store.sqlite.logs import Logs

MB = 1_000_000

NOISE = """
import base64, random, sys
block = b"".join(base64.b64encode(random.randbytes(45)) + b"\\n" for _ in range(20000))
while True:
    sys.stdout.buffer.write(block[random.randrange(60) * 61:])
"""


def trim_by_the_clock(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the bound but a timer, which is not due yet."""
    patch.setattr(Logs, "is_over", property(lambda logs: False))

    async def keep(*_: object) -> None:
        pass

    patch.setattr("trio_logs.service.keep_trimmed", keep)


def keep_free_pages(patch: pytest.MonkeyPatch) -> None:
    """The file never shrinks."""
    patch.setattr(FreePages, "look", lambda pages, connection: None)


@case(trim_by_the_clock, keep_free_pages)
def two_writers(trial: Trial) -> None:
    """The history stays within its bound, the files near it, and `rm` gives the space back."""
    bound = 50 * MB
    with trial.server("--history-bytes", str(bound)) as server:
        writers = [submit(server, sys.executable, "-c", NOISE) for _ in range(2)]
        highest = largest = 0
        with trial.healthy(server):
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                highest = max(highest, int(server.metric("trio_logs_history_bytes")))
                largest = max(largest, _size(trial))
        written = server.metric("trio_logs_published_bytes_total")
        held, files = f"{highest / MB:.1f} MB held", f"files {largest / MB:.1f} MB"
        print(f"    {written / MB:.0f} MB written, {held}, {files}")
        assert written > 3 * bound
        assert highest <= bound + 3 * MB
        assert largest <= bound + 20 * MB
        with server.client() as client:
            for each in writers:
                client.post(f"/v1/workloads/{each}/stop", json={"grace": 0})
            for each in writers:
                trial.wait_for(
                    lambda each=each: client.delete(f"/v1/workloads/{each}").status_code == 204
                )
        start = time.monotonic()
        trial.wait_for(lambda: _size(trial) < 20 * MB)
        print(f"    the space is back after {time.monotonic() - start:.2f} s")
        assert server.stop() == 0


def _size(trial: Trial) -> int:
    """The bytes of the database and of its log."""
    names = ("trio_logs.db", "trio_logs.db-wal")
    return sum((trial.data / name).stat().st_size for name in names)
