"""What the configuration's keys take: in words and as a check, their defaults, and whether a running database takes a new value.

`config.py` reads the layers and says where a value came from. A new key is a row of `RULES`, which must say whether a reload
applies it, a default, a field of `Config` and a row of its docstring.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

Mode = Literal["default", "test", "mvp_only", "production", "lancedb_test"]
Symlinks = Literal["auto", "never"]
QueryLogText = Literal["full", "hashed"]
FusionName = Literal["weighted", "rrf"]
LogLevel = Literal["debug", "info", "warning", "error"]

MODES: tuple[str, ...] = get_args(Mode)
#: A reload applies the key: what begins afterwards has the new value.
LIVE = None


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What requests to `outcrop serve` may cost: the table `[server]`. Times are seconds, sizes bytes.

    | key | meaning |
    |---|---|
    | `threads` | requests that are worked on at once |
    | `writing_threads` | writes and promotions that are worked on at once, on threads of their own |
    | `waiting_max` | requests that wait besides, for either; the next one gets 429 |
    | `seconds_max` | how long a search, and a body of JSON on its way, may take before 504 |
    | `uploads_max` | streams that are written at once, on threads of their own |
    | `judging_max` | gates and comparisons that run at once, on threads of their own |
    | `upload_bytes_max` | what is sent to be built |
    | `streams_max` | clients that follow builds |
    | `idle_seconds_max` | a stream that sends nothing for so long, or a client that reads nothing, is given up |
    | `body_bytes_max` | a body of JSON |
    | `bodies_bytes_max` | all bodies of JSON that are being read, together |
    | `line_bytes_max` | one line of a stream |
    | `k_max` | hits of a search, and of one document |
    | `queries_max` | queries of a batch |
    | `batch_hits_max` | those times `k` |
    | `query_characters_max` | characters of a query |
    | `documents_max` | documents or ids in a body |
    | `warm_collections_max` | collections that are opened before they are searched, those that were used last; 0: none |
    | `warm_seconds_max` | how long the server is not ready at its start because they are being opened |
    """

    threads: int = 8
    writing_threads: int = 4
    waiting_max: int = 64
    seconds_max: float = 30.0
    uploads_max: int = 4
    judging_max: int = 2
    upload_bytes_max: int = 20_000_000_000
    streams_max: int = 64
    idle_seconds_max: float = 60.0
    body_bytes_max: int = 16_000_000
    bodies_bytes_max: int = 256_000_000
    line_bytes_max: int = 16_000_000
    k_max: int = 1000
    queries_max: int = 1000
    batch_hits_max: int = 20_000
    query_characters_max: int = 100_000
    documents_max: int = 10_000
    warm_collections_max: int = 32
    warm_seconds_max: float = 30.0


class Rule(msgspec.Struct, frozen=True):
    """What a key takes: in words, as a type that msgspec checks, and what that cannot say (`read` raises ValueError).

    `restart` says why a new value waits for a restart; `LIVE`: it does not.
    """

    legal: str
    kind: Any
    restart: str | None
    read: Callable[[Any], object] = lambda value: value


class Found(ValueError):
    """A ValueError whose text says what was found, because the value itself must not be repeated."""


def nearest(word: object, known: Iterable[object]) -> str:
    """What somebody may have meant who wrote `word`, as the end of a sentence; empty if nothing is near."""
    matches = (
        difflib.get_close_matches(word, [name for name in known if isinstance(name, str)], n=1) if isinstance(word, str) else []
    )
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _folder(value: object) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str | PathLike) or not str(value).strip() or "\0" in str(value):
        raise ValueError
    return Path(value)


def _size(value: int | str) -> int:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if not match:
            raise ValueError
        value = round(float(match[1]) * _UNITS[match[2].lower()])
    if not 0 <= value <= _BYTES_MAX:
        raise ValueError
    return value


def _size_of_something(value: int | str) -> int:
    size_bytes = _size(value)
    if not size_bytes:
        raise ValueError
    return size_bytes


def _budget(value: int | str) -> int:
    size_bytes = _size(value)
    if size_bytes < _BUDGET_BYTES_MIN:
        raise ValueError
    return size_bytes


def _embedder(value: str) -> str:
    """The form only: whether an embedder works here is found out when it is needed."""
    name, _, _ = (spec := value.strip()).partition(":")
    if not spec.isprintable() or not _EMBEDDER.fullmatch(spec):
        lacks_model = name in ("openai", "custom")
        raise Found(f"found {value!r:.80}" + ("" if lacks_model else nearest(name.lower(), _EMBEDDER_NAMES)))
    return spec


