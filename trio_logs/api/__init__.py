"""The HTTP side: a Quart-Trio app over a service."""

from .app import create_app

__all__ = ["create_app"]
