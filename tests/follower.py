"""A client that follows a log over HTTP, resumes where it was cut, and notes what it saw."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import httpx2
import trio

from tests.checker import Transcript
from tests.live import parse_events

__all__ = ["Follower", "eventually", "final_in_store"]

RETRY_SECONDS = 0.05


async def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for a condition that concerns threads or other processes. Raises trio.TooSlowError."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.01)


def final_in_store(path: Path, workload_id: str) -> bool:
    """Whether another connection to the database finds that the workload has finished."""
    # By the library of the store: another one in the same process would drop its locks.
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as other:
        found = other.execute(
            "SELECT finished_at FROM workloads WHERE id = ?", (workload_id,)
        ).fetchone()
    return found is not None and found[0] is not None


@dataclass
class Follower:
    """`database`: where its `end` must be final by the time that it comes; None does not look.

    `cuts` counts answers that were cut without a terminal chunk, `refusals` those with 503, and
    `reasons` holds those of all gaps. `early` is set by an `end` that was not final in the store.
    """

    client: httpx2.AsyncClient
    workload_id: str
    database: Path | None = None
    seen: Transcript = field(default_factory=lambda: Transcript(1, []))
    cuts: int = 0
    refusals: int = 0
    reasons: set[str] = field(default_factory=set)
    early: bool = False
    ended: trio.Event = field(default_factory=trio.Event)

    @property
    def lines(self) -> int:
        """The number of the last line that it has, or has been told to be missing."""
        return self.seen.next - 1

    async def run(self) -> None:
        """Follow until `end`, over as many answers as it takes."""
        while not self.ended.is_set():
            headers = {"Last-Event-ID": str(self.lines)} if self.seen.events else {}
            url = f"/v1/workloads/{self.workload_id}/logs"
            try:
                async with self.client.stream("GET", url, headers=headers) as answer:
                    await self._read(answer)
            except (httpx2.RemoteProtocolError, httpx2.ReadError):
                self.cuts += 1
            except httpx2.ConnectError:
                pass  # the server has ended: the test cancels, or starts another one
            if not self.ended.is_set():
                await trio.sleep(RETRY_SECONDS)

    async def _read(self, answer: httpx2.Response) -> None:
        if answer.status_code == 503:
            await answer.aread()
            assert answer.json()["reason"] == "store", answer.text
            self.refusals += 1
            return
        assert answer.status_code == 200, answer.status_code
        rest = b""
        async for chunk in answer.aiter_raw():
            whole, found, rest = (rest + chunk).rpartition(b"\n\n")
            if found:
                self._note(whole + found)

    def _note(self, frames: bytes) -> None:
        for name, event_id, content in parse_events(frames):
            match name:
                case "message":
                    self.seen.events.append(("line", int(event_id), content))
                case "gap":
                    self.reasons.add(content["reason"])
                    self.seen.events.append(("gap", content["from"], content["to"]))
                case "end":
                    if self.database is not None:
                        self.early |= not final_in_store(self.database, self.workload_id)
                    self.seen.events.append(("end", content["lines"]))
                    self.ended.set()
                case "shutdown":
                    pass
                case _:
                    raise AssertionError(f"a {name} event")
