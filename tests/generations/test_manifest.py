"""The manifest: written last, checked when read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from outcrop.documents import FileFact, PartRow
from outcrop.errors import Damaged, UnsupportedFormat
from outcrop.generations import manifest
from outcrop.generations.manifest import Manifest, Probe
from outcrop.index_values import IndexSpec
from outcrop.model import EmbedderIdentity, Recipe

IDENTITY = EmbedderIdentity("hashing:8", "outcrop", "hashing", "1", 8, True)


@pytest.fixture
def sealed() -> Manifest:
    return Manifest(
        format=1,
        number=3,
        uuid="0" * 32,
        created_at="2026-01-02T03:04:05.678Z",
        recipe=Recipe("builtin", IDENTITY, 8, "cosine", "none", "english", IndexSpec(kind="hnsw", m=8), 0.3),
        source="corpus.jsonl",
        sequence=0,
        document_count=1,
        chunk_count=2,
        skipped=0,
        unembedded=0,
        vector_index="flat",
        recall=1.0,
        build_seconds=0.125,
        fields=("größe",),
        probes=(Probe(text="ein Text", vector=(0.1, -2.5e-7)),),
        parts=(PartRow("1" * 32, 1, 2, (FileFact("parts/part-1/slots.npy", 144, "ab"),), {"vectors": {"kind": "flat"}}),),
    )


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path, sealed: Manifest) -> None:
    manifest.write(tmp_path, sealed)
    assert manifest.read(tmp_path) == sealed


def test_a_folder_without_a_manifest_is_unfinished(tmp_path: Path) -> None:
    assert manifest.read(tmp_path) is None


@pytest.mark.parametrize(("old", "new"), [('"document_count": 1', '"document_count": 2'), ("hnsw", "flat"), ("größe", "grosse")])
def test_a_changed_manifest_is_refused(tmp_path: Path, sealed: Manifest, old: str, new: str) -> None:
    manifest.write(tmp_path, sealed)
    path = tmp_path / "manifest.json"
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")

    with pytest.raises(Damaged, match=r"manifest\.json"):
        manifest.read(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sha256": "x"}', "\x00\x01"])
def test_a_manifest_that_is_no_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(Damaged, match="promote or roll back"):
        manifest.read(tmp_path)


def test_a_newer_format_says_to_upgrade(tmp_path: Path, sealed: Manifest) -> None:
    manifest.write(tmp_path, sealed)
    path = tmp_path / "manifest.json"
    held = json.loads(path.read_text())
    held["manifest"]["format"] = 2
    path.write_text(json.dumps(held))

    with pytest.raises(UnsupportedFormat, match="Upgrade Outcrop") as caught:
        manifest.read(tmp_path)
    assert (caught.value.found, caught.value.supported) == (2, 1)
