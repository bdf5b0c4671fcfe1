"""The engine: runs workloads, each as a child task, and closes their logs when they have ended."""

from .change_reader import ChangeReader, ChangeRecord
from .changes import Changes
from .clock import newest_time
from .engine import Engine
from .limits import EngineLimits, EngineStatistics
from .nodes import Nodes, NodeStatistics, new_node
from .pruning import keep_pruned

__all__ = [
    "ChangeReader",
    "ChangeRecord",
    "Changes",
    "Engine",
    "EngineLimits",
    "EngineStatistics",
    "NodeStatistics",
    "Nodes",
    "keep_pruned",
    "new_node",
    "newest_time",
]
