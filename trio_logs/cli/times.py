"""Times as people write and read them: in the zone of this machine."""

from __future__ import annotations

from datetime import datetime

__all__ = ["local_time"]


def local_time(moment: datetime) -> str:
    """A time in whole seconds with the offset of its zone, in a form that `--since` understands:
    RFC 3339, with a space as section 5.6 allows."""
    return moment.astimezone().isoformat(" ", "seconds")
