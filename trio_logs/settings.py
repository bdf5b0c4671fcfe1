"""The configuration: one frozen object, validated at the edge and passed whole."""

from __future__ import annotations

import math
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
from .records import parse_duration
from .store import Retention

__all__ = ["Settings", "parse_node", "parse_public_url", "parse_store"]

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

    `store` is the URL of a PostgreSQL database that several nodes share, instead of SQLite in the
    data folder. `node` names this service in the records of its workloads, by default as the host.
    `drain` is how long workloads may go on after a signal to stop.
    """

    data: Path
    token: str | None = None
    read_only_token: str | None = None
    allowed_hosts: frozenset[str] = frozenset()
    public_url: str | None = None
    store: str | None = field(default=None, repr=False)
    node: str | None = None
    drain: float = 0.0
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
        TRIO_LOGS_PUBLIC_URL, TRIO_LOGS_STORE, TRIO_LOGS_NODE, TRIO_LOGS_DRAIN, and
        TRIO_LOGS_ALLOWED_HOST, whose names are separated by commas. The last one was
        TRIO_LOGS_ALLOWED_HOSTS before version 0.2. Raises InvalidRequestError for a value that
        can't be used.
        """
        hosts = environ.get("TRIO_LOGS_ALLOWED_HOST") or environ.get("TRIO_LOGS_ALLOWED_HOSTS", "")
        public_url = environ.get("TRIO_LOGS_PUBLIC_URL")
        store, node = environ.get("TRIO_LOGS_STORE"), environ.get("TRIO_LOGS_NODE")
        return cls(
            data=default_data_folder(),
            token=environ.get("TRIO_LOGS_TOKEN") or None,
            read_only_token=environ.get("TRIO_LOGS_READ_ONLY_TOKEN") or None,
            allowed_hosts=frozenset(host.strip() for host in hosts.split(",") if host.strip()),
            public_url=parse_public_url(public_url) if public_url else None,
            store=parse_store(store) if store else None,
            node=parse_node(node) if node else None,
            drain=_seconds("TRIO_LOGS_DRAIN", environ.get("TRIO_LOGS_DRAIN") or "0"),
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


def parse_store(text: str) -> str:
    """The URL of a database that nodes share. Raises InvalidRequestError, whose message does not
    repeat the URL: it may hold a password."""
    if not text.startswith(("postgresql://", "postgres://")):
        raise InvalidRequestError(
            "the store: give the URL of a PostgreSQL database, such as"
            " postgresql://trio_logs@db.example.com/trio_logs"
        )
    return text


def parse_node(text: str) -> str:
    """The name of a node. Raises InvalidRequestError."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise InvalidRequestError(
            f"the node's name {text[:80]!r}: give 1 to 64 letters, digits, `.`, `_` and `-`"
        )
    return text


def _seconds(name: str, text: str) -> float:
    if (seconds := parse_duration(text)) is not None:
        return seconds
    with suppress(ValueError):
        if 0 <= (seconds := float(text)) < math.inf:
            return seconds
    raise InvalidRequestError(
        f"{name}: {text[:80]!r}: give a duration such as 90s; a number alone is in seconds"
    )
