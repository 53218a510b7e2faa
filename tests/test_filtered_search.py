"""Filters through the whole of a search: in every mode the hits are exactly those documents that the plain meaning selects."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import outcrop
from outcrop import Collection, Config, Document, filters
from outcrop.model import SearchMode
from outcrop.testing import samples, select

MODES = get_args(SearchMode)
COUNT = 1000
WORDS = "lava mud shell ice ash sand clay iron salt coal".split()


def corpus() -> list[Document]:
    """Documents that all have the word granite, and metadata both regular (n) and as odd as they come."""
    rng = random.Random(11)
    return [
        Document(
            f"d{n:04}",
            " ".join(["granite", *rng.choices(WORDS, k=6)]),
            metadata={**samples.metadata(rng), "n": n, "half": n % 2 == 0},
        )
        for n in range(COUNT)
    ]


DOCUMENTS = corpus()


@pytest.fixture(scope="module", params=["flat", "hnsw"])
def granite(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Collection]:
    with outcrop.open(tmp_path_factory.mktemp("kb"), config=Config.test(part_bytes_max=16 * 4 * 400)) as db:
        collection = db.create_collection("granite", embedder="hashing:16", index=request.param)
        collection.build(DOCUMENTS, promote=True)
        yield collection


def found(collection: Collection, where: object, mode: str) -> list[str]:
    return sorted(hit.document_id for hit in collection.search("granite", mode=mode, where=where, k=COUNT, candidates=COUNT))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("where", "share"), [("n = 17", 0.001), ("n < 10", 0.01), ("n < 100", 0.1), ("half", 0.5), ("n >= 0", 1.0)]
)
def test_a_filter_is_exact_at_every_selectivity(granite: Collection, mode: str, where: str, share: float) -> None:
    expected = sorted(document.id for document in select(DOCUMENTS, where))
    assert len(expected) == share * COUNT
    assert found(granite, where, mode) == expected
    few = granite.search("granite lava", mode=mode, where=where)
    assert len(few) == min(10, len(expected)), "a page is full as long as documents match"
    assert {hit.document_id for hit in few} <= set(expected)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), spelling=st.sampled_from([samples.as_text, samples.as_mapping, lambda tree: tree]))
def test_random_filters_select_what_they_mean_in_every_mode(granite: Collection, seed: int, spelling: object) -> None:
    tree = samples.condition(random.Random(seed))
    if spelling is samples.as_mapping and any(field.startswith("$") for field in filters.fields(tree)):
        spelling = samples.as_text  # a mapping cannot name such a field
    expected = sorted(document.id for document in select(DOCUMENTS, tree))
    for mode in MODES:
        assert found(granite, spelling(tree), mode) == expected  # type: ignore[operator]
    assert granite.count(tree) == len(expected)
    assert [document.id for document in granite.scan(tree)] == expected


def test_random_filters_are_worth_asking() -> None:
    """The seeds that the property draws from give filters of every kind: none, few, many and all selected."""
    counts = [len(select(DOCUMENTS, samples.condition(random.Random(seed)))) for seed in range(300)]
    assert sum(count == 0 for count in counts) < 150
    assert sum(0 < count < COUNT / 10 for count in counts) > 30
    assert sum(COUNT / 10 <= count < COUNT for count in counts) > 40
