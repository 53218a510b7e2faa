"""What a generation consists of: one JSON file, written last. A folder without it is an unfinished build."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from outcrop import files
from outcrop.documents import PartRow
from outcrop.errors import Damaged, UnsupportedFormat
from outcrop.generations.layout import FORMAT, MANIFEST
from outcrop.index_values import IndexChoice
from outcrop.model import Recipe


class Probe(msgspec.Struct, frozen=True):
    """A fixed text's vector as the generation's embedder made it, to tell later whether the embedder is still the same."""

    text: str
    vector: tuple[float, ...]


class Manifest(msgspec.Struct, frozen=True):
    """A sealed generation.

    `parts` lists, with checksums, the immutable files as they were sealed; the rows in documents.sqlite say which parts there are
    now. `sequence` is the sequence at which the build began. `vanished` and `revived` count documents as they were when the build
    ended: those that the active generation had and this one has not, and those that had been deleted there and are here; None if
    there was no active generation. Documents born after the write `written_since` were written directly, not read from the source;
    None means after `sequence`: the build kept no earlier writes. `index_choice` says how the vector index was chosen.
    """

    format: int
    number: int
    uuid: str
    created_at: str
    recipe: Recipe
    source: str
    sequence: int
    document_count: int
    chunk_count: int
    skipped: int
    unembedded: int
    vector_index: str | None
    recall: float | None
    build_seconds: float
    fields: tuple[str, ...]
    probes: tuple[Probe, ...]
    parts: tuple[PartRow, ...]
    vanished: int | None = None
    revived: int | None = None
    written_since: int | None = None
    index_choice: IndexChoice | None = None


def write(directory: Path, manifest: Manifest) -> None:
    """Write the manifest into a generation's folder: from here on the generation is ready."""
    body = msgspec.json.encode(manifest)
    document = b'{"sha256":"%s","manifest":%s}\n' % (hashlib.sha256(body).hexdigest().encode(), body)
    files.write_atomically(directory / MANIFEST, msgspec.json.format(document, indent=1))


def read(directory: Path) -> Manifest | None:
    """The manifest of a generation's folder, checked, or None if the build never finished."""
    path = directory / MANIFEST
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise files.storage_failed(path, error) from error
    return _checked(path, content)


def required(directory: Path) -> Manifest:
    """The manifest of a generation that somebody asked for. Raises `Damaged` if there is none."""
    sealed = read(directory)
    if sealed is None:
        path = directory / MANIFEST
        raise Damaged(f"{path} is missing: the generation was never finished, or its manifest was removed. {_ADVICE}", path=path)
    return sealed


class _Sealed(msgspec.Struct, frozen=True):
    sha256: str
    manifest: msgspec.Raw


class _Format(msgspec.Struct, frozen=True):
    format: int


def _checked(path: Path, content: bytes) -> Manifest:
    try:
        sealed = msgspec.json.decode(msgspec.json.format(content, indent=-1), type=_Sealed)
        found = msgspec.json.decode(sealed.manifest, type=_Format).format
        if found > FORMAT:
            raise UnsupportedFormat(
                f"{path} has format {found}; this Outcrop reads up to {FORMAT}. Upgrade Outcrop.",
                path=path,
                found=found,
                supported=FORMAT,
            )
        if hashlib.sha256(bytes(sealed.manifest)).hexdigest() != sealed.sha256:
            raise Damaged(f"{path} was changed after it was written: its checksum does not agree. {_ADVICE}", path=path)
        return msgspec.json.decode(sealed.manifest, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Damaged(f"{path} cannot be read ({error}). {_ADVICE}", path=path) from error


_ADVICE = "Restore the file from a backup, or promote or roll back to another generation."
