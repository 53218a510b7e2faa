"""What is wrong with a piece of JSON, in the words of whoever wrote it.

The decoder's own messages are exact, but not for the two things that Python's `json` writes and JSON does not have.
"""

from __future__ import annotations

import re

_NUMBER = re.compile(rb"-?(?:NaN|Infinity)")
_PLACE = re.compile(r"\(byte (\d+)\)")
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_CUT_OFF = re.compile(rb"(?:\\(?:u[0-9a-fA-F]{0,3})?)?\s*")


def json_fault(content: bytes, error: Exception) -> str:
    """What `error`, which msgspec raised for `content`, means: NaN, half a surrogate pair, or its own text.

    >>> json_fault(b'{"year": NaN}', ValueError("JSON is malformed: invalid character (byte 10)"))
    'NaN is not JSON, which has only finite numbers; leave the key out, or write null'
    """
    place = _PLACE.search(str(error))
    if place is not None:
        at = int(place[1])
        number = next((found for start in (at - 1, at) if start >= 0 and (found := _NUMBER.match(content, start))), None)
        if number is not None:
            return f"{number[0].decode()} is not JSON, which has only finite numbers; leave the key out, or write null"
    if "surrogate" in str(error) or "truncated" in str(error):
        half = _half_pair(content)
        if half is not None:
            return f"{half} is half of a surrogate pair and alone no character; write both halves, or \\ufffd in its place"
    return str(error)


def _half_pair(content: bytes) -> str | None:
    """The first escape of a surrogate without its other half, unless the content ends where that would stand."""
    high: re.Match[bytes] | None = None
    for escape in _ESCAPE.finditer(content):
        code = int(escape[1], 16) if escape[1] else 0
        is_low = 0xDC00 <= code < 0xE000
        follows = high is not None and high.end() == escape.start()
        if high is not None and not (is_low and follows):
            break
        if high is None and is_low:
            return escape[0].decode()
        high = escape if 0xD800 <= code < 0xDC00 else None
    if high is None or _CUT_OFF.fullmatch(content, high.end()):
        return None
    return high[0].decode()
