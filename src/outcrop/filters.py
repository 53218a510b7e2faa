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
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NoReturn, TypeAlias

import msgspec
import numpy as np

from outcrop.errors import InvalidFilter

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Value: TypeAlias = bool | int | float | str

DEPTH_MAX = 32
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
            _refuse(f"a comparison is one of {' '.join(_OPERATORS)}, found {self.op!r}")
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
    """The tree of a filter in either spelling; None, and an empty mapping, mean no filter. The same meaning gives the same tree.

    A filter nests at most 32 levels deep and holds at most 10,000 conditions and values.

    Raises `InvalidFilter` with `text` and `position` (0-based, None for a mapping).

    >>> parse("year >= 2015 AND NOT archived") == parse({"year": {"$gte": 2015}, "$not": {"archived": True}})
    True
    """
    if where is None:
        return None
    if isinstance(where, str):
        from outcrop.filter_text import parse_text  # here, because the SQL parser takes 150 ms to import

        tree = parse_text(where)
    elif isinstance(where, Compare | In | Exists | And | Or | Not):
        tree = where
    elif isinstance(where, Mapping):
        if not where:
            return None
        from outcrop.filter_mapping import parse_mapping

        tree = parse_mapping(where)
    else:
        _refuse(f"a filter is text or a mapping, found {type(where).__name__}: {reprlib.repr(where)}")
    _check_size(tree)
    return tree


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
        if isinstance(value, str | int | float):  # most are, and a generator for each would take most of the time
            yield key, value
        elif value is not None:
            yield from _leaves(key, value)


def same_kind(left: Value, right: Value) -> bool:
    """Whether two values can be compared: both booleans, both text, or both numbers."""
    return kind(left) == kind(right)


def kind(value: Value) -> Literal["boolean", "number", "text"]:
    """The type of a value, as filters see it."""
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def number_key(value: float) -> tuple[float, int]:
    """The float64 nearest to a number, and the integer that is left: at most 512 either way, and 0 up to 2**53.

    The pairs order integers of 64 bits and floats together, exactly as the numbers are ordered.

    >>> number_key(2**53 + 1), number_key(0.5)
    ((9007199254740992.0, 1), (0.5, 0))
    """
    nearest = float(value)
    if isinstance(value, float) or -(2**53) <= value <= 2**53:
        return nearest, 0
    return nearest, value - int(nearest)


def checked_value(value: object) -> Value:
    """`value` as a filter compares it: a whole float in the range of 64-bit integers becomes an integer, as it equals it.

    Raises `InvalidFilter` for NaN, infinity, integers beyond 64 bits, text over 30,000 bytes and any other type.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _checked_text(str.__str__(value), STRING_BYTES_MAX, "a text in a filter")
    if isinstance(value, int):
        if not _INTEGER_MIN <= value <= _INTEGER_MAX:
            _refuse("an integer in a filter must fit in 64 bits; compare with a float, or store such numbers as text")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            _refuse(f"a number in a filter must be finite, found {value}")
        return int(value) if value.is_integer() and _INTEGER_MIN <= value <= _INTEGER_MAX else float(value)
    _refuse(f"a filter compares with text, numbers and booleans, found {type(value).__name__}: {reprlib.repr(value)}")


def all_of(parts: Iterable[Filter]) -> Filter:
    """The conjunction of `parts` in its one canonical form: no AND directly in an AND, none around a single part."""
    flat = tuple(inner for part in parts for inner in (part.parts if isinstance(part, And) else (part,)))
    return flat[0] if len(flat) == 1 else And(flat)


def any_of(parts: Iterable[Filter]) -> Filter:
    """The disjunction of `parts` in its one canonical form: no OR directly in an OR, none around a single part."""
    flat = tuple(inner for part in parts for inner in (part.parts if isinstance(part, Or) else (part,)))
    return flat[0] if len(flat) == 1 else Or(flat)


def negation(part: Filter) -> Filter:
    """NOT `part`, where two NOTs cancel: the logic has two values."""
    return part.part if isinstance(part, Not) else Not(part)


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


def _check_field(field: object) -> None:
    if not isinstance(field, str) or not field:
        _refuse(f"a field in a filter is non-empty text, found {reprlib.repr(field)}")
    _checked_text(field, FIELD_BYTES_MAX, "the name of a field in a filter")


def _checked_text(text: str, bytes_max: int, what: str) -> str:
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        _refuse(f"{what} is not valid Unicode: {reprlib.repr(text)}")
    if size_bytes > bytes_max:
        _refuse(f"{what} is {size_bytes} bytes long; the limit is {bytes_max}")
    return text


def _check_size(where: Filter) -> None:
    """Refuse what would exhaust the stack or the time of an evaluation. Walks with a stack of its own, as a tree may be deep."""
    waiting: list[tuple[Filter, int]] = [(where, 0)]
    count = 0
    while waiting:
        node, depth = waiting.pop()
        count += len(node.values) if isinstance(node, In) else 1
        if depth > DEPTH_MAX:
            _refuse(f"a filter nests at most {DEPTH_MAX} levels deep")
        if count > CONDITIONS_MAX:
            _refuse(f"a filter holds at most {CONDITIONS_MAX} conditions and values")
        if isinstance(node, And | Or):
            waiting += [(part, depth + 1) for part in node.parts]
        elif isinstance(node, Not):
            waiting.append((node.part, depth + 1))
        elif not isinstance(node, Compare | In | Exists):
            _refuse(f"a part of a filter must be a filter, found {type(node).__name__}: {reprlib.repr(node)}")


def _refuse(message: str) -> NoReturn:
    raise InvalidFilter(message, text=None, position=None)
