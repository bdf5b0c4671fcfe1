"""Run a workload, watch its log live, and never lose a line."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backends.function import function
    from .broker import (
        Bell,
        Gone,
        LogBroker,
        LogPlace,
        LogWriter,
        Merging,
        Reading,
        Subscription,
        log_records,
        open_broker,
    )
    from .records import (
        Batch,
        Detached,
        End,
        Gap,
        Outcome,
        Reason,
        Reset,
        Status,
        Unfinished,
        Workload,
        WorkloadSpec,
    )
    from .selection import Selection
    from .service import Service, open_service
    from .settings import Settings

__version__ = "0.2.0"

__all__ = [
    "Batch",
    "Bell",
    "Detached",
    "End",
    "Gap",
    "Gone",
    "LogBroker",
    "LogPlace",
    "LogWriter",
    "Merging",
    "Outcome",
    "Reading",
    "Reason",
    "Reset",
    "Selection",
    "Service",
    "Settings",
    "Status",
    "Subscription",
    "Unfinished",
    "Workload",
    "WorkloadSpec",
    "__version__",
    "function",
    "log_records",
    "open_broker",
    "open_service",
]

_HOMES = {
    "backends.function": {"function"},
    "broker": {
        "Bell",
        "Gone",
        "LogBroker",
        "LogPlace",
        "LogWriter",
        "Merging",
        "Reading",
        "Subscription",
        "log_records",
        "open_broker",
    },
    "records": {
        "Batch",
        "Detached",
        "End",
        "Gap",
        "Outcome",
        "Reason",
        "Reset",
        "Status",
        "Unfinished",
        "Workload",
        "WorkloadSpec",
    },
    "selection": {"Selection"},
    "service": {"Service", "open_service"},
    "settings": {"Settings"},
}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562): the client and most commands need none of the service."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
