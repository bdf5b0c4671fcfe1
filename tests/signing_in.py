"""What the tests of sign-in share: requests with a key instead of the token, and without either."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from tests.live import PATIENCE, Live

__all__ = ["anonymous", "bearer", "code_of", "problem", "sign_in"]


def bearer(secret: str) -> dict[str, str]:
    """The header that sends a token or a key."""
    return {"Authorization": f"Bearer {secret}"}


@asynccontextmanager
async def anonymous(live: Live) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a token."""
    async with httpx2.AsyncClient(base_url=live.url, timeout=PATIENCE, verify=False) as client:
        yield client


async def code_of(live: Live, token: str | None = None, **body: str) -> dict[str, Any]:
    """What a request for a code answers."""
    headers = bearer(token or live.service.token)
    answer = await live.client.post("/v1/session/codes", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def sign_in(live: Live, token: str | None = None) -> str:
    """The key of a new session that a token makes."""
    answer = await live.client.post("/v1/session", headers=bearer(token or live.service.token))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


def problem(answer: httpx2.Response, status: int) -> str:
    """The detail of a problem with that status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.headers.get("www-authenticate") == "Bearer") == (status == 401)
    return str(answer.json()["detail"])
