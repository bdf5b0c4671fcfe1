"""What a server says of itself."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence

from . import requests
from .answers import decode
from .connection import Connection
from .records import Node, Version

__all__ = ["AboutServer"]


class AboutServer(ABC):
    """The part of `Client` that asks about the server."""

    _connection: Connection

    async def nodes(self) -> Sequence[Node]:
        """The nodes that share the server's store; the server alone if it has its own."""
        answer = await self._connection.ask("GET", "/v1/nodes")
        return decode(answer, self._connection.address, requests.NodeList).nodes

    async def version(self) -> Version:
        """The version of the server."""
        answer = await self._connection.ask("GET", "/v1/version")
        return decode(answer, self._connection.address, Version)
