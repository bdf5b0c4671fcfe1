"""A service's life on a disk on which exactly the n-th change fails, for every n.

`python -m tests.outage_campaign` tries every n, and then an outage of each kind; `--every K` each
K-th n only, `--only N` one of them, and `--short` has outages of a few seconds.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import apsw
import httpx2
import structlog
import trio

from tests.checker import Transcript, faults
from tests.failing_disk import Disk, failing_disk
from tests.follower import Follower, eventually
from tests.live import Live, open_live
from tests.outage_drill import OUTAGES, assert_refused, drill
from trio_logs.errors import StoreError
from trio_logs.settings import Settings
from trio_logs.store.sqlite import SQLiteStore

__all__ = ["CODES", "count_changes", "try_failure"]

CODES = {"IOERR": apsw.SQLITE_IOERR, "FULL": apsw.SQLITE_FULL}

# Each run of a command leaves a line in a file of its name.
SCRIPT = 'echo ran >> "$0"; seq 5; exit 3'
STAYS = 'echo ran >> "$0"; echo 1; exec sleep 100'


class _Life:
    """What clients do with one service, and what they must find afterwards."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._path = folder / "x.db"
        self._disk = disk
        self._ids: dict[str, str] = {}
        self._followers: dict[str, Follower] = {}

    async def run(self) -> None:
        await self._again(self._until_shutdown)
        await self._again(self._until_crash)
        await self._again(self._after_crash)
        self._disk.healthy()
        async with self._service() as live:
            await self._check(live)

    async def _again(self, start: Callable[[], Awaitable[None]]) -> None:
        """A start may fail if the file can't be opened: then the next one succeeds."""
        try:
            await start()
        except* StoreError as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            if "could not open" not in str(error):
                raise
            await start()

    @asynccontextmanager
    async def _service(self) -> AsyncIterator[Live]:
        settings = Settings(self._folder / "data", store_patience=5)
        store = SQLiteStore(self._path, synchronous="FULL", vfs=self._disk.name)
        async with open_live(settings, store=store) as live:
            yield live

    async def _until_shutdown(self) -> None:
        async with self._service() as live:
            await self._submit(live, "keyed", SCRIPT, key="k")
            await self._submit(live, "unkeyed", SCRIPT)
            await self._submit(live, "deleted", SCRIPT)
            for name in ("keyed", "unkeyed", "deleted"):
                await self._follow(live, name)
            await self._delete(live, "deleted")
            await self._submit(live, "stopped", STAYS)
            await self._follow(live, "stopped", lines=1)

    async def _until_crash(self) -> None:
        # Outside, so that what `_again` is for passes through.
        with trio.CancelScope() as crash:
            async with self._service() as live:
                await self._follow(live, "stopped")
                await self._submit(live, "lost", STAYS)
                await self._follow(live, "lost", lines=1)
                crash.cancel()
                await trio.sleep_forever()

    async def _after_crash(self) -> None:
        async with self._service() as live:
            await self._follow(live, "lost")
            await self._submit(live, "keyed", SCRIPT, key="k")

    async def _submit(self, live: Live, name: str, script: str, key: str | None = None) -> None:
        command = ["sh", "-c", script, str(self._folder / f"{name}.ran")]
        answer = await self._until_taken(
            lambda: live.client.post(
                "/v1/workloads",
                json={"name": name, "command": command},
                headers={"Idempotency-Key": key} if key else {},
            )
        )
        assert answer.status_code == (200 if name in self._ids else 201), answer.text
        assert self._ids.setdefault(name, answer.json()["id"]) == answer.json()["id"]

    async def _delete(self, live: Live, name: str) -> None:
        refusals: list[httpx2.Response] = []
        url = f"/v1/workloads/{self._ids.pop(name)}"
        answer = await self._until_taken(lambda: live.client.delete(url), refusals)
        # After a 503, it may have been deleted.
        assert answer.status_code == 204 or (refusals and answer.status_code == 404)
        assert (await live.client.get(url)).status_code == 404
        assert (await live.client.get(f"{url}/logs")).status_code == 404
        del self._followers[name]

    async def _until_taken(
        self,
        request: Callable[[], Awaitable[httpx2.Response]],
        refusals: list[httpx2.Response] | None = None,
    ) -> httpx2.Response:
        """The answer to a request that is made again after a 503, as a client should."""
        while (answer := await request()).status_code == 503:
            assert_refused(answer)
            if refusals is not None:
                refusals.append(answer)
            await trio.sleep(0.05)
        return answer

    async def _follow(self, live: Live, name: str, lines: int | None = None) -> None:
        """Follow a log to its end, or for so many lines, from where the last one stopped."""
        earlier = self._followers.get(name)
        seen = earlier.seen if earlier else Transcript(1, [])
        follower = Follower(live.client, self._ids[name], self._path, seen)
        self._followers[name] = follower
        if lines is None:
            await follower.run()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.run)
            await eventually(lambda: follower.lines >= lines)
            nursery.cancel_scope.cancel()

    async def _check(self, live: Live) -> None:
        statuses = {"keyed": "failed", "unkeyed": "failed", "stopped": "stopped", "lost": "lost"}
        answer = (await live.client.get("/v1/workloads")).json()["workloads"]
        assert {each["name"]: each["status"] for each in answer} == statuses
        assert {each["id"] for each in answer} == set(self._ids.values())
        for name, follower in self._followers.items():
            count = 5 if statuses[name] == "failed" else 1
            follower.seen.written = [str(number) for number in range(1, count + 1)]
            assert faults(follower.seen) == [], name
            assert not follower.early
            whole = Follower(live.client, self._ids[name])
            await whole.run()
            assert whole.seen.events == follower.seen.events
            [record] = [each for each in answer if each["name"] == name]
            assert record["lines"] == count
            assert (record["exit_code"] == 3) is (record["status"] == "failed")
        for name in (*statuses, "deleted"):
            assert (self._folder / f"{name}.ran").read_text() == "ran\n", name
        assert live.service.broker.statistics().lines_unsaved == 0
        with closing(apsw.Connection(str(self._path))) as other:
            assert other.pragma("integrity_check") == "ok"
            [(held,)] = other.execute("SELECT COALESCE(sum(length(data)), 0) FROM batches")
        assert live.service.store.statistics().bytes == held


