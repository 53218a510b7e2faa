"""The first generation of a collection that is written to before anything was built: empty, and active at once."""

from __future__ import annotations

from contextlib import closing

from outcrop import files
from outcrop.builds.builder import embedder_probes
from outcrop.builds.promotion import swap
from outcrop.builds.stage import Stage
from outcrop.documents import DocumentsWriter
from outcrop.embedding import Embedder
from outcrop.engines import registry
from outcrop.generations import manifest
from outcrop.generations.journal import now
from outcrop.generations.layout import FORMAT
from outcrop.generations.manifest import Manifest
from outcrop.model import Recipe

_SOURCE = "the first write"


def make_first(stage: Stage, recipe: Recipe, embedder: Embedder | None) -> None:
    """Make and promote an empty generation. Under the writer lock, which keeps the collector away meanwhile."""
    name = stage.journal.next_generation()
    directory = stage.folder.generation(name)
    with files.storage_errors(directory):
        directory.mkdir(parents=True)
    with closing(DocumentsWriter.create(directory)) as documents:
        index = registry.engine(recipe.engine, stage.config).create(recipe, directory)
        try:
            documents.seal(sequence=0)
            stats = index.seal()
        finally:
            index.close()
    for folder in (directory, stage.folder.generations):
        files.sync_folder(folder)
    manifest.write(
        directory,
        Manifest(
            format=FORMAT,
            number=name.number,
            uuid=name.uuid,
            created_at=now(),
            recipe=recipe,
            source=_SOURCE,
            sequence=0,
            document_count=0,
            chunk_count=0,
            skipped=0,
            unembedded=0,
            vector_index=stats.vector_index,
            recall=stats.recall,
            build_seconds=0.0,
            fields=(),
            probes=() if embedder is None else embedder_probes(embedder),
            parts=(),
        ),
    )
    swap(stage, name, stage.journal.intend(name.number, None, "promote", source=_SOURCE))
