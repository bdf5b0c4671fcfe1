"""`logging` records as lines of a log, from Trio's thread and from others."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from trio_logs import LogBroker, log_records, open_broker
from trio_logs.broker.handler import MAX_WAITING_BYTES
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
        "6 log records are missing: nothing was awaited meanwhile",
        "after",
    ]


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
