"""What is shipped: the wheel holds the package and nothing else, and works with the core dependencies alone."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = "Scripts" if sys.platform == "win32" else "bin"

LEXICAL_SEARCH = """
import importlib.util
import outcrop
from outcrop import Document

names = ("onnxruntime", "wordllama", "tokenizers", "pyarrow", "pandas", "httpx")
extras = [name for name in names if importlib.util.find_spec(name)]
assert not extras, f"this environment is not empty: {extras}"

with outcrop.open("kb") as db:
    notes = db.create_collection("notes", embedder="none")
    documents = [
        Document(id="a", text="Rocks lie in layers.", metadata={"year": 2020}),
        Document(id="b", text="Rivers carry sand and rocks to the sea.", metadata={"year": 2024}),
        Document(id="c", text="Wind shapes the dunes.", metadata={"year": 2024}),
    ]
    notes.build(documents, promote=True)
    print([hit.document_id for hit in notes.search("layers of rock", k=2)])
    print([hit.document_id for hit in notes.search("rocks", where="year >= 2024")])
"""

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """The program's output; fails with everything it said. It sees neither this checkout nor this environment."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "OUTCROP_", "COV_"))}
    environ = {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUTF8": "1", "COLUMNS": "120"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environ, check=False, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source distribution, built from this checkout; the wheel from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    run(sys.executable, "-m", "build", *isolation, "--outdir", folder, ROOT, cwd=folder)
    (wheel,) = folder.glob("outcrop-*-py3-none-any.whl")
    (source,) = folder.glob("outcrop-*.tar.gz")
    return wheel, source


def test_the_wheel_holds_the_whole_package_and_nothing_else(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[0]) as wheel:
        names = set(wheel.namelist())
    modules = {file.relative_to(ROOT / "src").as_posix() for file in (ROOT / "src" / "outcrop").rglob("*.py")}
    assert len(modules) > 20
    assert modules <= names
    dashboard = ROOT / "src" / "outcrop" / "surfaces" / "dashboard"
    assert {file.relative_to(ROOT / "src").as_posix() for file in dashboard.rglob("*") if file.is_file()} <= names
    assert "outcrop/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"outcrop"}
    assert not [name for name in names if "__pycache__" in name or "tests/" in name]


def test_the_source_distribution_holds_what_is_needed_to_build_and_nothing_of_the_workshop(
    distributions: tuple[Path, Path],
) -> None:
    with tarfile.open(distributions[1]) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "PKG-INFO", "src/outcrop/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", ".venv", ".ci")) or "__pycache__" in name]


def test_the_wheel_says_what_it_is(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[0]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = wheel.read(name).decode()
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    for extra in ("all", "arrow", "eval", "minilm", "openai", "pandas", "static"):
        assert f"\nProvides-Extra: {extra}\n" in metadata


def test_the_wheel_works_in_an_empty_environment_with_the_core_dependencies_only(
    distributions: tuple[Path, Path], tmp_path: Path
) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    programs = tmp_path / "venv" / SCRIPTS
    run(programs / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", distributions[0], cwd=tmp_path)

    assert "search" in run(programs / "outcrop", "--help", cwd=tmp_path)
    (tmp_path / "search.py").write_text(LEXICAL_SEARCH, encoding="utf-8")
    answers = run(programs / "python", "search.py", cwd=tmp_path).splitlines()
    assert answers == ["['a', 'b']", "['b']"]
