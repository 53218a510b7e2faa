"""The engine that the documentation writes passes the whole suite, and declares nothing."""

from __future__ import annotations

import atexit
import importlib
import sys
import tempfile
from pathlib import Path

from outcrop.testing.conformance import EngineSuite
from tests.test_docs import ROOT, split

# Other processes import it too, so it must be a file.
_FOLDER = tempfile.TemporaryDirectory()
atexit.register(_FOLDER.cleanup)
_PAGE = (ROOT / "docs" / "engines" / "writing-an-engine.md").read_text(encoding="utf-8").partition("## Trying it")[0]
_CODE = [block.text for block in split(_PAGE)[0] if block.language == "python"]
(Path(_FOLDER.name) / "exact_engine.py").write_text("\n".join(_CODE), encoding="utf-8")
sys.path.append(_FOLDER.name)


class TestExact(EngineSuite):
    engine = importlib.import_module("exact_engine").ExactEngine()
