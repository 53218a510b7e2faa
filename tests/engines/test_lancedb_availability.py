"""Whether LanceDB works here, found out without taking the process along: stand-ins take the library's place for the trial."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outcrop import Config, errors
from outcrop.engines import registry
from outcrop.engines.lancedb import probing

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of this test's own, on disk and in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    probing._availability.cache_clear()
    yield
    probing._availability.cache_clear()


@pytest.fixture
def standing_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules the trial finds before the real ones."""
    folder = tmp_path / "stand_ins"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def test_it_works_here_and_that_is_remembered_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lancedb")
    assert probing.availability().available
    hints = list((tmp_path / "cache").rglob("lancedb-works-*"))
    assert len(hints) == 1
    probing._availability.cache_clear()
    monkeypatch.setattr(probing, "probe", lambda: pytest.fail("it is known already"))
    assert probing.availability().available
    hints[0].unlink()
    probing._availability.cache_clear()
    monkeypatch.setattr(probing, "probe", lambda: None)
    assert probing.availability().available


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("lancedb", "raise ImportError('no module of the native kind')", "no module of the native kind"),
        ("pyarrow", "raise ImportError('pyarrow was built for another numpy')", "pyarrow was built for another numpy"),
        ("lancedb", "def connect(folder): raise RuntimeError('wrong Arrow: ABI 14')", "wrong Arrow: ABI 14"),
        ("lancedb", "import os; os.abort()", "crashed (signal 6)"),
        ("lancedb", "import sys; print('{}'); sys.exit(0)", "wrong answer"),
    ],
)
def test_a_library_that_does_not_work_says_why(standing_in: Path, module: str, source: str, said: str) -> None:
    pytest.importorskip("lancedb")
    (standing_in / f"{module}.py").write_text(source)
    found = probing.availability()
    assert not found.available
    assert found.reason is not None
    assert said in found.reason
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in found.reason
    assert "wanted lancedb >= 0.38, pyarrow >= 18" in found.reason
    assert found.remedy == "pip install --force-reinstall 'outcrop[lancedb]'"
    assert registry.availability("builtin", Config.test()).available


def test_a_trial_that_hangs_is_given_up(standing_in: Path) -> None:
    (standing_in / "lancedb.py").write_text("import time; time.sleep(600)")
    assert probing.probe(seconds_max=2.0) == "a trial did not end within 2 s"


def test_without_the_package_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_version", lambda _: None)
    monkeypatch.setattr(probing.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(probing, "probe", lambda: pytest.fail("there is nothing to try"))
    found = probing.availability()
    assert found.reason is not None
    assert found.reason.startswith("lancedb and pyarrow cannot be imported: not installed (found none of its packages on Python")
    with pytest.raises(errors.EngineUnavailable, match="not installed") as caught:
        registry.choose(Config.lancedb_test())
    assert caught.value.remedy == "pip install 'outcrop[lancedb]'"


@pytest.mark.parametrize(("name", "old"), [("pyarrow", "14.0.2"), ("lancedb", "0.29.1")])
def test_an_old_version_is_named_with_the_wanted_one(name: str, old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lancedb")
    installed = {"lancedb": "0.40.0", "pyarrow": "26.0.1"} | {name: old}
    monkeypatch.setattr(probing, "_version", installed.get)
    found = probing.availability()
    assert found.reason is not None
    assert f"or later is wanted, {old} was found" in found.reason
    assert found.remedy == "pip install 'outcrop[lancedb]'"


def test_modes_choose_the_engine_that_they_promise() -> None:
    pytest.importorskip("lancedb")
    assert registry.choose(Config.lancedb_test()).engine == "lancedb"
    production = registry.choose(Config.production())
    assert production.engine == "lancedb+builtin"
    assert str(production.running) == "LanceDB with built-in fallback"
    with pytest.raises(errors.EngineUnavailable, match='Remedy: open the database in mode "production"'):
        registry.engine("lancedb", Config.mvp_only())


def test_nothing_of_it_is_imported_before_it_is_used() -> None:
    program = (
        "import sys, outcrop; from outcrop.engines import registry; from outcrop import Config;"
        "registry.choose(Config.production()); registry.choose(Config.mvp_only());"
        "assert not {'lancedb', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=_ROOT)
