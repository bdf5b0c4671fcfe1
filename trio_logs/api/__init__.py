"""The HTTP side: a Quart-Trio app over a service."""

from .app import create_app
from .table import body_limit

__all__ = ["body_limit", "create_app"]
