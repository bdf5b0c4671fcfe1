"""The exact bytes of a log."""

from __future__ import annotations

from abc import ABC
from typing import Unpack

import httpx2

from . import requests
from .answers import check, media_type, unexpected
from .backoff import Backoff, is_temporary
from .connection import Connection
from .errors import ClientError, RefusedError, UnreachableError
from .requests import FollowOptions

__all__ = ["RawLogs"]


class RawLogs(ABC):
    """The part of `Client` that reads logs as bytes."""

    _connection: Connection

    async def raw(self, workload_id: str, **options: Unpack[FollowOptions]) -> bytes:
        """The bytes of the lines that are known now, as the workload wrote them, line ends
        included. See `FollowOptions`; it does not follow.

        All of them are held in memory: of a large log, ask for some lines at a time. Lines that are
        missing are left out; `follow` tells of them. A broken or busy server is asked again within
        `patience`.
        """
        given = {**options, "follow": False}
        backoff = Backoff(options.get("patience"), self._connection.address)
        query = requests.encoded(
            {name: value for name, value in given.items() if name not in ("patience", "head")}
        )
        while True:
            try:
                return await self._ask_raw(requests.path(workload_id, "logs"), query)
            except UnreachableError as error:
                reason = str(error.__cause__ or error)
            except RefusedError as error:
                if not is_temporary(error.status):
                    raise
                reason = f"the server answers {error.status}"
            delay = backoff.delay(reason, *requests.REQUEST_DELAYS)
            await self._connection.pause(delay, reason)

    async def _ask_raw(self, url: str, query: dict[str, str]) -> bytes:
        headers = {"Accept": "text/plain", "Cache-Control": "no-store"}
        answer = await self._connection.ask("GET", url, params=query, headers=headers)
        check(answer, self._connection.address)
        if answer.status_code != httpx2.codes.OK or media_type(answer) != "text/plain":
            what = unexpected(answer, self._connection.address)
            raise ClientError(
                f"{what}, not text/plain; check the address, and what is in front of the service"
            )
        self._connection.heard()
        return answer.content
