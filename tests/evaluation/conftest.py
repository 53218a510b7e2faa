"""A folder in BEIR layout, and a collection that answers from a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outcrop.index_values import IndexSpec
from outcrop.model import EmbedderIdentity, GenerationInfo, Recipe

EMBEDDER = EmbedderIdentity(spec="fake", provider="fake", model="fake", revision="1", dimension=4, normalized=True)


def _generation(number: int = 1, *, dimension: int | None = 4, embedder: EmbedderIdentity | None = EMBEDDER) -> GenerationInfo:
    """A generation as `Collection.generations()` lists it."""
    recipe = Recipe(
        engine="builtin",
        embedder=embedder,
        dimension=dimension,
        metric="cosine",
        chunker="none",
        analyzer="english",
        index=IndexSpec(),
        vector_weight=0.4,
    )
    return GenerationInfo(
        number=number,
        uuid=f"uuid-{number}",
        status="active",
        created_at="2026-01-01T00:00:00Z",
        recipe=recipe,
        document_count=3,
        chunk_count=3,
        skipped=0,
        unembedded=0,
        sequence=0,
        source="test",
        vector_index="flat",
        recall=1.0,
        size_bytes=1,
        build_seconds=0.1,
        promoted_at=None,
        promoted_from=None,
        path="generations/000001",
    )


class Found(msgspec.Struct, frozen=True):
    """A hit, as far as evaluation reads it."""

    document_id: str
    score: float


class TableCollection:
    """Answers from `{mode: {query text: [document ids]}}` and remembers how it was asked."""

    def __init__(self, answers: dict[str, dict[str, list[str]]], *generations: GenerationInfo) -> None:
        self.answers = answers
        self.known = list(generations) or [_generation()]
        self.asked: list[dict[str, Any]] = []

    @property
    def active(self) -> GenerationInfo | None:
        return self.known[0]

    def generations(self) -> list[GenerationInfo]:
        return self.known

    def search(self, query: str, **options: Any) -> list[Found]:
        self.asked.append({"query": query, **options})
        found = self.answers[options["mode"]].get(query, [])[: options["k"]]
        return [Found(document_id=document_id, score=1.0) for document_id in found]  # all tied on purpose


@pytest.fixture
def beir_folder(tmp_path: Path) -> Path:
    """Three queries, two of them judged in `test`, one in `dev`."""
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text(
        '{"_id": "q1", "text": "wing"}\n{"_id": "q2", "text": "flutter"}\n\n{"_id": "q3", "text": "unjudged"}\n', encoding="utf-8"
    )
    header = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "test.tsv").write_text(header + "q1\td1\t2\nq1\td2\t1\nq2\td3\t1\n", encoding="utf-8")
    (folder / "qrels" / "dev.tsv").write_text(header + "q3\td1\t1\n", encoding="utf-8")
    return folder


@pytest.fixture
def table_collection() -> type[TableCollection]:
    """The class, to be called with the answers and the generations."""
    return TableCollection


@pytest.fixture
def generation() -> Callable[..., GenerationInfo]:
    """Makes a generation from a number, a dimension and an embedder."""
    return _generation
