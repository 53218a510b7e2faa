"""Metadata as columns of a table, and a filter as a condition on them.

Of the values of one type at one path (one *key*, see `filter_terms`) a row holds the least in the column `<key>_low`; the greatest
in `<key>_high`, if there are two different ones at least; all of them in the list `<key>_all`, if there are three. So a field that
never holds a list has one column. `paths` lists every path at which or below which the row has a value.

A table has a bounded number of keys. The values of further ones are all in one list, `others`: an equality with one of them is
still exact; a range is not, and selects every row that has the path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from outcrop import filter_terms
from outcrop.engines.lancedb.library import arrow
from outcrop.filters import kind, leaves

PATHS, OTHERS = "paths", "others"
LOW, HIGH, ALL = "_low", "_high", "_all"
KEYS_MAX = 200


class Values(msgspec.Struct, frozen=True):
    """What a row holds for filters: its paths in hex, and for each key its different values in their order."""

    paths: tuple[str, ...]
    by_key: dict[str, tuple[str, ...]]


def values_of(metadata: Mapping[str, Any]) -> Values:
    """The values of one chunk's metadata."""
    paths: set[str] = set()
    by_key: dict[str, set[str]] = {}
    for path, value in leaves(metadata):
        paths.update(filter_terms.paths(path))
        key = filter_terms.key(path, kind(value))
        if len(key) <= filter_terms.KEY_LENGTH_MAX:
            by_key.setdefault(key, set()).add(filter_terms.term(value))
    return Values(paths=tuple(sorted(paths)), by_key={key: tuple(sorted(found)) for key, found in by_key.items()})


def keys_in(names: Iterable[str]) -> frozenset[str]:
    """The keys that have columns among the columns of these names."""
    return frozenset(name.removesuffix(LOW) for name in names if name.endswith(LOW))


def fields_in(names: Iterable[str]) -> frozenset[str]:
    """The paths that have columns."""
    return frozenset(filter_terms.path_of(key) for key in keys_in(names))


def lacking(rows: Sequence[Values], names: Iterable[str]) -> list[Any]:
    """The Arrow fields of the columns that these rows need and a table with columns of these names lacks."""
    known = set(names)
    keys = set(keys_in(known))
    counts: dict[str, int] = {}
    for row in rows:
        for key, found in row.by_key.items():
            counts[key] = max(counts.get(key, 0), len(found))
    fields = []
    for key, count in counts.items():
        if key not in keys and len(keys) >= KEYS_MAX:
            continue
        keys.add(key)
        for suffix, needed in ((LOW, 1), (HIGH, 2), (ALL, 3)):
            if count >= needed and key + suffix not in known:
                fields.append(_field(key + suffix))
    return fields


def arrays(rows: Sequence[Values], names: Iterable[str]) -> dict[str, Any]:
    """For each column of these names what the rows hold in it, as Arrow arrays. Every value is in one that they need."""
    pa = arrow()
    texts, lists = pa.string(), pa.list_(pa.string())
    made: dict[str, Any] = {}
    for name in names:
        if name.endswith(LOW):
            found = (row.by_key.get(name.removesuffix(LOW)) for row in rows)
            made[name] = pa.array([values[0] if values else None for values in found], texts)
        elif name.endswith(HIGH):
            found = (row.by_key.get(name.removesuffix(HIGH)) for row in rows)
            made[name] = pa.array([values[-1] if values and len(values) > 1 else None for values in found], texts)
        elif name.endswith(ALL):
            found = (row.by_key.get(name.removesuffix(ALL)) for row in rows)
            made[name] = pa.array([list(values) if values and len(values) > 2 else None for values in found], lists)
    keys = keys_in(made)
    made[PATHS] = pa.array([list(row.paths) if row.paths else None for row in rows], lists)
    made[OTHERS] = pa.array([_others(row, keys) for row in rows], lists)
    return made


def has_others(names: Iterable[str]) -> bool:
    """Whether a table with columns of these names may hold values of keys that have none."""
    return len(keys_in(names)) >= KEYS_MAX


def other(key: str, term: str) -> str:
    """A value of a key without columns, as `others` lists it."""
    return f"{key}_{term}"


def _others(row: Values, keys: frozenset[str]) -> list[str] | None:
    found = [other(key, term) for key, terms in row.by_key.items() if key not in keys for term in terms]
    return found if found else None


def _field(name: str) -> Any:
    pa = arrow()
    return pa.field(name, pa.list_(pa.string()) if name.endswith(ALL) else pa.string())
