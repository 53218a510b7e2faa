"""`outcrop doctor`: what is installed, what works here, and what to do about what does not."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec
import typer
from rich.table import Table
from rich.text import Text

import outcrop
from outcrop import Config, OutcropError, embedding
from outcrop.config import load
from outcrop.engines import registry
from outcrop.surfaces.cli import exit_codes
from outcrop.surfaces.cli.arguments import AsJson
from outcrop.surfaces.cli.program import Invocation, invocation
from outcrop.surfaces.cli.rendering import plain, show, size, write_json

_FREE_BYTES_MIN = 1_000_000_000
_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w-]+)['"]""")
_PYTHON_BELOW = re.compile(r"""python_version\s*<\s*['"](\d+)\.(\d+)['"]""")
_COLLECTIVE_EXTRAS = {"all", "dev"}
_AVX2 = {"AVX2", "X86_V3"}
_AVX512 = {"AVX512_SKX", "X86_V4"}
_STYLES = {"ok": "green", "no": "yellow", "fail": "bold red"}


class Check(msgspec.Struct, frozen=True):
    """One finding. "no" is an option that is not there, "fail" is something that the configured mode needs."""

    area: str
    name: str
    state: Literal["ok", "no", "fail"]
    found: str
    remedy: str | None = None


def doctor(context: typer.Context, json: AsJson = False) -> None:
    """Say what works here, and what to do about the rest.

    Exit code 0 if the configured mode can run, 3 if the configuration cannot be read, else 7.

    Example:
      outcrop doctor --mode production
    """
    call = invocation(context)
    checks, config_code = _configuration(call)
    needed = [one for one in checks if one.state == "fail"]
    if json:
        write_json({"version": outcrop.__version__, "works": not needed, "checks": checks})
    else:
        _show(checks)
        show(
            "",
            Text(
                "Outcrop works here." if not needed else "Outcrop does not work here as configured; see what failed above.",
                style="bold",
            ),
        )
    if needed:
        raise typer.Exit(config_code if config_code else exit_codes.UNAVAILABLE)


def _configuration(call: Invocation) -> tuple[list[Check], int]:
    """Every check, and the exit code for a configuration that cannot be used (else 0)."""
    fault: OutcropError | None = None
    try:
        config = load(call.db, call.config, os.environ)
    except OutcropError as error:
        fault, config = error, Config.default(call.db)
    said = (
        Check("configuration", "mode", "ok", config.mode)
        if fault is None
        else Check("configuration", "settings", "fail", str(fault), "correct it; outcrop config show")
    )
    checks = [said, *_machine(), *_libraries(), *_extras(), *_embedders(config), *_engines(config), *_storage(call.db, config)]
    return checks, 0 if fault is None else exit_codes.exit_code(fault)


def _machine() -> Iterator[Check]:
    yield Check("machine", "Python", "ok", f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}")
    yield Check("machine", "system", "ok", f"{platform.platform()}, {os.cpu_count()} CPUs")
    yield Check("machine", "SQLite", "ok", sqlite3.sqlite_version)
    yield from _processor()


def _processor() -> Iterator[Check]:
    """Whether the vector instructions that the libraries are built for are there; numpy knows what the CPU has."""
    import numpy as np

    if platform.machine().lower() not in ("x86_64", "amd64", "x64"):
        yield Check("machine", "CPU", "ok", platform.machine())
        return
    simd: dict[str, Any] = np.show_config(mode="dicts").get("SIMD Extensions", {})  # type: ignore[union-attr, assignment, call-overload, unused-ignore]
    features = {*simd.get("baseline", ()), *simd.get("found", ())}
    if features & _AVX2:
        wider = " and AVX-512" if features & _AVX512 else ""
        yield Check("machine", "CPU", "ok", f"{platform.machine()} with AVX2{wider}")
    else:
        yield Check(
            "machine",
            "CPU",
            "no",
            f"{platform.machine()} without AVX2: vector search is several times slower",
            "use a machine with AVX2",
        )


def _libraries() -> Iterator[Check]:
    for distribution in sorted(_requirements().get("", {})):
        version = _version(distribution)
        if version is None:
            yield Check("library", distribution, "fail", "not installed", f"pip install {distribution}")
        else:
            yield Check("library", distribution, "ok", version)


