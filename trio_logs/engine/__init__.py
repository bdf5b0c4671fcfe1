"""The engine: runs workloads, each as a child task, and closes their logs when they have ended."""

from .engine import Engine
from .limits import EngineLimits, EngineStatistics

__all__ = ["Engine", "EngineLimits", "EngineStatistics"]
