"""A pytest plugin: the suite runs against whatever release is installed, so that it measures what the lower bounds claim."""

from __future__ import annotations

from outcrop.engines.lancedb import probing


def pytest_configure() -> None:
    probing.LANCEDB_MIN = probing.PYARROW_MIN = (0,)
