"""`trio-logs demo`: a service with workloads to look at, in the terminal and in the page."""

from .performance import run_demo

__all__ = ["run_demo"]
