"""`logging` records as lines of a log, from Trio's thread and from others."""

from __future__ import annotations

import logging
import threading
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from trio_logs import LogBroker, log_records, open_broker
from trio_logs.broker.handler import MAX_WAITING_BYTES, WRITE_BYTES
from trio_logs.broker.writer import LogWriter
from trio_logs.records import Batch, End, Outcome, Status


@pytest.fixture
async def broker() -> AsyncIterator[LogBroker]:
    async with open_broker() as opened:
        yield opened


@pytest.fixture
def logger() -> logging.Logger:
    logger = logging.Logger("train")
    logger.setLevel(logging.INFO)
    return logger


async def read(broker: LogBroker) -> list[str]:
    """All lines of the log, which is closed."""
    await broker.close("job", Outcome(Status.SUCCEEDED))
    lines: list[str] = []
    with broker.subscribe("job", 1) as subscription, trio.fail_after(10):
        async for record in subscription:
            if isinstance(record, Batch):
                assert record.stream == "stderr"
                lines += [line.decode() for line in record.lines]
            else:
                assert isinstance(record, End)
    return lines


def fail(why: str) -> None:
    raise ValueError(why)


async def test_from_trios_thread(broker: LogBroker, logger: logging.Logger) -> None:
    with await broker.open("job") as log:
        async with log_records(log, logger) as handler:
            handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
            logger.info("one %d", 1)
            logger.debug("not this")
            await trio.testing.wait_all_tasks_blocked()
            try:
                fail("bad\udcff")
            except ValueError:
                logger.exception("two")
        assert logger.handlers == []
        logger.info("nobody listens")
    first, second, *trace = await read(broker)
    assert (first, second) == ("INFO one 1", "ERROR two")
    assert (trace[0], trace[-1]) == (
        "Traceback (most recent call last):",
        "ValueError: bad\\udcff",
    )


@pytest.mark.parametrize("foreign", [False, True])
async def test_from_other_threads(broker: LogBroker, logger: logging.Logger, foreign: bool) -> None:
    """They wait for the log, and Trio's thread, which logs meanwhile, does not wait for them."""

    def work(name: str) -> None:
        for number in range(200):
            logger.info("%s %d %s", name, number, "x" * 1000)

    with await broker.open("job") as log:
        async with log_records(log, logger), trio.open_nursery() as nursery:
            for name in "ab":
                if foreign:
                    thread = threading.Thread(target=work, args=(name,))
                    thread.start()
                    nursery.start_soon(trio.to_thread.run_sync, thread.join)
                else:
                    nursery.start_soon(trio.to_thread.run_sync, work, name)
            for number in range(200):
                logger.info("c %d", number)
                await trio.lowlevel.checkpoint()
    lines = await read(broker)
    for name in "abc":
        numbers = [line.split()[1] for line in lines if line.startswith(name)]
        assert numbers == [str(number) for number in range(200)]
    assert len(lines) == 600


async def test_from_a_run_of_its_own_in_another_thread(
    broker: LogBroker, logger: logging.Logger
) -> None:
    async def other_main() -> None:
        for number in range(5):
            logger.info("%d", number)

    with await broker.open("job") as log:
        async with log_records(log, logger):
            await trio.to_thread.run_sync(trio.run, other_main)
            await trio.testing.wait_all_tasks_blocked()
    assert await read(broker) == [str(number) for number in range(5)]


async def test_too_much_at_once_is_counted(broker: LogBroker, logger: logging.Logger) -> None:
    text = "x" * 999
    fit = MAX_WAITING_BYTES // 1000
    with await broker.open("job") as log:
        async with log_records(log, logger):
            for _ in range(fit + 5):
                logger.info(text)
            logger.info("short, but not before those that are missing")
            await trio.testing.wait_all_tasks_blocked()
            logger.info("after")
    lines = await read(broker)
    assert lines[:fit] == [text] * fit
    assert lines[fit:] == [
        "missing log records: 6; the log did not take them in time",
        "after",
    ]


async def test_a_thread_may_hold_a_lock_that_trios_thread_waits_for(
    broker: LogBroker, logger: logging.Logger
) -> None:
    """To log, the thread needs no step of Trio's thread."""
    lock = threading.Lock()
    held = threading.Event()

    def work() -> None:
        with lock:
            held.set()
            logger.info("with the lock")

    with await broker.open("job") as log:
        async with log_records(log, logger):
            thread = threading.Thread(target=work)
            thread.start()
            assert held.wait(5)
            got_it = lock.acquire(timeout=2)
            await trio.to_thread.run_sync(thread.join)
            assert got_it
    assert await read(broker) == ["with the lock"]


async def test_a_thread_with_such_a_lock_does_not_wait_for_ever(
    broker: LogBroker, logger: logging.Logger
) -> None:
    """The memory is full, so the thread waits, and Trio's thread waits for the thread."""
    lock = threading.Lock()
    held = threading.Event()
    fit = MAX_WAITING_BYTES // 1000

    def work() -> None:
        with lock:
            held.set()
            for _ in range(100):
                logger.info("dropped")

    with await broker.open("job") as log:
        async with log_records(log, logger, patience=0.1):
            for _ in range(fit + 1):
                logger.info("x" * 999)
            thread = threading.Thread(target=work)
            thread.start()
            assert held.wait(5)
            # The first record waits, the others don't.
            assert lock.acquire(timeout=5)
            thread.join()
            await trio.testing.wait_all_tasks_blocked()
            await trio.to_thread.run_sync(logger.info, "after")
    lines = await read(broker)
    assert lines[fit:] == ["missing log records: 101; the log did not take them in time", "after"]


