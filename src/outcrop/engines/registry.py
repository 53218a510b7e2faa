"""Which engines there are, and which one a configuration gets."""

from __future__ import annotations

import msgspec

from outcrop.config import Config
from outcrop.engines.builtin import BuiltinEngine
from outcrop.engines.lancedb import LanceEngine
from outcrop.engines.protocol import Availability, Engine
from outcrop.errors import EngineUnavailable, InvalidConfig
from outcrop.model import Recipe, Running

_NAMES = ("builtin", "lancedb")
_NOT_COMPOSED = "this release does not yet run LanceDB and the fallback side by side; mode lancedb_test runs LanceDB alone"
_NEVER_LOADED = Availability(
    available=False, reason="mode mvp_only never loads LanceDB", remedy='open the database in mode "default" or "lancedb_test"'
)


class Choice(msgspec.Struct, frozen=True):
    """The engine that new generations get, and what to tell the user about it."""

    engine: str
    running: Running


def choose(config: Config) -> Choice:
    """The engine for a configuration. Falls back to the built-in one where the configuration allows it, and says so.

    Raises `EngineUnavailable` with reason and remedy where it does not allow it.
    """
    if not config.use_lancedb:
        return Choice(engine="builtin", running=Running(engine="builtin"))
    if config.fallback_to_mvp:
        return Choice(engine="builtin", running=Running(engine="builtin", reason=f"LanceDB: {_NOT_COMPOSED}"))
    engine("lancedb", config)
    return Choice(engine="lancedb", running=Running(engine="lancedb"))


def engine(name: str, config: Config) -> Engine:
    """The engine with this name. Raises `EngineUnavailable` if it does not work here."""
    if name == "builtin":
        return BuiltinEngine(part_bytes_max=config.part_bytes_max)
    found = availability(name, config)
    if not found.available:
        raise _unavailable(name, found)
    return LanceEngine()


def availability(name: str, config: Config) -> Availability:
    """Whether an engine works here."""
    if name == "builtin":
        return engine(name, config).availability()
    if name != "lancedb":
        return Availability(available=False, reason=f"there is no engine {name!r}", remedy=f"use one of: {', '.join(names())}")
    if config.mode == "mvp_only":
        return _NEVER_LOADED
    return LanceEngine().availability()


def check_recipe(recipe: Recipe, config: Config) -> None:
    """Raise `InvalidConfig` if the recipe's engine has no such vector index."""
    kind, kinds = recipe.index.kind, engine(recipe.engine, config).capabilities.index_kinds
    if kind != "auto" and kind not in kinds:
        raise InvalidConfig(
            f"the engine {recipe.engine!r} has no vector index {kind!r}; it has {', '.join(kinds)}, and 'auto' chooses one. Give"
            " build() another index",
            key="index",
        )


def names() -> tuple[str, ...]:
    """The engines that there are."""
    return _NAMES


def _unavailable(name: str, found: Availability) -> EngineUnavailable:
    return EngineUnavailable(
        f"the engine {name!r} cannot be used: {found.reason}. Remedy: {found.remedy}.",
        engine=name,
        reason=found.reason,
        remedy=found.remedy,
    )
