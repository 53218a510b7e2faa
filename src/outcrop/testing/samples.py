"""Random metadata and random filters for comparing an engine with the oracle.

Few fields and values, so that filters hit; but all the awkward ones: integers around 2**53 and at the ends of 64 bits, floats next
to them, text that looks like numbers, empty, beyond the basic plane or very long, several types in one field, lists, nulls, objects
in lists, keys with dots and spaces. Every choice is drawn from the `random.Random` that is passed in.
"""

from __future__ import annotations

import random
from typing import Any, get_args

from outcrop.filters import (
    STRING_BYTES_MAX,
    And,
    Compare,
    Exists,
    Filter,
    In,
    Not,
    Operator,
    Or,
    Value,
    all_of,
    any_of,
    negation,
)

NUMBERS: tuple[float, ...] = (
    *(0, 1, 2, -3, 2015, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**60 + 1, 2**63 - 1, 2**63 - 2, -(2**63), -(2**63) + 1),
    *(-0.0, 0.5, 1.0, 2.5, -2.5, 2015.0, 5e-324, -5e-324, 1e300, -1e300, 2.0**53, 2.0**60, 2.0**63, -(2.0**63), 2.0**64),
)
TEXTS: tuple[str, ...] = (
    *("", "a", "aa", "b", "B", "en", "0", "1", "2015", "true", "null", "it's", 'say "x"', "a b", "\x00", "a\x00", "é", "e\u0301"),
    *("\uffff", "\U0001f600", "z" * STRING_BYTES_MAX),
)
LONG_TEXTS: tuple[str, ...] = ("z" * (STRING_BYTES_MAX + 1), "z" * (2 * STRING_BYTES_MAX) + "a", "é" * STRING_BYTES_MAX)
KEYS: tuple[str, ...] = ("year", "lang", "a", "b", "a.b", "odd key", "Ünï", "group", "$x", ".")
PATHS: tuple[str, ...] = (*KEYS, "a.a", "a.b.a", "b.a", "b.a.b", "odd key.a", "missing", "lang.en")
OPERATORS: tuple[Operator, ...] = get_args(Operator)


def metadata(rng: random.Random) -> dict[str, Any]:
    """The metadata of a document: up to five keys with values of any shape."""
    return {rng.choice(KEYS): _shape(rng, 3) for _ in range(rng.randrange(6))}


def condition(rng: random.Random, depth: int = 3) -> Filter:
    """A filter in canonical form (what `parse` gives), at most `depth` operators deep."""
    choice = rng.randrange(10) if depth else rng.randrange(6)
    if choice < 4:
        return Compare(rng.choice(PATHS), rng.choice(OPERATORS), value(rng))
    if choice == 4:
        return In(rng.choice(PATHS), tuple(value(rng) for _ in range(rng.randrange(5))))
    if choice == 5:
        return Exists(rng.choice(PATHS))
    if choice == 6:
        return negation(condition(rng, depth - 1))
    parts = [condition(rng, depth - 1) for _ in range(rng.randrange(1, 4))]
    return all_of(parts) if choice < 8 else any_of(parts)


def value(rng: random.Random) -> Value:
    """A value that a filter may compare with."""
    choice = rng.randrange(10)
    if choice < 5:
        return rng.choice(NUMBERS)
    return rng.choice(TEXTS) if choice < 9 else rng.choice((False, True))


def as_text(where: Filter) -> str:
    """The text spelling of a filter, fully parenthesized, so that `parse` gives the tree again."""
    match where:
        case Compare(field, op, wanted):
            return f"{_name(field)} {op} {_literal(wanted)}"
        case In(field, values):
            return f"{_name(field)} IN ({', '.join(_literal(item) for item in values)})"
        case Exists(field):
            return f"{_name(field)} IS NOT NULL"
        case Not(Exists(field)):
            return f"{_name(field)} IS NULL"
        case Not(In(field, values)):
            return f"{_name(field)} NOT IN ({', '.join(_literal(item) for item in values)})"
        case Not(part):
            return f"NOT ({as_text(part)})"
        case And(parts):
            return " AND ".join(f"({as_text(part)})" for part in parts)
        case Or(parts):
            return " OR ".join(f"({as_text(part)})" for part in parts)


def as_mapping(where: Filter) -> dict[str, Any]:
    """The mapping spelling of a filter, which `parse` reads as the same tree. A field that starts with `$` has none."""
    match where:
        case Compare(field, op, wanted):
            keys: dict[Operator, str] = {"=": "$eq", "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
            return {field: {keys[op]: wanted}}
        case In(field, values):
            return {field: {"$in": list(values)}}
        case Exists(field):
            return {field: {"$exists": True}}
        case Not(part):
            return {"$not": as_mapping(part)}
        case And(parts):
            return {"$and": [as_mapping(part) for part in parts]}
        case Or(parts):
            return {"$or": [as_mapping(part) for part in parts]}


def _shape(rng: random.Random, depth: int) -> Any:
    choice = rng.randrange(12) if depth else rng.randrange(8)
    if choice < 7:
        return value(rng) if rng.randrange(15) else rng.choice(LONG_TEXTS)
    if choice == 7:
        return None
    if choice < 10:
        return [_shape(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(KEYS): _shape(rng, depth - 1) for _ in range(rng.randrange(4))}


def _name(field: str) -> str:
    return '"' + field.replace('"', '""') + '"'


def _literal(wanted: Value) -> str:
    if isinstance(wanted, bool):
        return "TRUE" if wanted else "FALSE"
    return "'" + wanted.replace("'", "''") + "'" if isinstance(wanted, str) else repr(wanted)
