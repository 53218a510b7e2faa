"""Small pure functions on texts and rows of vectors that several embedders share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row of a float32 array (n, dimension) divided by its euclidean length, C-contiguous; a zero row stays zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def slices(sizes: Sequence[int], *, count_max: int, size_max: int) -> Iterator[slice]:
    """Consecutive slices of at most `count_max` items whose sizes add up to at most `size_max`; a larger item is alone.

    >>> list(slices([3, 3, 9, 1], count_max=10, size_max=6))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    start, total = 0, 0
    for position, size in enumerate(sizes):
        if position > start and (position - start == count_max or total + size > size_max):
            yield slice(start, position)
            start, total = position, 0
        total += size
    if start < len(sizes):
        yield slice(start, len(sizes))


def encodable(text: str) -> str:
    """The text itself, or with U+FFFD for lone surrogates, which no tokenizer and no JSON takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
