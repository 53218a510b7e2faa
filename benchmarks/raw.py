"""The two legs without Outcrop: Tantivy and FAISS called directly on the very files that a generation consists of.

The query is the one that the built-in engine runs, so that the answers agree and only what is around them differs.
"""

from __future__ import annotations

from collections import Counter
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
        parts = []
        for term, count in Counter(self._terms(query)).items():
            for field, boost in (("text", 1.0), ("title", TITLE_BOOST)):
                part = tantivy.Query.term_query(self._schema, field, term, "freq")
                parts.append(
                    (tantivy.Occur.Should, part if count * boost == 1.0 else tantivy.Query.boost_query(part, count * boost))
                )
        if not parts:
            return []
        hits = self._searcher.search(tantivy.Query.boolean_query(parts), k, count=False).hits
        return self._searcher.fast_field_values("slot", [address for _, address in hits])


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
        rows: NDArray[np.int64] = self._index.search(vector[None, :], k)[1][0]
        return rows


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
