"""Threads that exist before they are needed."""

from __future__ import annotations

import gc
import threading

import pytest
import trio

from trio_logs.threads import Threads


async def test_results_and_errors_come_back() -> None:
    threads = Threads("test", 2)
    threads.start()
    try:
        assert await threads.run(lambda: threading.current_thread().name) in ("test 0", "test 1")
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
    finally:
        threads.close()


async def test_a_call_is_waited_for_unless_it_may_be_abandoned() -> None:
    threads = Threads("test", 1)
    threads.start()
    go_on = threading.Event()
    ran: list[str] = []

    def hang() -> None:
        assert go_on.wait(10)
        ran.append("hung")

    with trio.move_on_after(0) as scope:
        await threads.run(hang)
    assert scope.cancelled_caught  # cancelled before it was queued
    with trio.move_on_after(0.01) as scope:
        await threads.run(hang, abandon_on_cancel=True)
    assert scope.cancelled_caught
    assert ran == []
    with trio.move_on_after(0.01) as scope:
        # Dropped: the only thread is busy.
        await threads.run(lambda: ran.append("dropped"), abandon_on_cancel=True)
    with trio.move_on_after(0.01) as scope:
        trio.lowlevel.current_trio_token().run_sync_soon(go_on.set)
        await threads.run(lambda: ran.append("waited for"))
    assert not scope.cancelled_caught
    assert ran == ["hung", "waited for"]
    threads.close()


async def test_closed_threads_end() -> None:
    before = threading.active_count()
    threads = Threads("test", 3)
    threads.start()
    assert threading.active_count() == before + 3
    threads.close()
    with trio.fail_after(5):
        while threading.active_count() > before:
            await trio.sleep(0.001)


async def test_a_thread_that_cannot_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        Threads("test", 2).start()
    started[0].join(5)
    assert not started[0].is_alive()


async def test_a_call_outlives_a_cancelled_wait() -> None:
    threads = Threads("test", 1)
    threads.start()
    go_on = threading.Event()
    call = threads.submit(lambda: go_on.wait(10))
    for _ in range(2):
        with trio.move_on_after(0.01) as scope:
            await call.wait()
        assert scope.cancelled_caught
    go_on.set()
    assert await call.wait()
    await threads.wait_closed()
    with pytest.raises(RuntimeError, match="'test' are closed"):
        threads.submit(int)


async def test_abandoned_calls_do_not_pile_up() -> None:
    threads = Threads("test", 1)
    threads.start()
    go_on = threading.Event()
    ran: list[int] = []
    hung = threads.submit(lambda: go_on.wait(10))
    alive = 0

    class Function:
        def __init__(self) -> None:
            nonlocal alive
            alive += 1

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

        def __call__(self) -> None:
            ran.append(1)

    for _ in range(100):
        with trio.move_on_after(0.0001) as scope:
            await threads.run(Function(), abandon_on_cancel=True)
        assert scope.cancelled_caught
    # Trio keeps the last wait of a task until its next one.
    await trio.lowlevel.checkpoint()
    gc.collect()
    assert alive == 0
    queued = threads.submit(lambda: ran.append(2))
    threads.close()
    go_on.set()
    assert await hung.wait()
    # Queued before `close`, so it runs.
    await queued.wait()
    await threads.wait_closed()
    assert ran == [2]
