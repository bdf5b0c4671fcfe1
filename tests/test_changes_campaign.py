"""The campaign of changes, with few seeds; planted bugs show that it sees what is missed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests import changes_campaign
from tests.changes_campaign import STORES, View, run, run_with_kills
from trio_logs.engine.change_feed import ChangeFeed
from trio_logs.engine.change_window import ChangeWindow
from trio_logs.engine.changes import Changes
from trio_logs.records import Change
from trio_logs.store import Store
from trio_logs.store.memory import MemoryStore

RUNS = {"memory": 25, "sqlite": 8}


@pytest.mark.parametrize("kind", STORES)
def test_listing_and_following_misses_no_change(kind: str) -> None:
    resets = [run(seed, kind) for seed in range(RUNS[kind])]
    # Bounds are small in some runs only, so most readers never have to list again.
    assert 0 < sum(map(bool, resets)) < len(resets)


async def test_a_killed_server_loses_no_change(tmp_path: Path) -> None:
    assert await run_with_kills(tmp_path, 1, 1) > 0


def take_the_position_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The position of a list is read after its pages."""

    async def list_late(self: View, store: Store, changes: Changes) -> None:
        await self.load(store)
        self.position = changes.position

    monkeypatch.setattr(View, "list", list_late)


def number_no_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion takes no position."""
    change = MemoryStore._change

    def careless(self: MemoryStore, workload_id: str, workload: Any) -> None:
        if workload is None:
            del self._workloads[workload_id], self._changed[workload_id]
        else:
            change(self, workload_id, workload)

    monkeypatch.setattr(MemoryStore, "_change", careless)


def number_no_deletion_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in SQLite."""
    monkeypatch.setattr("trio_logs.store.sqlite.workloads.add_deletion", lambda *_: None)


def ring_before_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers are rung in one step, and the window has the change in a later one."""

    async def append(self: ChangeFeed, change: Change) -> None:
        await trio.sleep(0.001)
        self._window.append(change)
        self.head = change.position

    def publish(self: ChangeFeed, change: Change) -> None:
        for reader in self._readers:
            reader.ring()
        trio.lowlevel.spawn_system_task(append, self, change)

    monkeypatch.setattr(ChangeFeed, "publish", publish)


def skip_a_change_of_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader moves past a change of the window that it did not get."""
    after = ChangeWindow.after

    def careless(self: ChangeWindow, position: int, max_bytes: int) -> Any:
        found = after(self, position, max_bytes)
        return found[1:] if len(found) > 1 else found

    monkeypatch.setattr(ChangeWindow, "after", careless)


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (take_the_position_late, "memory"),
        (number_no_deletion, "memory"),
        (number_no_deletion_on_disk, "sqlite"),
        (ring_before_the_window, "memory"),
        (skip_a_change_of_the_window, "memory"),
    ],
)
def test_planted_bugs_are_caught(
    plant: Callable[[pytest.MonkeyPatch], None], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    # A change that never comes is waited for.
    monkeypatch.setattr(changes_campaign, "PATIENCE", 10)
    with pytest.RaisesGroup(AssertionError, flatten_subgroups=True):
        for seed in range(300):
            run(seed, kind)
