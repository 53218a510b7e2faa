"""Whether LanceDB works here, found out in a process of its own: a native library that crashes must not take the service along.

What worked is remembered for the set of versions that worked, in memory and in a small file. The file is a hint: it may be deleted.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from outcrop.engines.lancedb.library import INSTALL
from outcrop.engines.protocol import Availability

LANCEDB_MIN, PYARROW_MIN = (0, 38), (18,)
PROBE_SECONDS_MAX = 60.0

_DISTRIBUTIONS = ("lancedb", "pylance", "pyarrow")
_CACHE_VARIABLE = "XDG_CACHE_HOME"
_PACKAGE = "outcrop"
_REINSTALL = INSTALL.replace("install", "install --force-reinstall")  # these versions are there, and pip would do nothing
_PROBE = """
import json, sys, tempfile, warnings
warnings.simplefilter("ignore")
import pyarrow, lancedb
with tempfile.TemporaryDirectory() as folder:
    table = lancedb.connect(folder).create_table("probe", data=pyarrow.table({"slot": [1, 2], "text": ["a", "b"]}))
    table.create_index("text", config=lancedb.index.FTS())
    found = table.search(lancedb.query.MatchQuery("b", "text"), query_type="fts").limit(1).to_arrow().to_pylist()
print(json.dumps({"slot": found[0]["slot"]}))
"""


class Versions(msgspec.Struct, frozen=True):
    """What is installed: distributions that are there, with their versions; Python and the machine, and where it is looked for."""

    found: tuple[tuple[str, str], ...]
    python: str
    machine: str
    search_path: str

    def key(self) -> str:
        """A short name of this set of versions."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:24]

    def __str__(self) -> str:
        listed = ", ".join(f"{name} {version}" for name, version in self.found)
        wanted = f"lancedb >= {_dotted(LANCEDB_MIN)}, pyarrow >= {_dotted(PYARROW_MIN)}"
        return f"found {listed or 'none of its packages'} on Python {self.python}, {self.machine}; wanted {wanted}"


def availability() -> Availability:
    """Whether LanceDB works here. Takes a few seconds the first time, and microseconds once it is known."""
    missing = [name for name in ("lancedb", "pyarrow") if importlib.util.find_spec(name) is None]
    if missing:
        return _unavailable(f"{' and '.join(missing)} cannot be imported: not installed", _versions())
    return _availability(_versions())


@functools.lru_cache(maxsize=8)
def _availability(versions: Versions) -> Availability:
    fault = _fault_of(versions)
    if fault is not None:
        return _unavailable(fault, versions)
    hint = _hint(versions)
    if not hint.exists():
        fault = probe()
        if fault is not None:
            return _unavailable(fault, versions, remedy=_REINSTALL)
    _remember(hint)
    return Availability(available=True)


def _unavailable(fault: str, versions: Versions, *, remedy: str = INSTALL) -> Availability:
    return Availability(available=False, reason=f"{fault} ({versions})", remedy=remedy)


def probe(seconds_max: float = PROBE_SECONDS_MAX) -> str | None:
    """Import LanceDB and search a tiny table, in a process of its own; what is wrong, or None."""
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, and a program of ours
            [sys.executable, "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=seconds_max,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"a trial did not end within {seconds_max:g} s"
    except OSError as error:
        return f"a trial could not be started: {error}"
    if done.returncode < 0:
        return f"a trial crashed (signal {-done.returncode}); the processor may lack instructions that the package was built for"
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return f"a trial failed: {lines[-1][:300] if lines else f'exit code {done.returncode}'}"
    try:
        works = json.loads(done.stdout.strip().splitlines()[-1]) == {"slot": 2}
    except (ValueError, IndexError):
        works = False
    return None if works else "a trial gave a wrong answer"


def _versions() -> Versions:
    found = tuple((name, version) for name in _DISTRIBUTIONS if (version := _version(name)) is not None)
    return Versions(
        found=found,
        python=platform.python_version(),
        machine=f"{platform.machine()} {sys.platform}",
        search_path=f"{sys.executable}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    )


def _version(distribution: str) -> str | None:
    from importlib import metadata  # here: it takes all of `email` along

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _fault_of(versions: Versions) -> str | None:
    """What can be said without trying."""
    for name, least in (("lancedb", LANCEDB_MIN), ("pyarrow", PYARROW_MIN)):
        found = dict(versions.found).get(name)
        if found is not None and _numbers(found) < least:
            return f"{name} {_dotted(least)} or later is wanted, {found} was found"
    return None


def _hint(versions: Versions) -> Path:
    """The file that says that these versions worked: in the user's cache, or where temporary files are."""
    name = f"lancedb-works-{versions.key()}"
    base = os.environ.get(_CACHE_VARIABLE)
    try:
        folder = (Path(base) if base else Path.home() / ".cache") / _PACKAGE
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return Path(tempfile.gettempdir()) / f"{_PACKAGE}-{name}"
    return folder / name


def _remember(hint: Path) -> None:
    with suppress(OSError):
        hint.touch()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
