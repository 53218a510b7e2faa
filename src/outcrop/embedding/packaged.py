"""Model files that are shipped inside other Python packages, found without importing those packages."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from outcrop.errors import EmbeddingFailed, MissingExtra


class PackagedFile(msgspec.Struct, frozen=True):
    """A file in an installed package: the package's import name, the path in it, and the SHA-256 that the file must have."""

    package: str
    path: str
    sha256: str


def missing_packages(packages: Sequence[str]) -> list[str]:
    """Those of these top-level packages that are not installed. None is imported."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def require(module: str, *, extra: str) -> Any:
    """The imported module. Raises `MissingExtra` that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing_extra(extra, module, reason=str(error)) from error


def locate(file: PackagedFile, *, extra: str) -> Path:
    """Where the file is. Its content is checked once per process.

    Raises `MissingExtra` when the package is not installed, and `EmbeddingFailed` when the file is missing or is another one than
    the one that Outcrop was measured with.
    """
    spec = importlib.util.find_spec(file.package)
    if spec is None or not spec.submodule_search_locations:
        raise missing_extra(extra, file.package)
    return _verified(Path(next(iter(spec.submodule_search_locations))) / file.path, file.sha256, extra)


def missing_extra(extra: str, package: str, *, reason: str | None = None) -> MissingExtra:
    """The error for a package that an embedder needs and that cannot be imported."""
    remedy = f"pip install 'outcrop[{extra}]'"
    found = "is not installed" if reason is None else f"cannot be imported ({reason})"
    return MissingExtra(
        f"the embedder {extra!r} needs the package {package!r}, which {found}. Run: {remedy}", extra=extra, remedy=remedy
    )


@functools.cache
def _verified(path: Path, sha256: str, extra: str) -> Path:
    remedy = f"Run: pip install --force-reinstall 'outcrop[{extra}]'"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EmbeddingFailed(
            f"the embedder {extra!r} cannot read its model file {path}: {error.strerror}. {remedy}", embedder=extra, status=None
        ) from error
    if found != sha256:
        raise EmbeddingFailed(
            f"the embedder {extra!r} wants {path} with SHA-256 {sha256}, found {found}: another release or a damaged file."
            f" {remedy}",
            embedder=extra,
            status=None,
        )
    return path
