"""Frozen values about the query log."""

from __future__ import annotations

import msgspec


class QueryLogStats(msgspec.Struct, frozen=True):
    """How the query log of a collection does. The counts are this process's, `size_bytes` is what all processes have written.

    `logged` lines are in the log. `dropped` ones were let go because more searches came than the log's thread could take, `lost`
    ones because the disk refused them, as `fault` says; it is None while all is well. Searches went on meanwhile.
    """

    share: float
    text: str
    size_bytes: int
    logged: int
    dropped: int
    lost: int
    fault: str | None
