"""Which engines there are, and which one a configuration gets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from outcrop.config import Config
from outcrop.engines.builtin import BuiltinEngine
from outcrop.engines.protocol import Availability, Engine
from outcrop.errors import EngineUnavailable
from outcrop.model import Running

_NO_LANCEDB = Availability(
    available=False,
    reason="this release of Outcrop has no LanceDB engine yet",
    remedy='use mode "default" or "mvp_only", which run on the built-in engine',
)
_UNAVAILABLE: Mapping[str, Availability] = MappingProxyType({"lancedb": _NO_LANCEDB})


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
    found = availability("lancedb", config)
    if not config.fallback_to_mvp:
        raise _unavailable("lancedb", found)
    return Choice(engine="builtin", running=Running(engine="builtin", reason=f"LanceDB: {found.reason}"))


def engine(name: str, config: Config) -> Engine:
    """The engine with this name. Raises `EngineUnavailable` if it does not work here."""
    if name == "builtin":
        return BuiltinEngine(part_bytes_max=config.part_bytes_max)
    raise _unavailable(name, availability(name, config))


def availability(name: str, config: Config) -> Availability:
    """Whether an engine works here."""
    if name == "builtin":
        return engine(name, config).availability()
    return _UNAVAILABLE.get(
        name, Availability(available=False, reason=f"there is no engine {name!r}", remedy=f"use one of: {', '.join(names())}")
    )


def names() -> tuple[str, ...]:
    """The engines that `doctor` reports on."""
    return ("builtin", *_UNAVAILABLE)


def _unavailable(name: str, found: Availability) -> EngineUnavailable:
    return EngineUnavailable(
        f"the engine {name!r} cannot be used: {found.reason}. Remedy: {found.remedy}.",
        engine=name,
        reason=found.reason,
        remedy=found.remedy,
    )