def count_changes() -> int:
    """How many changes of the disk a life makes; about, since threads and processes interleave."""
    return _live(0, apsw.SQLITE_OK)[0]


def try_failure(number: int, code: int) -> bool:
    """One life in which that change fails; whether there was one with that number. Raises if
    anything is wrong afterwards."""
    return bool(_live(number, code)[1])


def _live(number: int, code: int) -> tuple[int, int]:
    with tempfile.TemporaryDirectory() as folder, failing_disk() as disk:
        disk.fail_nth(number, code)

        async def main() -> None:
            with trio.fail_after(60):
                await _Life(Path(folder), disk).run()

        trio.run(main)
        return disk.operations, disk.failures


def _try_changes(name: str, numbers: range) -> int:
    start = time.monotonic()
    failed = met = 0
    for number in numbers:
        try:
            met += try_failure(number, CODES[name])
        except Exception as error:  # the next numbers are tried all the same
            failed += 1
            print(f"  --only {number} ({name}): {error!r}")
    taken = time.monotonic() - start
    print(f"{name}: {len(numbers)} changes, {met} met, {failed} failed, {taken:.0f} s", flush=True)
    return failed


def _try_outage(name: str, seconds: float) -> int:
    start = time.monotonic()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            trio.run(drill, Path(folder), OUTAGES[name], seconds)
        except Exception as error:
            failed = 1
            print(f"  {name}: {error!r}")
    taken = time.monotonic() - start
    print(f"{name} for {seconds:g} s: {failed} failed, {taken:.0f} s", flush=True)
    return failed


def main() -> None:
    """Print a line for each code and each outage; exit 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.outage_campaign", description=__doc__)
    parser.add_argument("--only", type=int, help="only this change, and no outage")
    parser.add_argument("--every", type=int, default=1, help="only each K-th change")
    parser.add_argument("--short", action="store_true", help="outages of a few seconds")
    options = parser.parse_args()
    # The store's failures are no news here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    only = options.only
    count = only or count_changes()
    print(f"a life changes the disk {count} times", flush=True)
    numbers = range(only or 1, count + 1, options.every)
    failed = sum(_try_changes(name, numbers) for name in CODES)
    if only is None:
        for name, outage in OUTAGES.items():
            failed += _try_outage(name, outage.seconds[0 if options.short else 1])
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
