"""What differs between two recipes, in words."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from outcrop.index_values import IndexSpec
from outcrop.model import EmbedderIdentity, Recipe


def recipe_changes(a: Recipe, b: Recipe) -> tuple[str, ...]:
    """One text for each difference, such as `analyzer: english -> german`. Empty if the recipes are the same."""
    words: list[tuple[str, Callable[[Recipe], str]]] = [
        ("engine", lambda recipe: recipe.engine),
        ("embedder", _embedder),
        ("chunker", lambda recipe: recipe.chunker),
        ("analyzer", lambda recipe: recipe.analyzer),
        ("index", lambda recipe: _index(recipe.index)),
        ("target recall", lambda recipe: f"{recipe.goal.target_recall:g}"),
        ("index optimized for", lambda recipe: recipe.goal.optimize_for),
        ("dimension", lambda recipe: "none" if recipe.dimension is None else str(recipe.dimension)),
        ("metric", lambda recipe: recipe.metric),
        ("vector weight", lambda recipe: f"{recipe.vector_weight:g}"),
    ]
    changes = [(name, say(a), say(b)) for name, say in words]
    told = [f"{name}: {before} -> {after}" for name, before, after in changes if before != after]
    if a.embedder is not None and b.embedder is not None and a.embedder.spec == b.embedder.spec:
        told += _identity_changes(a.embedder, b.embedder)
    return tuple(told)


def _embedder(recipe: Recipe) -> str:
    if recipe.embedder is not None:
        return recipe.embedder.spec
    return "none" if recipe.dimension is None else "given vectors"


def _identity_changes(a: EmbedderIdentity, b: EmbedderIdentity) -> list[str]:
    before, after = msgspec.structs.asdict(a), msgspec.structs.asdict(b)
    return [
        f"embedder's {name.replace('_', ' ')}: {before[name]} -> {after[name]}"
        for name in before
        if name != "dimension" and before[name] != after[name]
    ]


def _index(spec: IndexSpec) -> str:
    chosen = [f"{name}={value}" for name, value in msgspec.structs.asdict(spec).items() if name != "kind" and value is not None]
    return f"{spec.kind} ({', '.join(chosen)})" if chosen else spec.kind
