"""One filter language, one meaning: a small tree of conditions on metadata, its two spellings and its exact evaluation.

The meaning, the same on every engine:

- Two-valued logic. A comparison (also `!=`) with a missing field, or with a value of another type, is false; its NOT is true.
- Integers and floats are numbers and compare exactly, also beyond 2**53. Booleans are not numbers. Text compares by code point.
- `a.b` is the field `b` of the object `a`; a key that itself holds a dot means the same.
- A list matches if any of its elements does; `a.b` reaches into a list of objects.
- Null is missing. A field *exists* where there is a value at it or below it; null, `[]` and `{}` hold none.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from outcrop.errors import InvalidFilter

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Value: TypeAlias = bool | int | float | str

DEPTH_MAX = 64
CONDITIONS_MAX = 10_000
FIELD_BYTES_MAX = 1_000
STRING_BYTES_MAX = 30_000
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**63 - 1


class Compare(msgspec.Struct, frozen=True, tag="compare"):
    """`field op value`. True if any value of the field has the type of `value` and stands in that relation to it."""

    field: str
    op: Operator
    value: Value

    def __post_init__(self) -> None:
        if self.op not in _OPERATORS:
            raise InvalidFilter(f"a comparison is one of {' '.join(_OPERATORS)}, found {self.op!r}", text=None, position=None)
        _check_field(self.field)
        msgspec.structs.force_setattr(self, "value", checked_value(self.value))


class In(msgspec.Struct, frozen=True, tag="in"):
    """`field IN (values)`. True if any value of the field equals one of them; with no values it is always false."""

    field: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        _check_field(self.field)
        msgspec.structs.force_setattr(self, "values", tuple(checked_value(value) for value in self.values))


class Exists(msgspec.Struct, frozen=True, tag="exists"):
    """`field IS NOT NULL`. True if there is a value at the field or below it."""

    field: str

    def __post_init__(self) -> None:
        _check_field(self.field)


class And(msgspec.Struct, frozen=True, tag="and"):
    """True if every part is; with no parts it is always true."""

    parts: tuple[Filter, ...]


class Or(msgspec.Struct, frozen=True, tag="or"):
    """True if any part is; with no parts it is always false."""

    parts: tuple[Filter, ...]


class Not(msgspec.Struct, frozen=True, tag="not"):
    """True if the part is false."""

    part: Filter


Filter: TypeAlias = Compare | In | Exists | And | Or | Not


def parse(where: str | Mapping[str, Any] | Filter | None) -> Filter | None:
    """The tree of a filter in either spelling; None, and an empty mapping, mean no filter.

    Raises `InvalidFilter` with `text` and `position` (0-based, None for a mapping).
    """
    if where is None or isinstance(where, Compare | In | Exists | And | Or | Not):
        return where
    raise InvalidFilter("filters are not parsed yet", text=None, position=None)


def fields(where: Filter) -> frozenset[str]:
    """The fields that a filter names."""
    if isinstance(where, Compare | In | Exists):
        return frozenset((where.field,))
    parts = (where.part,) if isinstance(where, Not) else where.parts
    return frozenset().union(*(fields(part) for part in parts))


def matches(where: Filter, metadata: Mapping[str, Any]) -> bool:
    """Whether a document with this metadata is selected. This function is the definition of what a filter means.

    >>> matches(Compare("year", ">=", 2015), {"year": 2016.5}), matches(Compare("year", "!=", 2015), {})
    (True, False)
    """
    found: dict[str, list[Value]] = {}
    for path, value in leaves(metadata):
        found.setdefault(path, []).append(value)
    return _holds(where, found)


def leaves(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    """Every value in `metadata` with its dotted path: objects and lists are walked, nulls left out."""
    for key, value in metadata.items():
        yield from _leaves(key, value)


def same_kind(left: Value, right: Value) -> bool:
    """Whether two values can be compared: both booleans, both text, or both numbers."""
    return _kind(left) == _kind(right)


def checked_value(value: object) -> Value:
    """`value` as a filter compares it: a whole float in the range of 64-bit integers becomes an integer, as it equals it.

    Raises `InvalidFilter` for NaN, infinity, integers beyond 64 bits, text over 30,000 bytes and any other type.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _checked_text(value, STRING_BYTES_MAX, "a text in a filter")
    if isinstance(value, int):
        if not _INTEGER_MIN <= value <= _INTEGER_MAX:
            raise InvalidFilter("an integer in a filter does not fit in 64 bits", text=None, position=None)
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidFilter(f"a number in a filter must be finite, found {value}", text=None, position=None)
        return int(value) if value.is_integer() and -(2.0**63) <= value < 2.0**63 else float(value)
    raise InvalidFilter(
        f"a filter compares with text, numbers and booleans, found {type(value).__name__}: {value!r:.60}", text=None, position=None
    )


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _holds(where: Filter, found: Mapping[str, list[Value]]) -> bool:
    match where:
        case Compare(field, op, value):
            test = _OPERATORS[op]
            return any(same_kind(item, value) and test(item, value) for item in found.get(field, ()))
        case In(field, values):
            return any(same_kind(item, value) and item == value for item in found.get(field, ()) for value in values)
        case Exists(field):
            return any(path == field or path.startswith(field + ".") for path in found)
        case And(parts):
            return all(_holds(part, found) for part in parts)
        case Or(parts):
            return any(_holds(part, found) for part in parts)
        case Not(part):
            return not _holds(part, found)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Value]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}", item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(path, item)
    elif value is not None:
        yield path, value


def _kind(value: Value) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def _check_field(field: object) -> None:
    if not isinstance(field, str) or not field:
        raise InvalidFilter(f"a field in a filter is non-empty text, found {field!r:.60}", text=None, position=None)
    _checked_text(field, FIELD_BYTES_MAX, "the name of a field in a filter")


def _checked_text(text: str, bytes_max: int, what: str) -> str:
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidFilter(f"{what} is not valid Unicode: {text!r:.60}", text=None, position=None) from None
    if size_bytes > bytes_max:
        raise InvalidFilter(f"{what} is {size_bytes} bytes long; the limit is {bytes_max}", text=None, position=None)
    return text
