"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the judged collections; skips where a checkout has none beside it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the judged collections are not beside this checkout (../shared/data)")
    return SHARED_DATA
