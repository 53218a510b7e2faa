"""Values of metadata as texts whose order is the order of the values, for engines that can only compare texts.

No numeric type of a search library orders 64-bit integers and floats together, and few keep types apart. So every value becomes a
text under a key that names its type and its path: the year 2015 is `xc09f7c00000000000400` under `n` + hex("year"). Then an
equality is an equality of texts, a range is a range of texts, and types never meet. Keys and values are letters and digits, so
they can stand in any query language without quoting.
"""

from __future__ import annotations

import functools
import struct

from outcrop.filters import FIELD_BYTES_MAX, STRING_BYTES_MAX, Value, number_key

KEY_LENGTH_MAX = 1 + 2 * FIELD_BYTES_MAX
"""A longer key belongs to a path that cannot be named in a filter."""

_DOUBLE, _BITS = struct.Struct(">d"), struct.Struct(">Q")


@functools.lru_cache(maxsize=4096)
def key(path: str, of_kind: str) -> str:
    """The name of a path's values of one type (see `filters.kind`).

    >>> key("a.b", "number")
    'n612e62'
    """
    return of_kind[0] + hexed(path)


def path_of(named: str) -> str:
    """The path that a key belongs to."""
    return bytes.fromhex(named[1:]).decode()


@functools.lru_cache(maxsize=4096)
def paths(path: str) -> tuple[str, ...]:
    """A path and those above it, in hex; without those that are too long to be named in a filter."""
    above = [path[:index] for index, character in enumerate(path) if character == "." and index]
    return tuple(hexed(one) for one in (*above, path) if len(one.encode()) <= FIELD_BYTES_MAX)


def hexed(text: str) -> str:
    """The text's bytes in hex, which are ordered as its code points are."""
    return text.encode().hex()


def term(value: Value) -> str:
    """A text that is ordered as the values of one type are. The `x` keeps a query parser from seeing a number.

    Text is cut one byte beyond the longest that a filter may hold, which changes no comparison with such a text.
    """
    if isinstance(value, bool):
        return "x1" if value else "x0"
    if isinstance(value, str):
        return "x" + value.encode()[: STRING_BYTES_MAX + 1].hex()
    nearest, residual = number_key(value)
    (bits,) = _BITS.unpack(_DOUBLE.pack(nearest + 0.0))  # + 0.0 makes -0.0 the one zero
    ordered = bits ^ (2**64 - 1 if bits >> 63 else 2**63)  # the usual order-preserving form of an IEEE 754 double
    return f"x{ordered:016x}{residual + 1024:04x}"