async def test_a_thread_waits_for_a_log_that_takes_nothing(logger: logging.Logger) -> None:
    """Its records keep their order, and none is missing."""
    count = 3 * MAX_WAITING_BYTES // 1000
    logged = 0

    def work() -> None:
        nonlocal logged
        for number in range(count):
            logger.info("%0999d", number)
            logged += 1

    send, receive = trio.open_memory_channel[Any](0)
    written: list[bytes] = []

    async def take() -> None:
        async for item in receive:
            written.append(item.data)

    async with trio.open_nursery() as nursery:
        with LogWriter(send) as log:
            async with log_records(log, logger), trio.open_nursery() as working:
                working.start_soon(trio.to_thread.run_sync, work)
                with trio.fail_after(10):
                    while logged < MAX_WAITING_BYTES // 1000:
                        await trio.lowlevel.checkpoint()
                assert logged <= (MAX_WAITING_BYTES + WRITE_BYTES) // 1000 + 1
                nursery.start_soon(take)
    assert b"".join(written) == b"".join(b"%0999d\n" % number for number in range(count))


async def test_another_run_never_waits_and_has_the_same_bound(
    broker: LogBroker, logger: logging.Logger
) -> None:
    """While Trio's thread is busy, the records of the other run take no more memory than that."""
    count = 8 * MAX_WAITING_BYTES // 1000
    fit = MAX_WAITING_BYTES // 1000

    async def other_main() -> None:
        for number in range(count):
            logger.info("%0999d", number)

    with await broker.open("job") as log:
        async with log_records(log, logger, patience=60):
            thread = threading.Thread(target=trio.run, args=(other_main,))
            tracemalloc.start()
            try:
                thread.start()
                thread.join(20)
                assert not thread.is_alive()
                taken, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert taken < 2 * MAX_WAITING_BYTES
            await trio.testing.wait_all_tasks_blocked()
            await trio.to_thread.run_sync(trio.run, other_main_says, logger)
    lines = await read(broker)
    assert [int(line) for line in lines[:fit]] == list(range(fit))
    missing = f"missing log records: {count - fit}; the log did not take them in time"
    assert lines[fit:] == [missing, "after"]


async def other_main_says(logger: logging.Logger) -> None:
    logger.info("after")


async def test_a_record_longer_than_the_memory_is_kept(
    broker: LogBroker, logger: logging.Logger
) -> None:
    text = "x" * 50_000 + "\n"
    with await broker.open("job") as log:
        async with log_records(log, logger):
            logger.info(text * 30)
    assert len(await read(broker)) == 31


async def test_an_error_lets_waiting_threads_go_on(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_logs.broker.handler.LAST_SECONDS", 0.05)
    logged: list[int] = []

    def work() -> None:
        for number in range(2 * MAX_WAITING_BYTES // 1000):
            logger.info("x" * 999)
            logged.append(number)

    send, receive = trio.open_memory_channel[Any](0)
    thread = threading.Thread(target=work)
    with receive, LogWriter(send) as log:
        with pytest.RaisesGroup(ValueError):
            async with log_records(log, logger, patience=60):
                thread.start()
                with trio.fail_after(10):
                    while len(logged) < MAX_WAITING_BYTES // 1000:
                        await trio.lowlevel.checkpoint()
                fail("now")
        thread.join(10)
        assert not thread.is_alive()


def test_a_thread_may_outlive_the_run(
    logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = threading.Event()
    handlers: list[logging.Handler] = []

    def work() -> None:
        assert ended.wait(10)
        for number in range(2 * MAX_WAITING_BYTES // 1000):
            handlers[0].emit(logging.makeLogRecord({"msg": f"{number} {'x' * 999}"}))

    thread = threading.Thread(target=work)

    async def main() -> None:
        async with open_broker() as broker:
            with await broker.open("job") as log:
                async with log_records(log, logger, patience=60) as handler:
                    handlers.append(handler)
                    thread.start()
                handler.emit(logging.makeLogRecord({"msg": "after the block"}))
            assert await read(broker) == []

    trio.run(main)
    ended.set()
    thread.join(10)
    assert not thread.is_alive()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("how", ["cancelled", "raised"])
async def test_the_last_words_are_kept(broker: LogBroker, logger: logging.Logger, how: str) -> None:
    with await broker.open("job") as log, trio.CancelScope() as scope:
        try:
            async with log_records(log, logger):
                logger.info("working")
                await trio.testing.wait_all_tasks_blocked()
                if how == "raised":
                    fail("now")
                scope.cancel()
                logger.info("asked to end")
                try:
                    await trio.sleep_forever()
                finally:
                    logger.info("ending")
        except* ValueError:
            assert how == "raised"
    expected = {"cancelled": ["working", "asked to end", "ending"], "raised": ["working"]}
    assert await read(broker) == expected[how]


async def test_a_log_that_takes_nothing_does_not_hold_up_an_error(
    logger: logging.Logger, autojump_clock: trio.testing.MockClock
) -> None:
    send, receive = trio.open_memory_channel(0)
    with receive, LogWriter(send) as log, pytest.RaisesGroup(ValueError):
        started = trio.current_time()
        async with log_records(log, logger):
            logger.info("never taken")
            fail("now")
    assert trio.current_time() - started == 1


async def test_a_log_that_was_closed(broker: LogBroker, logger: logging.Logger) -> None:
    log = await broker.open("job")
    async with log_records(log, logger):
        log.close()
        logger.info("too late")
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(logger.info, "too late here, too")
    assert await read(broker) == []