def _extras() -> Iterator[Check]:
    for extra, distributions in sorted(_requirements().items()):
        if extra in _COLLECTIVE_EXTRAS or not extra:
            continue
        missing = [name for name in distributions if _version(name) is None]
        if missing:
            yield Check("extra", extra, "no", f"not installed: {', '.join(missing)}", f"pip install 'outcrop[{extra}]'")
        else:
            yield Check(
                "extra", extra, "ok", ", ".join(f"{name} {_version(name)}" for name in distributions) or "part of Python here"
            )


def _embedders(config: Config) -> Iterator[Check]:
    wanted = embedding.default_spec() if config.embedder == "auto" else config.embedder
    needed = wanted.partition(":")[0]
    for facts in embedding.available(openai_base_url=config.openai_base_url):
        role = "new collections use it" if facts.name == needed else "works here"
        if facts.available:
            yield Check("embedder", facts.name, "ok", role)
        else:
            yield Check(
                "embedder", facts.name, "fail" if facts.name == needed else "no", facts.reason or "does not work here", facts.remedy
            )
    if needed not in {facts.name for facts in embedding.available()}:
        yield Check("embedder", needed, "fail", "the configuration names it, and there is no such embedder", "outcrop config show")


def _engines(config: Config) -> Iterator[Check]:
    for name in registry.names():
        found = registry.availability(name, config)
        configured = name == ("lancedb" if config.use_lancedb else "builtin")
        needed = configured and not (config.fallback_to_mvp and name != "builtin")
        if found.available:
            instead = registry.choose(config).running.reason if configured and name != "builtin" else None
            said = f"works here, but is not used: {instead}" if instead else "configured" if configured else "works here"
            yield Check("engine", name, "ok", said)
            continue
        reason = found.reason if found.reason else "does not work here"
        fallback = ", so the built-in engine serves" if configured and not needed else ""
        yield Check("engine", name, "fail" if needed else "no", f"{reason}{fallback}", found.remedy)


def _storage(db: Path, config: Config) -> Iterator[Check]:
    folder = next((one for one in (db.absolute(), *db.absolute().parents) if one.is_dir()), Path())
    yield Check("storage", "database", "ok", f"{db}" if db.is_dir() else f"{db} does not exist yet; looked at {folder}")
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield Check("storage", "free space", "no", f"cannot be told: {error}")
    else:
        enough = free >= _FREE_BYTES_MIN
        yield Check(
            "storage",
            "free space",
            "ok" if enough else "no",
            size(free),
            None if enough else "a build needs room for a second index",
        )
    if config.lancedb_uri is not None and config.use_lancedb:
        yield Check("storage", "LanceDB tables", "ok", f"new ones go below {config.lancedb_uri}")
    yield _symlinks(folder, config)


def _symlinks(folder: Path, config: Config) -> Check:
    """Tried out, because file systems and Windows policies cannot be asked."""
    if config.symlinks == "never":
        return Check("storage", "symlinks", "ok", "not used, as configured: a one-line file names the active generation")
    try:
        with tempfile.TemporaryDirectory(prefix=".outcrop-doctor-", dir=folder) as place:
            Path(place, "link").symlink_to("target")
    except PermissionError as error:
        if not os.access(folder, os.W_OK):
            return Check(
                "storage",
                "writing",
                "no",
                f"{error.filename}: permission denied: searching works, building does not",
                "check the owner of the folder",
            )
        return Check("storage", "symlinks", "ok", "not permitted here: a one-line file names the active generation")
    except (OSError, NotImplementedError):
        return Check("storage", "symlinks", "ok", "not supported here: a one-line file names the active generation")
    return Check("storage", "symlinks", "ok", "supported")


def _requirements() -> dict[str, dict[str, None]]:
    """Distribution names by the extra that needs them ("" is the core), as the installed package's metadata say."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for line in metadata.requires("outcrop") or ():
        name = _REQUIREMENT.match(line)
        extra = _EXTRA.search(line)
        below = _PYTHON_BELOW.search(line)
        if name is None or name[1] == "outcrop":
            continue
        listed = found[extra[1] if extra else ""]
        if below is None or sys.version_info[:2] < (int(below[1]), int(below[2])):
            listed[name[1]] = None
    return found


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _show(checks: list[Check]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for _ in ("area", "name", "state"):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    area = ""
    for one in checks:
        found = Text(plain(one.found, one_line=True))
        if one.remedy is not None and one.state != "ok":
            found.append(f"\n{plain(one.remedy, one_line=True)}", style="bold")
        table.add_row(
            Text(one.area if one.area != area else "", style="dim"), one.name, Text(one.state, style=_STYLES[one.state]), found
        )
        area = one.area
    show(table)
