"""The broker: from one writer of a log to any number of readers, none of which can hurt another."""

from .bell import Bell
from .broker import LogBroker
from .embedding import open_broker
from .finding import Finding, FoundLine
from .group import Outlet
from .handler import LogHandler, log_records
from .matches import Matches, Tile
from .merge_turns import MergeStatistics
from .merging import Merging
from .pending import Found
from .places import Gone, Item, LogPlace, PartRecord
from .reading import Reading
from .searches import Place, Searches, SearchStatistics
from .statistics import BrokerStatistics
from .subscription import Subscription
from .window import BrokerLimits
from .writer import LogWriter

__all__ = [
    "Bell",
    "BrokerLimits",
    "BrokerStatistics",
    "Finding",
    "Found",
    "FoundLine",
    "Gone",
    "Item",
    "LogBroker",
    "LogHandler",
    "LogPlace",
    "LogWriter",
    "Matches",
    "MergeStatistics",
    "Merging",
    "Outlet",
    "PartRecord",
    "Place",
    "Reading",
    "SearchStatistics",
    "Searches",
    "Subscription",
    "Tile",
    "log_records",
    "open_broker",
]
