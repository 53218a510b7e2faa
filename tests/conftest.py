"""Fixtures that every test may use."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from outcrop import Database

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script; programs that tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the judged collections; skips where a checkout has none beside it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the judged collections are not beside this checkout (../shared/data)")
    return SHARED_DATA


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A new database, where nothing happens in the background."""
    import outcrop  # here: what is imported with this file is imported before coverage is measured
    from outcrop import Config

    with outcrop.open(tmp_path / "kb", config=Config.test()) as opened:
        yield opened


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    """The spans that are made, in memory."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from outcrop import spans

    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans.use(provider)
    yield exporter
    spans.use(None)
    provider.shutdown()
