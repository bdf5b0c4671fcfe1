"""The server: Hypercorn's HTTP/1.1 on Trio, hardened.

Hypercorn's classes speak the protocol. This package adds that every write and every wait for a
client has a bound and can be cancelled, that each disconnect is noticed, whatever the client sent
before, and that a failure is confined to its connection. It knows no URL. Hypercorn's classes are
importable but not documented: hence the pin to 0.18, and `tests/test_hypercorn.py`, which shows
each fault of the stock server, and that this server does not have it.
"""

from .asgi import ASGIApp, finish_cleanly
from .binds import Bind, DescriptorBind, TCPBind, UnixBind, load_tls
from .limits import ServerLimits
from .ports import PORT, Port, Ports
from .problems import PROTECTION
from .protocol import BodyLimit
from .refusals import refusals_beside
from .server import Server
from .statistics import ServerStatistics

__all__ = [
    "PORT",
    "PROTECTION",
    "ASGIApp",
    "Bind",
    "BodyLimit",
    "DescriptorBind",
    "Port",
    "Ports",
    "Server",
    "ServerLimits",
    "ServerStatistics",
    "TCPBind",
    "UnixBind",
    "finish_cleanly",
    "load_tls",
    "refusals_beside",
]
