"""How Schemathesis sends NDJSON. It is run in its own virtual environment, which has nothing of ours."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """The text that the schema has made."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")
