"""A configuration that changes while the database is open: one reference, swapped whole, and an account of what has changed.

Whoever does something reads `LiveConfig.current` once, at its start, and works with that to its end. What cannot change while a
database is open (`Rule.restart` says why) stays as it was, whatever the file says; so what a mode promises holds for every
configuration that is ever in effect.
"""

from __future__ import annotations

import msgspec

from outcrop.config import PRESET_DEFAULT, Config, defaults, of_values, value_of
from outcrop.settings import RULES


class LiveConfig:
    """The configuration in effect. Reading it is atomic, and so is replacing it."""

    __slots__ = ("current",)

    def __init__(self, current: Config) -> None:
        self.current = current


class ChangedSetting(msgspec.Struct, frozen=True):
    """A setting that has another value than before, and where that comes from (as `Setting.origin`)."""

    key: str
    before: object
    after: object
    origin: str


class WaitingSetting(msgspec.Struct, frozen=True):
    """A setting that was given another value than the one in effect, which waits until the database is opened anew, and why."""

    key: str
    in_effect: object
    given: object
    origin: str
    reason: str


class Reloaded(msgspec.Struct, frozen=True):
    """What a reload did: what has changed, what waits for a restart, and the hash of the configuration that is in effect now."""

    changed: tuple[ChangedSetting, ...]
    needs_restart: tuple[WaitingSetting, ...]
    hash: str


def merged(running: Config, given: Config) -> Config:
    """The configuration to be in effect where `running` is and `given` is wanted: its values for all keys that a reload applies.

    Where a key was left to the mode, that is the mode which is running, even if another one is given.
    """
    usual, said = defaults(running.mode), dict(given.origins)
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for key, rule in RULES.items():
        source = running if rule.restart is not None else given
        origin = dict(source.origins).get(key, PRESET_DEFAULT)
        values[key] = usual[key] if rule.restart is None and key not in said else value_of(source, key)
        if origin != PRESET_DEFAULT:
            origins[key] = origin
    return of_values(values, tuple(origins.items()))


def compared(before: Config, after: Config, given: Config) -> Reloaded:
    """What a reload from `before` to `after` did, where `given` was wanted."""
    origins = {one.key: one.origin for one in given.settings()}
    changed = tuple(
        ChangedSetting(key, value_of(before, key), value_of(after, key), origins[key])
        for key in RULES
        if value_of(before, key) != value_of(after, key)
    )
    waiting = tuple(
        WaitingSetting(key, value_of(after, key), value_of(given, key), origins[key], rule.restart)
        for key, rule in RULES.items()
        if rule.restart is not None and key != "path" and value_of(after, key) != value_of(given, key)
    )
    return Reloaded(changed=changed, needs_restart=waiting, hash=after.hash)
