"""What each leg brought into an answer, against the explanation of every hit."""

from __future__ import annotations

import outcrop
from outcrop import Document, FoundBy

WORDS = "granite slate basalt marble quartz mica".split()


def _collection(db: outcrop.Database) -> outcrop.Collection:
    made = db.create_collection("rocks", embedder="hashing:32")
    texts = [f"{one} and {other}" for one in WORDS for other in WORDS]
    made.build([Document(f"d{n}", text, metadata={"n": n}) for n, text in enumerate(texts)], promote=True)
    return made


def test_it_agrees_with_the_explanations_whatever_is_asked(db: outcrop.Database) -> None:
    rocks = _collection(db)
    kinds = set()
    for query in ("granite", "slate basalt", "obsidian", "mica obsidian"):
        for mode in ("lexical", "vector", "hybrid"):
            for k, offset, where in ((5, 0, None), (5, 20, None), (20, 0, "n < 9"), (10, 0, "n < 0")):
                hits = rocks.search(query, mode=mode, k=k, offset=offset, where=where, candidates=30, explain=True)
                legs = [{leg.leg for leg in hit.explanation.legs} for hit in hits if hit.explanation is not None]
                told = hits.found_by
                assert told.lexical == legs.count({"lexical"})
                assert told.vector == legs.count({"vector"})
                assert told.both == legs.count({"lexical", "vector"})
                assert told.lexical + told.vector + told.both == len(hits)
                assert (told.lexical_candidates is None) == (mode == "vector")
                assert (told.vector_candidates is None) == (mode == "lexical")
                kinds |= {name for name in ("lexical", "vector", "both") if getattr(told, name)}
    assert kinds == {"lexical", "vector", "both"}


def test_a_query_without_a_term_is_told_from_one_that_finds_nothing(db: outcrop.Database) -> None:
    rocks = _collection(db)

    assert rocks.search("the of", mode="lexical").found_by == FoundBy(lexical_candidates=0, no_term=True)
    assert rocks.search("obsidian", mode="lexical").found_by == FoundBy(lexical_candidates=0)
