"""What a generation is made with, by name or as the caller's own object, and the recipe that follows from it."""

from __future__ import annotations

from typing import Any

import msgspec

from outcrop.analysis import analyzer as named_analyzer
from outcrop.config import Config
from outcrop.embedding import Embedder, resolve
from outcrop.engines import registry
from outcrop.engines.registry import EngineFacts
from outcrop.errors import InvalidConfig
from outcrop.generations.record import CollectionRecord
from outcrop.index_values import IndexKind, IndexSpec, OptimizeFor, RecallGoal
from outcrop.ingest import Chunker, resolve_chunker
from outcrop.model import EmbedderIdentity, Recipe

__all__ = ["EngineFacts", "Ingredients", "Mixed", "as_index_spec", "mix"]

_UNKNOWN_VECTOR_WEIGHT = 0.4


class Ingredients:
    """Finds embedders and chunkers by name. Remembers the caller's own, so that a name found in a recipe leads to them again."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.embedders: dict[EmbedderIdentity, Embedder] = {}
        self._chunkers: dict[str, Chunker] = {}

    def at(self, config: Config) -> Ingredients:
        """The same with another configuration: what either remembers, both do."""
        other = Ingredients(config)
        other.embedders, other._chunkers = self.embedders, self._chunkers
        return other

    def embedder(self, wanted: str | Embedder) -> Embedder | None:
        """The embedder of this name, or None for "none". An object is remembered under its spec."""
        if isinstance(wanted, str):
            own = [one for identity, one in self.embedders.items() if identity.spec == wanted]
            return own[-1] if own else resolve(wanted, openai_base_url=self.config.openai_base_url)
        resolved = resolve(wanted)  # refuses what is no embedder
        self.embedders.pop(wanted.identity, None)
        self.embedders[wanted.identity] = wanted  # the newest comes last
        return resolved

    def chunker(self, wanted: str | Chunker | None) -> Chunker:
        """The chunker of this name; None is the default. An object is remembered under its spec."""
        if wanted is None or isinstance(wanted, str):
            return self._chunkers[wanted] if wanted in self._chunkers else resolve_chunker(wanted)
        self._chunkers[wanted.spec] = wanted
        return resolve_chunker(wanted)

    def engines(self) -> tuple[EngineFacts, ...]:
        """The engines that may be named. The first look may take a second or two."""
        return registry.facts(self.config)

    def check_engine(self, name: str) -> None:
        """Raise `InvalidConfig` if no generation can be built with an engine of this name, `EngineUnavailable` if not here."""
        registry.check_name(name, self.config)

    def check_index(self, kind: IndexKind, engine: str | None) -> None:
        """Raise `InvalidConfig` if the engine of this name, None: the usual one, has no such vector index."""
        registry.check_index(registry.choose(self.config).engine if engine is None else engine, kind, self.config)


class Mixed(msgspec.Struct, frozen=True, eq=False):
    """A recipe with the objects that carry it out."""

    recipe: Recipe
    embedder: Any
    chunker: Any


def mix(
    ingredients: Ingredients,
    record: CollectionRecord,
    engine: str,
    *,
    embedder: str | Embedder | None,
    chunker: str | Chunker | None,
    analyzer: str | None,
    index: IndexKind | IndexSpec | None,
    target_recall: float | None = None,
    optimize_for: OptimizeFor | None = None,
) -> Mixed:
    """The recipe of a new generation: what is given, and for the rest what `record` says. Raises what an unknown name raises."""
    used = ingredients.embedder(record.embedder if embedder is None else embedder)
    try:
        cutter = ingredients.chunker(record.chunker if chunker is None else chunker)
    except InvalidConfig as error:
        if chunker is not None:
            raise
        raise InvalidConfig(
            f"the chunker {record.chunker!r} is one of your own: pass it to build() again, or another one ({error})", key="chunker"
        ) from None
    registry.check_name(engine, ingredients.config)
    recipe = Recipe(
        engine=engine,
        embedder=None if used is None else used.identity,
        dimension=None if used is None else used.identity.dimension,
        metric=record.metric,
        chunker=cutter.spec,
        analyzer=named_analyzer(record.analyzer if analyzer is None else analyzer).name,
        index=record.index if index is None else as_index_spec(index),
        vector_weight=_UNKNOWN_VECTOR_WEIGHT if used is None else used.vector_weight,
        goal=RecallGoal(
            record.goal.target_recall if target_recall is None else target_recall,
            record.goal.optimize_for if optimize_for is None else optimize_for,
        ),
    )
    registry.check_recipe(recipe, ingredients.config)
    return Mixed(recipe=recipe, embedder=used, chunker=cutter)


def as_index_spec(index: IndexKind | IndexSpec) -> IndexSpec:
    """An index given by its kind or in full."""
    return index if isinstance(index, IndexSpec) else IndexSpec(kind=index)
