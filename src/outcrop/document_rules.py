"""What a document may be: the rules of ids, texts, metadata and vectors, checked once, when a document is made."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from outcrop.errors import InvalidDocument, InvalidInput

ID_BYTES_MAX = 512
METADATA_DEPTH_MAX = 8
_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**63 - 1


def check_id(document_id: object) -> None:
    """Raise `InvalidDocument` unless this is non-empty Unicode text of at most 512 bytes without control characters."""
    if not isinstance(document_id, str):
        raise InvalidDocument(
            f"a document id must be text, found {type(document_id).__name__}: {document_id!r:.60}", document_id=document_id
        )
    if not document_id:
        raise InvalidDocument("a document id must not be empty", document_id=document_id)
    try:
        size_bytes = len(document_id.encode())
    except UnicodeEncodeError:
        raise InvalidDocument(
            f"document id {document_id!r:.60} is not valid Unicode (it holds a lone surrogate)", document_id=document_id
        ) from None
    if size_bytes > ID_BYTES_MAX:
        raise InvalidDocument(
            f"document id {document_id[:40]!r}... is {size_bytes} bytes long; the limit is {ID_BYTES_MAX}", document_id=document_id
        )
    if not document_id.isprintable() and any(unicodedata.category(character) == "Cc" for character in document_id):
        raise InvalidDocument(
            f"document id {document_id!r:.60} holds a control character; ids may hold any other Unicode text",
            document_id=document_id,
        )


def checked_ids(ids: object, asked_by: str) -> list[str]:
    """The document ids that a caller gave, one or several. Raises `InvalidInput`."""
    wanted = [ids] if isinstance(ids, str) else ids
    listed = list(wanted) if isinstance(wanted, Iterable) and not isinstance(wanted, Mapping | bytes) else [None]
    texts = [one for one in listed if isinstance(one, str) and is_unicode(one)]
    if len(texts) != len(listed):
        raise InvalidInput(f"{asked_by} takes ids, which are text, found {ids!r:.80}")
    return texts


def check_texts(document_id: str, *, text: object, title: object, source: object) -> None:
    """Raise `InvalidDocument` unless the text is text and title and source are text or None, all of it valid Unicode."""
    for name, value in (("text", text), ("title", title), ("source", source)):
        if value is None and name != "text":
            continue
        if not isinstance(value, str):
            raise InvalidDocument(
                f"document {document_id!r}: {name} must be text, found {type(value).__name__}", document_id=document_id
            )
        if not is_unicode(value):
            raise InvalidDocument(
                f"document {document_id!r}: {name} is not valid Unicode (it holds a lone surrogate)", document_id=document_id
            )


def is_unicode(text: str) -> bool:
    """Whether the text can be encoded: it holds no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_metadata(document_id: str, metadata: object) -> dict[str, Any]:
    """A deep copy of the metadata. Raises `InvalidDocument` unless it is a mapping from text to JSON values within the limits."""
    if not isinstance(metadata, Mapping):
        raise InvalidDocument(
            f"document {document_id!r}: metadata must be a mapping, found {type(metadata).__name__}", document_id=document_id
        )
    copied: dict[str, Any] = _copied(document_id, metadata, "metadata", 1)
    return copied


def _copied(document_id: str, value: Any, path: str, depth: int) -> Any:
    """A deep copy of a JSON value, checked."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not is_unicode(value):
            raise InvalidDocument(f"document {document_id!r}: {path} is not valid Unicode", document_id=document_id)
        return value
    if isinstance(value, int | float | np.integer | np.floating):
        return _checked_number(document_id, value, path)
    if depth > METADATA_DEPTH_MAX:
        raise InvalidDocument(
            f"document {document_id!r}: {path} is nested deeper than {METADATA_DEPTH_MAX} levels", document_id=document_id
        )
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or not key or not is_unicode(key):
                raise InvalidDocument(
                    f"document {document_id!r}: {path} has the key {key!r}; keys must be non-empty text", document_id=document_id
                )
        return {key: _copied(document_id, item, f"{path}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_copied(document_id, item, f"{path}[{position}]", depth + 1) for position, item in enumerate(value)]
    raise InvalidDocument(
        f"document {document_id!r}: {path} is a {type(value).__name__};"
        " metadata holds text, numbers, booleans, null, lists and objects",
        document_id=document_id,
    )


def _checked_number(document_id: str, value: float | np.integer | np.floating, path: str) -> int | float:
    if isinstance(value, int | np.integer):
        if not _INTEGER_MIN <= value <= _INTEGER_MAX:
            raise InvalidDocument(
                f"document {document_id!r}: {path} is {value}, which does not fit in 64 bits; store it as text",
                document_id=document_id,
            )
        return int(value)
    if not math.isfinite(value):
        raise InvalidDocument(f"document {document_id!r}: {path} is {value}; numbers must be finite", document_id=document_id)
    return float(value)


def checked_vector(document_id: str, vector: ArrayLike | Sequence[float]) -> NDArray[np.float32]:
    """A read-only float32 copy of the vector. Raises `InvalidDocument` unless it has one dimension of finite numbers."""
    try:
        with np.errstate(over="ignore"):  # said below, as infinity
            array = np.array(vector, dtype=np.float32)  # a copy: the caller may change theirs
    except (TypeError, ValueError) as error:
        raise InvalidDocument(
            f"document {document_id!r}: the vector is not a sequence of numbers ({error})", document_id=document_id
        ) from None
    if array.ndim != 1 or not len(array):
        raise InvalidDocument(
            f"document {document_id!r}: the vector must have one dimension and at least one number, found shape {array.shape}",
            document_id=document_id,
        )
    if not np.isfinite(array).all():
        raise InvalidDocument(f"document {document_id!r}: the vector holds NaN or infinity", document_id=document_id)
    array.flags.writeable = False
    return array
