"""A stream from its start to its end, over any number of connections."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

import httpx2

from . import requests
from .answers import check, media_type, unexpected
from .backoff import is_temporary
from .connection import Connection
from .resumable import Resumable

__all__ = ["follow"]

T = TypeVar("T")


async def follow(
    connection: Connection, url: str, resume: Resumable[T]
) -> AsyncGenerator[Sequence[T], None]:
    """The records of a stream from its start to its end, over any number of connections."""
    while not resume.done:
        complete = False
        # When the server was last known to be there; None means until this attempt failed.
        since: float | None = time.monotonic()
        request = connection.http.build_request(
            "GET",
            url,
            params=resume.query(),
            headers=resume.begin(),
            timeout=requests.FOLLOW_TIMEOUT,
        )
        try:
            async with connection.open(request) as answer:
                if answer.status_code == httpx2.codes.OK and media_type(answer) == resume.accept:
                    if records := resume.opened(answer.headers):
                        yield records
                    async with aclosing(answer.aiter_bytes()) as chunks:
                        async for data in chunks:
                            records = resume.feed(data)
                            if resume.heard:
                                connection.heard()
                                since = None
                            if records:
                                yield records
                            if resume.useless:
                                break
                        else:
                            complete = True
                elif answer.is_success:
                    # The login or maintenance page of a proxy may go away.
                    resume.reason = (
                        f"{unexpected(answer, connection.address)}, not {resume.accept}; check the"
                        " address, and what is in front of the service"
                    )
                elif is_temporary(answer.status_code):
                    resume.reason = f"the server answers {answer.status_code}"
                else:
                    await answer.aread()
                    check(answer, connection.address)
        except httpx2.RequestError as error:
            resume.reason = requests.in_words(error)
        # Records that arrived before a failure count, or a bad network would stop all progress.
        if records := resume.flush():
            yield records
        if resume.heard:
            connection.heard()
            since = None
        if complete:
            resume.finished()
        if not resume.done:
            if records := resume.clear():
                yield records
            seconds = resume.delay()
            if seconds is not None:
                await connection.pause(seconds, resume.reason, since)
