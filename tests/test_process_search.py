"""The parts of a look for processes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from trio_logs.backends import proc
from trio_logs.backends.proc import Stat
from trio_logs.backends.process_births import Births
from trio_logs.backends.process_identity import Identity
from trio_logs.backends.process_search import Search, Sessions


def search(pid: int = 7, start: int = 100) -> Search:
    return Search(Identity(pid, start, proc.boot_id()), None, kills=True)


@pytest.mark.parametrize(
    ("before", "newest", "pids"),
    [
        (5, 5, []),
        (5, 8, [8, 7, 6]),
        # After the largest pid, 11, it began anew.
        (9, 2, [2, 1, 11, 10]),
        (11, 1, [1]),
    ],
)
def test_the_pids_that_were_given_out(
    before: int,
    newest: int,
    pids: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/pid_max").write_text("12\n")
    monkeypatch.setattr(proc, "_PROC", tmp_path)
    assert list(proc.pids_between(before, newest)) == pids


def test_a_thread_is_no_process() -> None:
    done, ids = threading.Event(), [0]

    def run() -> None:
        ids[0] = threading.get_native_id()
        done.wait()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not ids[0]:
            pass
        assert proc.stat(ids[0]) is not None
        assert (proc.is_process(os.getpid()), proc.is_process(ids[0])) == (True, False)
    finally:
        done.set()
        thread.join()


def test_the_newest_pid_is_that_of_the_own_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "loadavg").write_text("0.00 0.01 0.05 1/100 31000\n")
    monkeypatch.setattr(proc, "_PROC", tmp_path)
    assert proc.newest() == 31000
    (tmp_path / "sys/kernel/ns_last_pid").write_text("77\n")
    assert proc.newest() == 77


def test_where_the_newest_pid_is_not_known_nothing_is_sure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `ProcSubset=pid` of systemd."""
    monkeypatch.setattr(proc, "_PROC", tmp_path)
    births = Births()
    births.examine(Sessions([search()]))
    assert not births.are_examined


def test_births_are_examined_until_all_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """11 is gone and 13 is a member; then 15 is gone, which has forked 17, a member."""
    newest = iter([10, 13, 16, 17, 17])
    stats = {
        12: Stat(3, 3, 200, False),
        13: Stat(7, 7, 200, False),
        14: Stat(3, 3, 200, False),
        16: Stat(3, 3, 200, False),
        17: Stat(17, 7, 200, False),
    }
    monkeypatch.setattr(proc, "newest", lambda: next(newest))
    monkeypatch.setattr(proc, "stat", stats.get)
    monkeypatch.setattr(proc, "is_process", lambda pid: True)
    wanted = search()
    births = Births()
    births.examine(Sessions([wanted]))
    assert [member.pid for member in wanted.answer().members] == [13, 17]
    assert births.are_examined


def test_a_link_that_left_the_session_may_have_forked_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And a pid may be given out before /proc shows it."""
    newest = iter([10, 11, 12, 12, 12])
    stats = {11: iter([Stat(11, 11, 200, False)]), 12: iter([None, Stat(7, 7, 200, False)])}
    monkeypatch.setattr(proc, "newest", lambda: next(newest))
    monkeypatch.setattr(proc, "stat", lambda pid: next(stats[pid]))
    monkeypatch.setattr(proc, "is_process", lambda pid: True)
    wanted = search()
    Births().examine(Sessions([wanted]))
    assert [member.pid for member in wanted.answer().members] == [12]


def test_a_chase_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all processes are gone at once, for ever."""
    monkeypatch.setattr("trio_logs.backends.process_births.CHASE_SECONDS", 0.01)
    pids = iter(range(1, 10**9))
    monkeypatch.setattr(proc, "newest", lambda: next(pids))
    monkeypatch.setattr(proc, "stat", lambda pid: None)
    births = Births()
    births.examine(Sessions([search()]))
    assert not births.are_examined


def test_a_zombie_may_have_forked_since_the_list() -> None:
    """But not the leader, which stays one."""
    wanted, other = search(), search(8)
    sessions = Sessions([wanted, other])
    assert not sessions.tell(7, Stat(7, 7, 100, is_zombie=True))
    assert wanted.answer().is_sure
    assert sessions.tell(9, Stat(9, 7, 200, is_zombie=True))
    assert (wanted.answer().is_sure, other.answer().is_sure) == (False, True)
    assert wanted.answer().members == []


def test_a_process_older_than_the_leader_is_of_an_earlier_session() -> None:
    wanted = search()
    Sessions([wanted]).tell(9, Stat(9, 7, 99, is_zombie=False))
    assert wanted.answer().members == []
