"""One server: its address, the HTTP client for it, and its outages."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2

from ..addresses import base_url, is_loopback, without_user
from . import requests
from .backoff import Outage
from .errors import ClientError, UnreachableError
from .exchange import exchange

__all__ = ["Connection"]


class Connection:
    """The parameters are those of `Client`. `http` is open while the client is."""

    def __init__(
        self,
        url: str,
        token: str | None,
        uds: str | None,
        on_outage: Callable[[str], Awaitable[None]] | None,
    ) -> None:
        try:
            url = base_url(url)
        except ValueError as error:
            raise ClientError(f"{without_user(url)!r} is no URL of a server: {error}") from None
        # Without TLS there is nothing to verify, and loading the authorities takes 50 ms.
        verify = url.lower().startswith("https:")
        # A proxy of the environment would see the token, and would find another machine at a
        # loopback address. An explicit transport uses no proxy.
        is_here = uds is not None or is_loopback(urlsplit(url).hostname or "")
        self.address = url if uds is None else f"unix:{uds}"
        try:
            self.http = httpx2.AsyncClient(
                base_url=url,
                headers=requests.headers(token),
                timeout=requests.TIMEOUT,
                verify=verify,
                transport=httpx2.AsyncHTTPTransport(uds=uds, verify=verify) if is_here else None,
            )
        except OSError as error:
            # OpenSSL does not name the file.
            if not (path := os.environ.get("SSL_CERT_FILE")):
                raise
            raise ClientError(
                f"SSL_CERT_FILE names {path}, which can't be used: {error.strerror or error}"
            ) from error
        self._on_outage = on_outage
        self._outage = Outage()

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        """The answer to a request, with its body. Raises httpx2.RequestError."""
        return await exchange(self.http, request)

    @asynccontextmanager
    async def open(self, request: httpx2.Request) -> AsyncIterator[httpx2.Response]:
        """The answer to a request, its body not yet read. Raises httpx2.RequestError."""
        answer = await exchange(self.http, request, stream=True)
        try:
            yield answer
        finally:
            await answer.aclose()

    async def ask(self, method: str, url: str, **arguments: Any) -> httpx2.Response:
        """The answer to a request that is sent once. Raises UnreachableError if none comes, and
        ClientError if its content encoding is broken."""
        try:
            return await self.send(self.http.build_request(method, url, **arguments))
        except httpx2.TransportError as error:
            reason = requests.in_words(error)
            raise UnreachableError(f"{self.address} does not answer: {reason}") from error
        except httpx2.RequestError as error:
            reason = requests.in_words(error)
            raise ClientError(f"{self.address} sends an unreadable answer: {reason}") from error

    def heard(self) -> None:
        """The server has answered: an outage is over."""
        self._outage.over()

    async def pause(self, seconds: float, reason: str, since: float | None = None) -> None:
        """Wait between two attempts, after the first failed. `since` is when the server was last
        known to be there, in monotonic seconds; by default, now."""
        if self._outage.is_to_be_told(since) and self._on_outage is not None:
            await self._on_outage(f"{self.address} is away: {reason}")
        await anyio.sleep(seconds)
