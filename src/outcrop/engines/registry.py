"""Which engines there are, which one a configuration gets, and which ones a generation is opened with."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import msgspec

from outcrop import files
from outcrop.config import Config
from outcrop.engines.builtin import BuiltinEngine
from outcrop.engines.fallback import FallbackEngine, FallbackIndex, NoIndex, Policy
from outcrop.engines.lancedb import LanceEngine, library, location
from outcrop.engines.protocol import Availability, Engine, GenerationIndex
from outcrop.errors import EngineUnavailable, IllegalState, InvalidConfig
from outcrop.memory import share_bytes
from outcrop.model import Recipe, Running
from outcrop.reloading import LiveConfig

BUILTIN, LANCEDB = "builtin", "lancedb"
BOTH = f"{LANCEDB}+{BUILTIN}"

_NAMES = (BUILTIN, LANCEDB)
_NEVER_LOADED = Availability(
    available=False, reason="mode mvp_only never loads LanceDB", remedy='open the database in mode "production" or "default"'
)
_FORKED = Availability(available=False, reason=library.FORKED, remedy=library.FORKED_REMEDY)


class Choice(msgspec.Struct, frozen=True):
    """The engine that new generations get, and what to tell the user about it."""

    engine: str
    running: Running


class EngineFacts(msgspec.Struct, frozen=True):
    """An engine that a build may name: whether it works here and, if not, why and what to do; which vector indexes it has.

    `usual`: it is the one that a build gets which names none.
    """

    name: str
    available: bool
    reason: str | None
    remedy: str | None
    index_kinds: tuple[str, ...]
    usual: bool


def choose(config: Config) -> Choice:
    """The engine for a configuration. Falls back to the built-in one where the configuration allows it, and says so.

    Raises `EngineUnavailable` with reason and remedy where it does not allow it.
    """
    if not config.use_lancedb:
        return Choice(engine=BUILTIN, running=Running(engine=BUILTIN))
    found = availability(LANCEDB, config)
    if config.fallback_to_mvp:
        reason = None if found.available else f"LanceDB: {found.reason}"
        running = Running(engine=LANCEDB, fallback=BUILTIN) if reason is None else Running(engine=BUILTIN, reason=reason)
        return Choice(engine=BOTH, running=running)
    if not found.available:
        raise _unavailable(LANCEDB, found)
    return Choice(engine=LANCEDB, running=Running(engine=LANCEDB))


def running(choice: Choice, config: Config) -> Running:
    """What runs in this process of what was chosen: not LanceDB, if it was forked from one that had used that."""
    if not config.use_lancedb or not library.is_forked():
        return choice.running
    if config.fallback_to_mvp:
        return Running(engine=BUILTIN, reason=f"LanceDB: {library.FORKED}")
    return Running(engine=LANCEDB, reason=library.FORKED)


def engine(
    name: str, config: Config, *, directory: Path | None = None, read_only: bool = False, live: LiveConfig | None = None
) -> Engine:
    """The engine that a generation is made with, or, where it is in a `directory` already, opened with.

    A generation has the engines that its recipe names, and LanceDB also if one was added to it. Where it has both, a configuration
    that uses LanceDB gets both as one; the others get the built-in one. `read_only`: nothing is written to LanceDB. For as long as
    it is open, how patient it is with LanceDB is asked of `live`, where there is one.

    Raises `EngineUnavailable` if none of them works here.
    """
    has = name.split("+")
    if BUILTIN in has and config.use_lancedb and (LANCEDB in has or directory is not None):
        policy = partial(_policy, LiveConfig(config) if live is None else live, follows=not read_only)
        return FallbackEngine(name, partial(_lancedb_of, name, config, directory), _builtin(config), policy)
    if BUILTIN in has:
        return _builtin(config)
    found = availability(name, config)
    if not found.available:
        raise _unavailable(name, found)
    return _lancedb(config)


def drop(directory: Path, config: Config) -> None:
    """Have the engines remove what they keep outside of the folder of a generation, sealed or not, that is to be removed.

    The folder may have been renamed. May be done again. If it raises, something stays, and the folder is needed the next time.
    Raises `StorageFailed`, and `EngineUnavailable` if a table is in an object store and LanceDB does not work here.
    """
    _builtin(config).drop(directory)
    if location.has_table_in_a_store(directory):
        found = availability(LANCEDB, config)
        if not found.available:
            raise _unavailable(LANCEDB, found)
    _lancedb(config).drop(directory)


def keep_only_places(directory: Path) -> None:
    """Empty the folder of a generation, but for what says where its LanceDB tables lie: so that `drop` can be tried again."""
    kept = location.noting(directory)
    with files.storage_errors(directory):
        for child in directory.iterdir():
            if child.is_dir() and child not in kept:
                shutil.rmtree(child)
            elif child not in kept:
                child.unlink()


def table_uri(directory: Path) -> str | None:
    """Where the LanceDB table of a generation lies, if not in its folder; None also where that cannot be read any more."""
    return location.uri_elsewhere(directory)


def repair(index: GenerationIndex, config: Config) -> int:
    """Build the LanceDB index of an open generation anew from its documents, or the first one; how many chunks it has then.

    Raises `IllegalState` where there is nothing to build it from, `EngineUnavailable`.
    """
    if not config.use_lancedb:
        raise IllegalState(
            f"mode {config.mode} does not use LanceDB, and the built-in index is what answers: repair in mode production or"
            " lancedb_test"
        )
    if not isinstance(index, FallbackIndex):
        raise IllegalState(
            "the generation is held by LanceDB alone, and nothing else has its vectors: roll back to another generation, or build a"
            " new one"
        )
    found = availability(LANCEDB, config)
    if not found.available:
        raise _unavailable(LANCEDB, found)
    return index.rebuild(_lancedb(config))


def availability(name: str, config: Config) -> Availability:
    """Whether an engine works here."""
    if name == BUILTIN:
        return _builtin(config).availability()
    if name != LANCEDB:
        return Availability(available=False, reason=f"there is no engine {name!r}", remedy=f"use one of: {', '.join(names())}")
    if config.mode == "mvp_only":
        return _NEVER_LOADED
    if library.is_forked():
        return _FORKED
    return LanceEngine().availability()


def check_name(name: str, config: Config) -> None:
    """Raise `InvalidConfig` if no generation can be built with an engine of this name, `EngineUnavailable` if not here."""
    if name not in (BUILTIN, LANCEDB, BOTH):
        raise InvalidConfig(f"there is no engine {name!r}; use one of: {BUILTIN}, {LANCEDB}, {BOTH}", key="engine")
    if name == BOTH and not config.use_lancedb:
        raise InvalidConfig(
            f"engine {BOTH!r} is for a configuration that uses LanceDB, and mode {config.mode} does not; use mode production",
            key="engine",
        )
    engine(name, config)


def check_recipe(recipe: Recipe, config: Config) -> None:
    """Raise `InvalidConfig` if the recipe's engine has no such vector index."""
    check_index(recipe.engine, recipe.index.kind, config)


