"""The two legs without Outcrop: Tantivy and FAISS called directly on the very files that a generation consists of.

The query is the one that the built-in engine runs, so that the answers agree and only what is around them differs.
"""

from __future__ import annotations

import heapq
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import tantivy
from numpy.typing import NDArray

from outcrop.analysis import analyzer
from outcrop.documents import Documents, PartRow
from outcrop.engines.builtin.parts import facts_of
from outcrop.engines.builtin.text import TITLE_BOOST
from outcrop.engines.builtin.vector_facts import fetched_count, set_effort
from outcrop.model import GenerationInfo

K = 100
"""How deep the legs of a hybrid search look."""
TEXT_FOLDER = Path("builtin") / "text"


class RawText:
    """Tantivy: analyze, build the query, search, read the slots of the hits."""

    def __init__(self, generation: GenerationInfo) -> None:
        name = generation.recipe.analyzer
        self._terms = analyzer(name).tantivy.analyze
        index = tantivy.Index.open(str(Path(generation.path) / TEXT_FOLDER))
        index.register_tokenizer(f"outcrop_{name}", analyzer(name).tantivy)
        self._schema = index.schema
        self._searcher = index.searcher()

    def search(self, query: str, k: int) -> list[Any]:
        """The slots of the best `k`."""
        return self.scored(query, k)[1]

    def scored(self, query: str, k: int) -> tuple[list[float], list[Any]]:
        """The scores and the slots of the best `k`."""
        parts = []
        for term, count in Counter(self._terms(query)).items():
            for field, boost in (("text", 1.0), ("title", TITLE_BOOST)):
                part = tantivy.Query.term_query(self._schema, field, term, "freq")
                parts.append(
                    (tantivy.Occur.Should, part if count * boost == 1.0 else tantivy.Query.boost_query(part, count * boost))
                )
        if not parts:
            return [], []
        hits = self._searcher.search(tantivy.Query.boolean_query(parts), k, count=False).hits
        return [score for score, _ in hits], self._searcher.fast_field_values("slot", [address for _, address in hits])


class RawVectors:
    """FAISS: search the generation's own index file, mapped, as hard as Outcrop does, on one thread; exact if it has none.

    What codes propose must be scored by the vectors, or the recall is another: FAISS's own refining index does that.
    """

    def __init__(self, generation: GenerationInfo) -> None:
        row = the_part(generation)
        facts = facts_of(row)
        folder = part_folder(generation, row)
        if facts is None or facts.kind == "flat":
            self._index = faiss.IndexFlatIP(generation.recipe.dimension)
            self._index.add(np.fromfile(folder / "vectors.f32", np.float32).reshape(row.row_count, -1))
            return
        index = faiss.read_index(str(folder / "index.faiss"), faiss.IO_FLAG_MMAP_IFC)
        set_effort(index, facts)
        self._index = index
        if facts.is_fast_scan:
            exact = faiss.IndexFlatIP(facts.dimension)
            exact.add(np.fromfile(folder / "vectors.f32", np.float32).reshape(row.row_count, -1))
            self._index = faiss.IndexRefine(index, exact)
            self._held = index, exact  # which the other one only refers to
            self._index.k_factor = fetched_count(facts, K) / K
        faiss.omp_set_num_threads(1)  # of this thread

    def search(self, vector: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """The rows of the nearest `k`."""
        return self.scored(vector, k)[1]

    def scored(self, vector: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The scores and the rows of the nearest `k`."""
        scores, rows = self._index.search(vector[None, :], k)
        return scores[0], rows[0]


class RawHybrid:
    """Both at once, the text on a pool's thread, and the two rankings made one: scaled to [0, 1], weighted, added up, the best `k`.

    As one would write it: no document is fetched.
    """

    def __init__(self, generation: GenerationInfo) -> None:
        self._text, self._vectors = RawText(generation), RawVectors(generation)
        self._share = generation.recipe.vector_weight
        self._pool = ThreadPoolExecutor(1)

    def search(self, query: str, vector: NDArray[np.float32], depth: int, k: int) -> list[int]:
        """The slots of the best `k`: in a part that was built in one go, rows and slots are the same."""
        texts = self._pool.submit(self._text.scored, query, depth)
        scores, rows = self._vectors.scored(vector, depth)
        total = dict(zip(rows.tolist(), (self._share * _scaled(scores)).tolist(), strict=True))
        text_scores, slots = texts.result()
        if slots:
            for slot, score in zip(slots, ((1 - self._share) * _scaled(np.array(text_scores))).tolist(), strict=True):
                total[slot] = total.get(slot, 0.0) + score
        return heapq.nlargest(k, total, key=total.__getitem__)


def _scaled(scores: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


def the_part(generation: GenerationInfo) -> PartRow:
    """The only part of the generation; refuses to compare where there are several."""
    documents = Documents(Path(generation.path))
    parts = documents.parts()
    documents.close()
    if len(parts) != 1:
        raise SystemExit(f"{generation.path} has {len(parts)} parts, and a raw index is one file: use a smaller --limit")
    return parts[0]


def part_folder(generation: GenerationInfo, row: PartRow) -> Path:
    """Where a part's files lie."""
    return Path(generation.path) / "parts" / f"part-{row.uuid}"
