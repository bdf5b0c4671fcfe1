"""A server whose standard error is not read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx2

from tests.command_line import launch
from tests.full_pipe import PATIENCE, wait_for
from tests.server_process import ServerProcess
from trio_logs.data_folder import read_address

__all__ = ["have_it_log", "served"]


@contextmanager
def served(
    data: Path, stderr: int | IO[Any], prefix: tuple[str, ...] = (), **options: Any
) -> Iterator[ServerProcess]:
    """The server; its address is in the data folder."""
    arguments = ["serve", "--bind", "127.0.0.1:0", "--data", str(data)]
    with launch(arguments, prefix, stderr=stderr, **options) as process:
        try:
            wait_for(lambda: read_address(data) is not None)
            token = (data / "token").read_text().strip()
            yield ServerProcess(process, read_address(data) or "", token, data=data)
        finally:
            process.kill()


def have_it_log(server: ServerProcess, records: int = 4) -> None:
    """A record of 3 KB each."""
    with server.client() as client:
        client.timeout = httpx2.Timeout(PATIENCE)
        for _ in range(records):
            answer = client.post("/v1/workloads", json={"command": ["x" * 3000]})
            log = client.get(answer.json()["logs_url"])
            assert b"there is no program" in log.content
        assert client.get("/healthz").status_code == 200
