"""The configuration: one frozen object, validated at the edge and passed whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .backends.push import PushLimits
from .broker import BrokerLimits
from .data_folder import default_data_folder, ensure_token
from .engine import EngineLimits
from .errors import InvalidRequestError
from .store import Retention

__all__ = ["Settings", "load_token"]

GIB = 1024**3
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are in seconds, sizes in bytes.

    Without a `token`, `load_token` finds one. `allowed_hosts` are the names that a request's Host
    may have; empty allows any name. `store_patience` is how long a failing store holds up a caller,
    before it gets StoreError, and a workload, before its lines are delivered from memory.
    """

    data: Path
    token: str | None = None
    allowed_hosts: frozenset[str] = frozenset()
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

        They come from TRIO_LOGS_DATA, TRIO_LOGS_TOKEN and TRIO_LOGS_ALLOWED_HOSTS, whose names are
        separated by commas.
        """
        hosts = environ.get("TRIO_LOGS_ALLOWED_HOSTS", "")
        return cls(
            data=default_data_folder(),
            token=environ.get("TRIO_LOGS_TOKEN") or None,
            allowed_hosts=frozenset(host.strip() for host in hosts.split(",") if host.strip()),
        )


def load_token(settings: Settings) -> str:
    """The bearer token: that of the settings, of `$TRIO_LOGS_TOKEN`, or of the data folder.

    The token of the data folder is created on first use. Raises DataFolderError if its file can't
    be used, and InvalidRequestError for a token that no header can hold.
    """
    token = settings.token or os.environ.get("TRIO_LOGS_TOKEN")
    if token is None or token == "":
        token = ensure_token(settings.data)
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise InvalidRequestError("the token must be printable ASCII without spaces")
    return token
