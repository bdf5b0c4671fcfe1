"""The shared store of a URL."""

from __future__ import annotations

from ..errors import InvalidRequestError
from .shared import SharedStore

__all__ = ["open_shared"]


def open_shared(url: str) -> SharedStore:
    """A store in PostgreSQL, whose driver is imported only here. Raises InvalidRequestError without
    the driver, and StoreError for a URL that libpq can't read."""
    try:
        from .postgres import PostgresStore
    except ImportError as error:
        raise InvalidRequestError(
            "the store in PostgreSQL needs psycopg: in the folder of the repository, run"
            " pip install -c constraints.txt '.[postgres]'"
        ) from error
    return PostgresStore(url)
