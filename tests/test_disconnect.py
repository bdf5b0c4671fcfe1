"""A client that leaves takes its subscription with it, at once and whatever it sent before."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import trio

from tests.disconnect import WAYS, measure, percentile
from tests.live import PATIENCE, open_live
from tests.serving import read_answer
from trio_logs.records import WorkloadSpec
from trio_logs.settings import Settings

AT_ONCE = 1.0
"""In seconds; far from any time-out of the server."""


async def test_each_of_a_thousand_streams_is_released(tmp_path: Path) -> None:
    with trio.fail_after(60):
        found = await measure(tmp_path, streams=1000, closes=25)
    for way in WAYS:
        times = found[way]
        print(f"{way}: p50 {percentile(times, 0.5):.2f} ms, max {times[-1]:.2f} ms")
        assert len(times) == 25


@pytest.mark.parametrize("sent", ["{stream}", "{ready}{stream}", "{ready}{ready}{stream}x"])
@pytest.mark.parametrize("answered", [True, False])
async def test_half_closed_behind_pipelined_requests(
    sent: str, answered: bool, tmp_path: Path
) -> None:
    """The stream may begin after the end of what the client sends was read."""
    with trio.fail_after(PATIENCE):
        async with open_live(Settings(tmp_path)) as live:
            spec = WorkloadSpec(("sleep", "100"))
            workload, _ = await live.service.engine.submit(spec)
            port = int(live.url.rpartition(":")[2])
            async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                head = f"HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {live.service.token}\r\n\r\n"
                stream = f"GET /v1/workloads/{workload.id}/logs {head}"
                await client.send_all(
                    sent.format(stream=stream, ready=f"GET /readyz {head}").encode()
                )
                if answered:
                    await read_answer(client, b"retry: ")
                await client.send_eof()
                # By a reset, if an answer was under way.
                with trio.fail_after(AT_ONCE), suppress(trio.BrokenResourceError):
                    await read_answer(client)
            assert live.service.broker.statistics().subscriptions == 0
