"""Which workloads a list asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..records import Status, Workload

__all__ = ["PAGE_BYTES", "WorkloadPage", "WorkloadQuery", "lower"]

PAGE_BYTES = 4 * 1024 * 1024
"""The weight at which a page of workloads ends: each may have a specification of a mebibyte."""


class WorkloadPage(list[Workload]):
    """Workloads, newest first. `is_cut`: the page ended by its bytes, so there are others."""

    is_cut = False

    @classmethod
    def of(cls, workloads: Iterable[Workload], max_bytes: int) -> WorkloadPage:
        """The first workloads, until their weight is `max_bytes`. It takes one more at most."""
        page = cls()
        for workload in workloads:
            if max_bytes <= 0:
                page.is_cut = True
                break
            page.append(workload)
            max_bytes -= workload.weight
        return page


@dataclass(frozen=True, slots=True)
class WorkloadQuery:
    """A page of workloads, newest first: at most `limit` of those with an id below `before`. The
    page ends with the workload at which its weight is `max_bytes`.

    The other fields select workloads; None, and no status, select all. `statuses`: any of them;
    `labels`: all of them; `name`: exactly that; `id`: the start or the end of an id; `search`: a
    part of the name, of the id, or of the command with its words joined by spaces, where only the
    case of ASCII letters is ignored. `since` and `until` bound the time of creation, both included,
    in microseconds since the Unix epoch.
    """

    limit: int = 50
    before: str | None = None
    statuses: frozenset[Status] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    id: str | None = None
    search: str | None = None
    since: int | None = None
    until: int | None = None
    max_bytes: int = PAGE_BYTES

    def selects(self, workload: Workload) -> bool:
        """Whether the workload matches, whatever its status and its page."""
        spec = workload.spec
        return (
            self.labels.items() <= spec.labels.items()
            and (self.name is None or spec.name == self.name)
            and (
                self.id is None or workload.id.startswith(self.id) or workload.id.endswith(self.id)
            )
            and (self.search is None or self._is_found(workload))
            and (self.since is None or workload.created_at >= self.since)
            and (self.until is None or workload.created_at <= self.until)
        )

    def _is_found(self, workload: Workload) -> bool:
        part = lower(self.search or "")
        texts = (workload.spec.name or "", workload.id, " ".join(workload.spec.command))
        return any(part in lower(text) for text in texts)


def lower(text: str) -> bytes:
    """The text as UTF-8, with ASCII letters in lower case and all others as they are."""
    return text.encode(errors="surrogatepass").lower()
