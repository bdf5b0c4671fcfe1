"""The broker: from one writer of a log to any number of readers, none of whom can hurt another."""

from .broker import BrokerLimits, BrokerStatistics, LogBroker, open_broker
from .handler import LogHandler, log_records
from .subscription import Subscription
from .writer import LogWriter

__all__ = [
    "BrokerLimits",
    "BrokerStatistics",
    "LogBroker",
    "LogHandler",
    "LogWriter",
    "Subscription",
    "log_records",
    "open_broker",
]
