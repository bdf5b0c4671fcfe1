"""Run a workload, watch its log live, and never lose a line."""

from .backends.function import function
from .broker import LogBroker, LogWriter, Subscription, open_broker
from .records import Batch, Detached, End, Gap, Outcome, Status, Workload, WorkloadSpec
from .service import Service, open_service
from .settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Detached",
    "End",
    "Gap",
    "LogBroker",
    "LogWriter",
    "Outcome",
    "Service",
    "Settings",
    "Status",
    "Subscription",
    "Workload",
    "WorkloadSpec",
    "__version__",
    "function",
    "open_broker",
    "open_service",
]
