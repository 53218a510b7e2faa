"""A filter as a condition in SQL on the columns of a table.

There is no text of a user in it: names and values are letters, digits and underscores, made by `filter_terms`. NOT is moved down to
the comparisons, where it means IS NOT TRUE; above them only AND and OR are left, for which SQL's third truth value, at the end
counted as false, makes no difference.

LanceDB's parser gives up on deeply nested conditions, and longer chains than it expects would overflow its stack. So chains are cut
into groups, and what lies too deep is left out: then the condition selects more than the filter, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import msgspec

from outcrop import filter_terms
from outcrop.engines.lancedb.columns import ALL, HIGH, LOW, OTHERS, PATHS, has_others, other
from outcrop.filters import And, Compare, Exists, Filter, In, Not, Or, kind

_DEPTH_MAX = 18
_GROUP = 24


class Predicate(msgspec.Struct, frozen=True):
    """A condition in SQL. Unless it is `exact`, it selects more rows than the filter does, never fewer."""

    sql: str
    exact: bool


_ALWAYS = Predicate("true", exact=True)
_NEVER = Predicate("false", exact=True)
_UNKNOWN = Predicate("true", exact=False)


def compile_filter(where: Filter, names: AbstractSet[str]) -> Predicate:
    """The condition for a table with columns of these names."""
    return _compile(where, names, negated=False, depth=0)


def _compile(where: Filter, names: AbstractSet[str], *, negated: bool, depth: int) -> Predicate:
    match where:
        case Not(part):
            return _compile(part, names, negated=not negated, depth=depth)
        case And(parts) | Or(parts):
            if depth >= _DEPTH_MAX:
                return _UNKNOWN
            compiled = [_compile(part, names, negated=negated, depth=depth + 1) for part in parts]
            return _all(compiled) if isinstance(where, And) != negated else _any(compiled)
        case Compare() | In() | Exists():
            leaf = _leaf(where, names)
            if not negated:
                return leaf
            return Predicate(f"({leaf.sql}) IS NOT TRUE", exact=True) if leaf.exact else _UNKNOWN


def _all(parts: Sequence[Predicate]) -> Predicate:
    sql = [part.sql for part in parts if part.sql != "true"]
    return Predicate(_chain(sql, " AND ") if sql else "true", exact=all(part.exact for part in parts))


def _any(parts: Sequence[Predicate]) -> Predicate:
    if not parts:
        return _NEVER
    return Predicate(_chain([part.sql for part in parts], " OR "), exact=all(part.exact for part in parts))


def _chain(parts: Sequence[str], joined_by: str) -> str:
    while len(parts) > _GROUP:
        parts = [_chain(parts[start : start + _GROUP], joined_by) for start in range(0, len(parts), _GROUP)]
    return parts[0] if len(parts) == 1 else f"({joined_by.join(parts)})"


def _leaf(where: Compare | In | Exists, names: AbstractSet[str]) -> Predicate:
    match where:
        case Exists(field):
            return Predicate(f"array_has({PATHS}, '{filter_terms.hexed(field)}')", exact=True)
        case In(field, values):
            by_key: dict[str, list[str]] = {}
            for value in values:
                by_key.setdefault(filter_terms.key(field, kind(value)), []).append(filter_terms.term(value))
            return _any([_equals(key, terms, names) for key, terms in by_key.items()])
        case Compare(field, op, value):
            key, term = filter_terms.key(field, kind(value)), filter_terms.term(value)
            if op == "=":
                return _equals(key, [term], names)
            if key + LOW in names:
                return Predicate(_either(key, f"{op} '{term}'", names, low_only=op in ("<", "<=")), exact=True)
            if has_others(names):
                return Predicate(f"array_has({PATHS}, '{filter_terms.hexed(field)}')", exact=False)
            return _NEVER


def _equals(key: str, terms: Sequence[str], names: AbstractSet[str]) -> Predicate:
    if key + LOW in names:
        wanted = ", ".join(f"'{term}'" for term in terms)
        among = f"= {wanted}" if len(terms) == 1 else f"IN ({wanted})"
        found = _either(key, among, names, low_only=False)
        if key + ALL in names:
            found = f"({found} OR array_has_any({key}{ALL}, make_array({wanted})))"
        return Predicate(found, exact=True)
    if has_others(names):
        listed = ", ".join(f"'{other(key, term)}'" for term in terms)
        return Predicate(f"array_has_any({OTHERS}, make_array({listed}))", exact=True)
    return _NEVER


def _either(key: str, relation: str, names: AbstractSet[str], *, low_only: bool) -> str:
    low = f"{key}{LOW} {relation}"
    return low if low_only or key + HIGH not in names else f"({low} OR {key}{HIGH} {relation})"
