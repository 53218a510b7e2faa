"""How much two rankings of one query agree, without knowing which documents are relevant."""

from __future__ import annotations

from collections.abc import Sequence

from outcrop.errors import InvalidInput


def overlap(first: Sequence[str], second: Sequence[str]) -> float:
    """The share of documents that two rankings have in common, whatever their order: 0 to 1.

    The larger of the two counts: |both| / max(|first|, |second|), so a ranking that lost documents overlaps less than wholly. Two
    empty ones agree. Cut both at k before, for overlap@k. Raises `InvalidInput` if a document is twice in one of them.

    >>> overlap(["a", "b", "c"], ["b", "a", "d"])
    0.6666666666666666
    """
    one, other = _distinct(first), _distinct(second)
    longer = max(len(one), len(other))
    return len(one & other) / longer if longer else 1.0


def rank_biased_overlap(first: Sequence[str], second: Sequence[str], p: float = 0.9) -> float:
    """How alike two rankings are, from 0 (nothing in common) to 1 (the same documents in the same order). The top counts more.

    This is RBO_EXT of Webber, Moffat and Zobel, "A Similarity Measure for Indefinite Rankings" (ACM TOIS 28(4), 2010), equation 32:
    the agreement found as deep as the rankings go is taken to go on below. With S the shorter ranking of length s, L the longer of
    length l, and X_d how many of the first d documents both have (all of S where d > s):

        (1-p)/p * [sum(d=1..l, X_d/d * p^d) + sum(d=s+1..l, X_s*(d-s)/(s*d) * p^d)] + [(X_l - X_s)/l + X_s/s] * p^l

    `p` is the chance that a reader goes on to the next document; with 0.9 the first ten carry 86 % of the weight. Two empty
    rankings agree (1), an empty and another one do not (0). Raises `InvalidInput` if a document is twice in one of them, and for a
    `p` that is not between 0 and 1.

    >>> rank_biased_overlap(["a", "b"], ["b", "a"])
    0.9
    """
    if not 0.0 < p < 1.0:
        raise InvalidInput(f"p must be between 0 and 1, found {p!r}", parameter="p")
    _distinct(first)
    _distinct(second)
    short, long = sorted((first, second), key=len)
    if not short:
        return 0.0 if long else 1.0
    common = _common_by_depth(short, long)
    s, length = len(short), len(long)
    at_s, at_end = common[s - 1], common[-1]
    agreement = sum(count / depth * p**depth for depth, count in enumerate(common, start=1))
    assumed = sum(at_s * (depth - s) / (s * depth) * p**depth for depth in range(s + 1, length + 1))
    value = (1 - p) / p * (agreement + assumed) + ((at_end - at_s) / length + at_s / s) * p**length
    return min(1.0, round(value, 12))  # the sum for equal rankings is 1 up to rounding


def _common_by_depth(short: Sequence[str], long: Sequence[str]) -> list[int]:
    """How many documents both rankings have among their first 1, 2, ... documents, as deep as the longer one goes."""
    seen_short: set[str] = set()
    seen_long: set[str] = set()
    common, counts = 0, []
    for depth, document_id in enumerate(long):
        if depth < len(short):
            other = short[depth]
            seen_short.add(other)
            common += other in seen_long
        seen_long.add(document_id)
        common += document_id in seen_short
        counts.append(common)
    return counts


def _distinct(ranking: Sequence[str]) -> set[str]:
    found = set(ranking)
    if len(found) != len(ranking):
        twice = next(one for one in ranking if ranking.count(one) > 1)
        raise InvalidInput(f"a ranking must hold a document once; {twice!r} is in it {ranking.count(twice)} times")
    return found
