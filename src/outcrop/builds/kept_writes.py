"""What was written to a generation directly, and not read from a source: what a build may keep although its source lacks it."""

from __future__ import annotations

from collections.abc import Sequence

from outcrop.documents import Documents
from outcrop.generations.manifest import Manifest


class KeptWrites:
    """The documents of a generation that were put in after the write `since` and are there, and those deleted after it.

    Of a build that keeps them, rows of documents put in so are born when it begins, the others at `since`: that is how the next
    build tells them apart. To be asked when the build has begun: then later writes are held for it.
    """

    def __init__(self, documents: Documents, sealed: Manifest) -> None:
        self.since = sealed.sequence if sealed.written_since is None else sealed.written_since
        self._documents = documents

    def put_and_gone(self) -> tuple[list[str], list[str]]:
        """The ids of both."""
        return self._documents.written_since(self.since)

    def gone(self) -> list[str]:
        """The ids of documents that were deleted and are not there."""
        return self._documents.gone_since(self.since)

    def put_among(self, ids: Sequence[str]) -> frozenset[str]:
        """Those of these documents that were put in."""
        return self._documents.born_since(self.since, ids)
