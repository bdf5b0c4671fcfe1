"""The broker: from one writer of a log to any number of readers, none of which can hurt another."""

from .audience import Bell, Outlet
from .broker import LogBroker
from .embedding import open_broker
from .handler import LogHandler, log_records
from .pending import Found
from .reading import Reading
from .statistics import BrokerStatistics
from .subscription import Subscription
from .window import BrokerLimits
from .writer import LogWriter

__all__ = [
    "Bell",
    "BrokerLimits",
    "BrokerStatistics",
    "Found",
    "LogBroker",
    "LogHandler",
    "LogWriter",
    "Outlet",
    "Reading",
    "Subscription",
    "log_records",
    "open_broker",
]