def check_index(name: str, kind: str, config: Config) -> None:
    """Raise `InvalidConfig` if the engine of this name has no such vector index."""
    kinds = engine(name, config).capabilities.index_kinds
    if kind != "auto" and kind not in kinds:
        raise InvalidConfig(
            f"the engine {name!r} has no vector index {kind!r}; it has {', '.join(kinds)}, and 'auto' chooses one. Give"
            " build() another index",
            key="index",
        )


def facts(config: Config) -> tuple[EngineFacts, ...]:
    """The engines that a build may name. Where nobody has asked yet, LanceDB is tried out, which takes a second or two."""
    usual = BUILTIN if not config.use_lancedb else BOTH if config.fallback_to_mvp else LANCEDB
    found = {BUILTIN: availability(BUILTIN, config), LANCEDB: availability(LANCEDB, config)}
    unused = Availability(available=False, reason=f"mode {config.mode} does not use LanceDB", remedy="use mode production")
    found[BOTH] = found[BUILTIN] if config.use_lancedb else unused
    kinds = {BUILTIN: _builtin(config).capabilities.index_kinds, LANCEDB: _lancedb(config).capabilities.index_kinds}
    alone = not found[LANCEDB].available
    kinds[BOTH] = tuple(kind for kind in kinds[BUILTIN] if alone or kind in kinds[LANCEDB])
    return tuple(
        EngineFacts(name, one.available, one.reason, one.remedy, kinds[name], usual=name == usual) for name, one in found.items()
    )


def names() -> tuple[str, ...]:
    """The engines that there are."""
    return _NAMES


def _builtin(config: Config) -> BuiltinEngine:
    return BuiltinEngine(part_bytes_max=config.part_bytes_max, memory_bytes=share_bytes(config.memory_budget, "indexing"))


def _lancedb(config: Config) -> LanceEngine:
    return LanceEngine(config.lancedb_uri, memory_bytes=share_bytes(config.memory_budget, "indexing"))


def _policy(live: LiveConfig, *, follows: bool) -> Policy:
    config = live.current
    return Policy(
        failures_max=config.breaker_failures_max,
        open_seconds=config.breaker_open_seconds,
        apply_seconds=config.lancedb_apply_seconds,
        follows=follows,
        second_serves=config.fallback_to_mvp,
    )


def _lancedb_of(name: str, config: Config, directory: Path | None) -> Engine:
    """LanceDB, for a generation that has or gets an index of it. Asked again whenever it may have changed."""
    if LANCEDB not in name.split("+") and directory is not None and not (directory / LANCEDB).is_dir():
        number = directory.name.partition("-")[0].lstrip("0")
        collection = directory.parent.parent.name
        remedy = f"outcrop repair {collection} --generation {number} --mode production"
        reason = f"generation {number} has no LanceDB index; {remedy} builds it"
        raise NoIndex(reason, engine=LANCEDB, reason=reason, remedy=remedy)
    found = availability(LANCEDB, config)
    if not found.available:
        raise _unavailable(LANCEDB, found)
    return _lancedb(config)


def _unavailable(name: str, found: Availability) -> EngineUnavailable:
    return EngineUnavailable(
        f"the engine {name!r} cannot be used: {found.reason}. Remedy: {found.remedy}.",
        engine=name,
        reason=found.reason,
        remedy=found.remedy,
    )
