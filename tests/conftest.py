"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from outcrop import Database

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script; programs that tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

_IN_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 << 30  # a whole run holds less than a tenth of it at a time, and a machine should have as much left
_OF_ENGINES = tuple(Path(__file__).parent / name for name in ("engines", "fallback"))
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    """Have tests write in memory where there is room, unless TMPDIR says where: they sync a million small files, which takes a
    disk longer than all the rest. A process that is killed leaves the same there; what a disk may lose is for tests/crash."""
    if "TMPDIR" in os.environ or hasattr(config, "workerinput") or not _has_room():
        return
    folder = os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="outcrop-tests-", dir=_IN_MEMORY)
    Path(folder).chmod(0o1777)  # as /tmp is: some tests become another user
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is measured is how much of the engines their own tests run: to be measured makes a test a quarter slower."""
    if config.pluginmanager.hasplugin("_cov"):
        for item in items:
            if not any(item.path.is_relative_to(folder) for folder in _OF_ENGINES):
                item.add_marker(pytest.mark.no_cover)


def _has_room() -> bool:
    try:
        free = [shutil.disk_usage(_IN_MEMORY).free, _available_bytes()]
    except OSError:
        return False
    return os.access(_IN_MEMORY, os.W_OK) and min(free) > _ROOM_BYTES


def _available_bytes() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)


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
