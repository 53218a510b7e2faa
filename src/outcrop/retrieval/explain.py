"""Why a hit ranks where it does: what each leg contributed, and each term to the lexical leg."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from outcrop.engines.protocol import IndexSnapshot
from outcrop.model import Explanation, LegExplanation, TermScore
from outcrop.retrieval.fusion import Fused, Leg
from outcrop.retrieval.request import Request


def explanations(index: IndexSnapshot, request: Request, fused: Fused, places: Sequence[int]) -> list[Explanation]:
    """One explanation for each 0-based place in the fused ranking."""
    slots = [int(fused.slots[place]) for place in places]
    fusion = request.fusion.method if request.mode == "hybrid" else f"{request.mode} leg alone"
    terms = dict(zip(slots, index.explain(request.query, slots), strict=True)) if fused.lexical is not None else {}
    found = []
    for place, slot in zip(places, slots, strict=True):
        legs = [
            leg
            for leg in (_leg("lexical", fused.lexical, slot, terms.get(slot, ())), _leg("vector", fused.vector, slot, ()))
            if leg is not None
        ]
        found.append(Explanation(score=float(fused.scores[place]), fusion=fusion, legs=tuple(legs)))
    return found


def _leg(name: str, leg: Leg | None, slot: int, terms: tuple[TermScore, ...]) -> LegExplanation | None:
    """What one leg contributed, or None if it did not find the chunk."""
    if leg is None:
        return None
    positions = np.flatnonzero(leg.ranking.slots == slot)
    if not len(positions):
        return None
    position = int(positions[0])
    normalized = float(leg.normalized[position])
    return LegExplanation(
        leg="lexical" if name == "lexical" else "vector",
        rank=position + 1,
        raw_score=float(leg.ranking.scores[position]),
        normalized_score=normalized,
        weight=leg.weight,
        contribution=normalized * leg.weight,
        terms=terms,
    )