def _url(value: str | None) -> str | None:
    if value is None:
        return None
    parts = urlsplit(value)
    if parts.username or parts.password or parts.query:
        raise Found("found one with a user, a password or a query; the key is taken from OPENAI_API_KEY")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:  # .port raises ValueError for no number
        raise ValueError
    return value.rstrip("/")


def _table_uri(value: str | None) -> str | None:
    if value is None:
        return None
    if "://" not in value:
        if not Path(value).is_absolute() or not value.isprintable():
            raise ValueError
        return value.rstrip("/") or "/"
    parts = urlsplit(value)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise Found("found one with a user, a query or a fragment; keys are taken from the environment, as AWS_ACCESS_KEY_ID is")
    if parts.scheme == "db":
        raise Found("found db://, which is LanceDB Cloud and not supported")
    is_file = parts.scheme == "file" and not parts.netloc and len(parts.path) > 1
    if (not is_file and not (parts.scheme in _OBJECT_STORES and parts.netloc)) or not value.isprintable():
        raise ValueError
    return value.rstrip("/")


_OBJECT_STORES = ("s3", "gs", "az")
_BYTES_MAX = 2**50
_BUDGET_BYTES_MIN = 16 * 10**6
_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*((?:[kmgt]i?)?b|)", re.IGNORECASE)

_EMBEDDER_NAMES = ("auto", "static", "minilm", "openai", "hashing", "none")
_EMBEDDER = re.compile(r"auto|static|minilm|none|hashing(:[0-9]+)?|(openai|custom):.+")

_SIZE_TEXT = 'a size in bytes such as 536870912, "512MB" or "2GiB"'
_BOOL_TEXT = "true or false (in a variable also 1 or 0, yes or no)"
_AT_OPENING = "which engines a database uses, and which of them answers, is settled when it is opened"


def _whole(least: int, most: int) -> Rule:
    return Rule(f"a whole number from {least} to {most}", Annotated[int, Meta(ge=least, le=most)], LIVE)


def _number(least: float, most: float, unit: str = "") -> Rule:
    return Rule(f"a number {unit}from {least:g} to {most:g}", Annotated[float, Meta(ge=least, le=most)], LIVE)


def _bytes(least: str, read: Callable[[Any], object]) -> Rule:
    return Rule(f"{_SIZE_TEXT}, {least}", int | str, LIVE, read)


#: Every key, in the order in which it is shown. Those of a table are `table.key`.
RULES: dict[str, Rule] = {
    "mode": Rule(f"one of {', '.join(MODES)}", Mode, _AT_OPENING),
    "path": Rule("a folder's name", Any, "a database does not move while it is open", _folder),
    "use_lancedb": Rule(_BOOL_TEXT, bool, _AT_OPENING),
    "fallback_to_mvp": Rule(_BOOL_TEXT, bool, _AT_OPENING),
    "embedder": Rule('a name such as "auto", "minilm", "static" or "openai:text-embedding-3-small"', str, LIVE, _embedder),
    "candidates": _whole(10, 10_000),  # 10 is a search's own k
    "fusion": Rule('"weighted" or "rrf"', FusionName, LIVE),
    "vector_weight": Rule("a number from 0 to 1, or left out", Annotated[float, Meta(ge=0, le=1)] | None, LIVE),
    "lock_timeout_seconds": _number(0, 86_400),
    "embedding_cache_bytes_max": _bytes("or 0 for no cache", _size),
    "query_cache_seconds": _number(0, 86_400),
    "memory_budget": _bytes("at least 16MB", _budget),
    "part_bytes_max": _bytes("at least 1", _size_of_something),
    "batch_documents": _whole(1, 100_000),
    "symlinks": Rule('"auto" or "never"', Symlinks, LIVE),
    "openai_base_url": Rule("a URL that begins with http:// or https:// and names a host", str | None, LIVE, _url),
    "kept_generations": _whole(0, 1000),
    "kept_days": _number(0, 36_500, "of days "),
    "warm_generations": _whole(0, 100),
    "abandoned_build_days": _number(0, 36_500, "of days "),
    "journal_bytes_max": _bytes("at least 1", _size_of_something),
    "tail_chunks_max": _whole(1, 100_000),
    "background": Rule(_BOOL_TEXT, bool, LIVE),
    "breaker_failures_max": _whole(1, 1000),
    "breaker_open_seconds": _number(0, 86_400),
    "lancedb_apply_seconds": _number(0, 3_600),
    "lancedb_uri": Rule(
        "an absolute path, or a URI such as s3://bucket/folder, gs://bucket/folder, az://container/folder or file:///folder",
        str | None,
        "indexes that are open may be built anew where they were first looked for",
        _table_uri,
    ),
    "live_recall_share": _number(0, 1),
    "query_log_share": _number(0, 1),
    "query_log_bytes_max": _bytes("at least 16MB", _budget),
    "query_log_days": Rule("a number of days, more than 0 and up to 36500", Annotated[float, Meta(gt=0, le=36_500)], LIVE),
    "query_log_text": Rule('"full" or "hashed"', QueryLogText, LIVE),
    "log_level": Rule("one of debug, info, warning, error", LogLevel, LIVE),
    "server.threads": _whole(1, 256),
    "server.writing_threads": _whole(1, 256),
    "server.waiting_max": _whole(0, 100_000),
    "server.seconds_max": _number(0.01, 86_400),
    "server.uploads_max": _whole(1, 256),
    "server.judging_max": _whole(1, 64),
    "server.upload_bytes_max": _bytes("at least 1", _size_of_something),
    "server.streams_max": _whole(0, 10_000),
    "server.idle_seconds_max": _number(0.01, 86_400),
    "server.body_bytes_max": _bytes("at least 1", _size_of_something),
    "server.bodies_bytes_max": _bytes("at least 1", _size_of_something),
    "server.line_bytes_max": _bytes("at least 1", _size_of_something),
    "server.k_max": _whole(10, 10_000),
    "server.queries_max": _whole(1, 100_000),
    "server.batch_hits_max": _whole(10, 10_000_000),
    "server.query_characters_max": _whole(1, 100_000),
    "server.documents_max": _whole(1, 100_000),
    "server.warm_collections_max": _whole(0, 10_000),
    "server.warm_seconds_max": _number(0, 86_400),
}
#: The tables among them.
TABLES = {"server": ServerLimits}

