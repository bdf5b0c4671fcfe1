"""The server: Hypercorn's HTTP/1.1 on Trio, hardened.

Hypercorn's classes do the protocol. What is ours: every write and every wait for a client has a
bound and can be cancelled, a client that leaves is noticed whatever it sent before, and a failure
is confined to its connection. The classes are importable but not documented; hence the pin to 0.18,
and `tests/test_hypercorn.py`, which shows each fault of the stock server and that it is not ours.
"""

from .binds import Bind, DescriptorBind, TCPBind, UnixBind, load_tls
from .connection import PORT, ASGIApp, finish_cleanly
from .limits import ServerLimits
from .server import Server, ServerStatistics

__all__ = [
    "PORT",
    "ASGIApp",
    "Bind",
    "DescriptorBind",
    "Server",
    "ServerLimits",
    "ServerStatistics",
    "TCPBind",
    "UnixBind",
    "finish_cleanly",
    "load_tls",
]
