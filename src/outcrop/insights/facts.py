"""What is known of a collection besides its log, and what advice depends on."""

from __future__ import annotations

import msgspec

from outcrop.config import Config
from outcrop.model import Recipe, Stats


class Facts(msgspec.Struct, frozen=True):
    """A collection as it is now. `fields` are those that a filter can use, `slow_fields` of these those without a column.

    `embedder` and `analyzer` are of the active generation; the first is None where vectors were given or there are none.
    `log_bytes` is the log's size, `days` how far back is looked.
    """

    collection: str
    config: Config
    fields: tuple[str, ...] = ()
    slow_fields: tuple[str, ...] = ()
    embedder: str | None = None
    analyzer: str = "english"
    has_vectors: bool = False
    log_bytes: int = 0
    days: float = 7.0


def facts_of(stats: Stats, config: Config) -> Facts:
    """What the state of a collection says."""
    recipe: Recipe | None = next((one.recipe for one in stats.generations if one.number == stats.active), None)
    embedder = None if recipe is None else recipe.embedder
    return Facts(
        collection=stats.collection,
        config=config,
        fields=stats.fields,
        slow_fields=stats.fields_without_column,
        embedder=None if embedder is None else embedder.spec,
        analyzer="english" if recipe is None else recipe.analyzer,
        has_vectors=recipe is not None and recipe.dimension is not None,
    )
