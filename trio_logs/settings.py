"""The configuration: one frozen object, validated at the edge and passed whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from .backends.push import PushLimits
from .broker import BrokerLimits
from .data_folder import default_data_folder
from .engine import EngineLimits
from .errors import InvalidRequestError
from .store import Retention

__all__ = ["Settings", "parse_public_url"]

GIB = 1024**3
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are in seconds, sizes in bytes.

    Without a `token` or a `read_only_token`, `load_tokens` finds one. `allowed_hosts` are the names
    that a request's Host may have; empty allows any name. `public_url` is where browsers find the
    service, in the form of `parse_public_url`; its host is an allowed name. `store_patience` is how
    long a failing store holds up a caller, before it gets StoreError, and a workload, before its
    lines are delivered from memory.
    """

    data: Path
    token: str | None = None
    read_only_token: str | None = None
    allowed_hosts: frozenset[str] = frozenset()
    public_url: str | None = None
    synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    heartbeat: float = 15.0
    max_streams: int = 10_000
    max_body: int = 1024 * 1024
    store_patience: float = 30.0
    broker: BrokerLimits = field(default_factory=BrokerLimits)
    engine: EngineLimits = field(default_factory=EngineLimits)
    push: PushLimits = field(default_factory=PushLimits)
    retention: Retention = field(default_factory=lambda: Retention(10 * GIB, 30 * DAY))

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """The settings of `trio_logs.asgi`, which has no command line.

        They come from TRIO_LOGS_DATA, TRIO_LOGS_TOKEN, TRIO_LOGS_READ_ONLY_TOKEN,
        TRIO_LOGS_PUBLIC_URL, and TRIO_LOGS_ALLOWED_HOST, whose names are separated by commas. The
        last one was TRIO_LOGS_ALLOWED_HOSTS before version 0.2. Raises InvalidRequestError for a
        public URL that is none.
        """
        hosts = environ.get("TRIO_LOGS_ALLOWED_HOST") or environ.get("TRIO_LOGS_ALLOWED_HOSTS", "")
        public_url = environ.get("TRIO_LOGS_PUBLIC_URL")
        return cls(
            data=default_data_folder(),
            token=environ.get("TRIO_LOGS_TOKEN") or None,
            read_only_token=environ.get("TRIO_LOGS_READ_ONLY_TOKEN") or None,
            allowed_hosts=frozenset(host.strip() for host in hosts.split(",") if host.strip()),
            public_url=parse_public_url(public_url) if public_url else None,
        )


def parse_public_url(text: str) -> str:
    """An origin, such as `https://logs.example.com`, without the slash after it.

    Raises InvalidRequestError if the text is not one, or has more than an origin has.
    """
    with suppress(ValueError):
        parts = urlsplit(text)
        # urlsplit checks the port when it is read; what it drops, such as a tab, is refused here.
        if (
            re.fullmatch(r"https?://[A-Za-z0-9._\-:\[\]]+/?", text, re.IGNORECASE)
            and parts.hostname
            and parts.port != 0
        ):
            return f"{parts.scheme}://{parts.netloc.lower()}"
    raise InvalidRequestError(
        f"the public URL {text!r}: give an origin without a path, such as https://logs.example.com"
    )
