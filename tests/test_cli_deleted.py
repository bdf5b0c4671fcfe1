"""Commands whose workload is deleted while they read its log."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.answering import answer, answering
from tests.command_line import trio_logs

RECORD = (
    b'{"id":"01x","name":null,"backend":"process","command":["make"],"labels":{},"status":"running",'
    b'"reason":null,"exit_code":null,"signal":null,"error":null,'
    b'"created_at":"2026-01-31T12:00:00Z","started_at":null,"finished_at":null,"lines":0,"bytes":0,'
    b'"logs_url":"/"}'
)

LOG = (
    b": open\nretry: 100\n\nid: 1\n"
    b'data: {"seq":1,"time":"2026-01-31T12:00:00Z","stream":"stdout","text":"a","partial":true}\n\n'
    b'event: gap\ndata: {"from":2,"to":9,"reason":"deleted"}\n\n'
)


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [(["logs", "01x"], 1), (["run", "make"], 1), (["stop", "01x"], 2)],
    ids=["logs", "run", "stop"],
)
async def test_a_deletion_is_told(tmp_path: Path, arguments: list[str], asked: int) -> None:
    record = answer("application/json", RECORD)
    refused = answer("application/problem+json", b'{"detail":"no workload"}', "404 Not Found")
    answers = [*[record] * asked, answer("text/event-stream", LOG), refused]
    command, *rest = arguments
    async with answering(lambda number: answers[number]) as server:
        found = await trio.to_thread.run_sync(
            trio_logs, tmp_path, command, "--server", server.url, "--token", "t", *rest
        )
    assert found.returncode == 66
    told = "trio-logs: 01x was deleted before its log was read to the end\n"
    if command == "stop":
        assert (found.stdout, found.stderr) == ("", told)
    else:
        gap = "trio-logs: lines 2 to 9 are missing: the workload was deleted\n"
        assert (found.stdout, found.stderr) == ("a\n", gap + told)
