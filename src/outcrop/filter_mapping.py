"""The mapping spelling of a filter: `{"year": {"$gte": 2015}, "lang": {"$in": ["en", "de"]}, "archived": False}`."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping
from typing import Any, NoReturn

from outcrop.errors import InvalidFilter
from outcrop.filters import DEPTH_MAX, Compare, Exists, Filter, In, Not, Operator, all_of, any_of, negation

_COMPARISONS: dict[str, Operator] = {"$eq": "=", "$ne": "!=", "$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}
_FIELD_KEYS = (*_COMPARISONS, "$in", "$nin", "$exists", "$not")
_TOP_KEYS = ("$and", "$or", "$not")


def parse_mapping(where: Mapping[str, Any]) -> Filter:
    """The tree of a filter written as a mapping that is not empty.

    A key is a field, with a value or a mapping of operators (`$eq $ne $gt $gte $lt $lte $in $nin $exists $not`), or `$and`, `$or`
    (a list of mappings) or `$not` (a mapping). Several keys are joined with AND. None means missing.

    Raises `InvalidFilter` with `text` (the mapping's repr) and a `position` of None.
    """
    try:
        return _all_conditions(where, "the filter", DEPTH_MAX)
    except InvalidFilter as error:
        raise InvalidFilter(str(error), text=f"{reprlib.repr(where)}", position=None) from None


def _all_conditions(where: object, place: str, depth_left: int) -> Filter:
    """The conjunction that a mapping of fields (and `$and`, `$or`, `$not`) spells."""
    if not isinstance(where, Mapping) or not where:
        _refuse(f"{place}: expected a mapping such as {{'year': {{'$gte': 2015}}}}, found {reprlib.repr(where)}")
    if not depth_left:
        _refuse(f"a filter nests at most {DEPTH_MAX} levels deep")
    parts: list[Filter] = []
    for key, value in where.items():
        if not isinstance(key, str) or not key:
            _refuse(f"{place}: a field is non-empty text, found {reprlib.repr(key)}")
        if key == "$not":
            parts.append(negation(_all_conditions(value, "$not", depth_left - 1)))
        elif key in ("$and", "$or"):
            if not isinstance(value, list | tuple) or not value:
                _refuse(f"{place}: {key} takes a list of at least one mapping, found {reprlib.repr(value)}")
            inner = [_all_conditions(item, f"{key}[{index}]", depth_left - 1) for index, item in enumerate(value)]
            parts.append(all_of(inner) if key == "$and" else any_of(inner))
        elif key.startswith("$"):
            _refuse_key(key, place, _TOP_KEYS)
        else:
            parts.append(_field_conditions(key, value, depth_left - 1))
    return all_of(parts)


def _field_conditions(field: str, wanted: object, depth_left: int) -> Filter:
    """What a mapping asks of one field: a value, or a mapping of `$` operators."""
    if not isinstance(wanted, Mapping):
        return _condition(field, "$eq", wanted, depth_left)
    if not wanted or not all(isinstance(key, str) and key.startswith("$") for key in wanted):
        _refuse(
            f"{field!r}: expected operators such as {{'$gte': 2015}}, found {reprlib.repr(wanted)}; write a nested field as 'a.b'"
        )
    if not depth_left:
        _refuse(f"a filter nests at most {DEPTH_MAX} levels deep")
    return all_of([_condition(field, key, value, depth_left) for key, value in wanted.items()])


def _condition(field: str, key: str, value: Any, depth_left: int) -> Filter:
    if key in ("$in", "$nin"):
        if not isinstance(value, list | tuple | set | frozenset):
            _refuse(f"{field!r}: {key} takes a list of values, found {reprlib.repr(value)}")
        found = In(field, tuple(value))
        return found if key == "$in" else Not(found)
    if key == "$exists":
        if not isinstance(value, bool):
            _refuse(f"{field!r}: $exists takes True or False, found {reprlib.repr(value)}")
        return Exists(field) if value else Not(Exists(field))
    if key == "$not":
        return negation(_field_conditions(field, value, depth_left - 1))
    if key not in _COMPARISONS:
        _refuse_key(key, repr(field), _FIELD_KEYS)
    if value is None and key in ("$eq", "$ne"):  # null is missing, so this is IS NULL and IS NOT NULL
        return Exists(field) if key == "$ne" else Not(Exists(field))
    if isinstance(value, list | tuple | set | frozenset):
        _refuse(f"{field!r}: {key} takes one value, found a {type(value).__name__}; for one of several use $in")
    try:
        return Compare(field, _COMPARISONS[key], value)
    except InvalidFilter as error:
        _refuse(f"{field!r}: {error}")


def _refuse_key(key: str, place: str, allowed: tuple[str, ...]) -> NoReturn:
    near = difflib.get_close_matches(key, allowed, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    _refuse(f"{place}: unknown operator {reprlib.repr(key)}{hint} Allowed here: {' '.join(allowed)}")


def _refuse(message: str) -> NoReturn:
    raise InvalidFilter(message, text=None, position=None)