DEFAULTS: dict[str, object] = {
    "path": None,
    "embedder": "auto",
    "candidates": 100,
    "fusion": "weighted",
    "vector_weight": None,
    "lock_timeout_seconds": 10.0,
    "embedding_cache_bytes_max": 2 * 2**30,
    "query_cache_seconds": 300.0,
    "memory_budget": 10**9,
    "part_bytes_max": 512 * 2**20,
    "batch_documents": 1024,
    "symlinks": "auto",
    "openai_base_url": None,
    "kept_generations": 2,
    "kept_days": 7.0,
    "warm_generations": 1,
    "abandoned_build_days": 7.0,
    "journal_bytes_max": 2**30,
    "tail_chunks_max": 4000,
    "background": True,
    "breaker_failures_max": 5,
    "breaker_open_seconds": 30.0,
    "lancedb_apply_seconds": 2.0,
    "lancedb_uri": None,
    "live_recall_share": 0.0,
    "query_log_share": 0.0,
    "query_log_bytes_max": 10**8,
    "query_log_days": 30.0,
    "query_log_text": "full",
    "log_level": "info",
    **{f"server.{name}": value for name, value in msgspec.structs.asdict(ServerLimits()).items()},
}

_BUILTIN: dict[str, object] = {"use_lancedb": False, "fallback_to_mvp": True}
_SMALL: dict[str, object] = {
    "lock_timeout_seconds": 2.0,
    "embedding_cache_bytes_max": 16 * 2**20,
    "query_cache_seconds": 0.0,
    "memory_budget": 64 * 10**6,
    "part_bytes_max": 4 * 2**20,
    "batch_documents": 64,
    "tail_chunks_max": 64,
    "background": False,
    "server.warm_collections_max": 0,
}
PRESETS: dict[str, dict[str, object]] = {
    "default": _BUILTIN,
    "test": _BUILTIN | _SMALL,
    "mvp_only": {"use_lancedb": False, "fallback_to_mvp": False},
    "production": {"use_lancedb": True, "fallback_to_mvp": True},
    "lancedb_test": {"use_lancedb": True, "fallback_to_mvp": False},
}

# mode -> key -> (the value that the mode promises, why another one is refused).
PROMISES: dict[str, dict[str, tuple[bool, str]]] = {
    "test": {"use_lancedb": (False, "it tests with the built-in engine; take mode lancedb_test to test LanceDB")},
    "mvp_only": {
        "use_lancedb": (False, "it never imports LanceDB; take mode production, or leave use_lancedb out"),
        "fallback_to_mvp": (False, "it runs on the built-in engine already; there is nothing to fall back from"),
    },
    "lancedb_test": {
        "use_lancedb": (True, "it tests LanceDB; take mode test to test without it"),
        "fallback_to_mvp": (False, "it must fail when LanceDB does; take mode production for a fallback"),
    },
}
