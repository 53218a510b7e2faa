"""The configuration: five named modes, and where every value came from.

A value is taken from the first of these that has it: an explicit keyword argument in code, an environment variable `OUTCROP_<KEY>`,
the file `outcrop.toml` in the database's folder, the mode's own default.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypedDict, Unpack, get_args
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta

from outcrop.errors import InvalidConfig, StorageFailed

Mode = Literal["default", "test", "mvp_only", "production", "lancedb_test"]
Symlinks = Literal["auto", "never"]
QueryLogText = Literal["full", "hashed"]

MODES: tuple[str, ...] = get_args(Mode)
FILE_NAME = "outcrop.toml"
VARIABLE_PREFIX = "OUTCROP_"
#: Variables with the prefix that are no settings: the command line's database folder, and its switch for tracebacks.
RESERVED_VARIABLES = ("OUTCROP_DB", "OUTCROP_DEBUG")
PRESET_DEFAULT = "preset default"
CODE = "code"


class Setting(msgspec.Struct, frozen=True):
    """One effective value and where it came from.

    `origin` is `"preset default"`, a line of a file such as `"kb/outcrop.toml:3"`, a variable such as `"OUTCROP_CANDIDATES"`, or
    `"code"`.
    """

    key: str
    value: object
    origin: str


class Overrides(TypedDict, total=False):
    """The keyword arguments that every named constructor of `Config` takes; `Config` says what they mean."""

    use_lancedb: bool
    fallback_to_mvp: bool
    embedder: str
    candidates: int
    lock_timeout_seconds: float
    embedding_cache_bytes_max: int | str
    query_cache_seconds: float
    memory_budget: int | str
    part_bytes_max: int | str
    batch_documents: int
    symlinks: Symlinks
    openai_base_url: str | None
    kept_generations: int
    kept_days: float
    warm_generations: int
    abandoned_build_days: float
    journal_bytes_max: int | str
    tail_chunks_max: int
    background: bool
    breaker_failures_max: int
    breaker_open_seconds: float
    lancedb_apply_seconds: float
    lancedb_uri: str | None
    live_recall_share: float
    query_log_share: float
    query_log_bytes_max: int | str
    query_log_days: float
    query_log_text: QueryLogText


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """How a database behaves. Make one with a named constructor; each says for whom it is and what it costs.

    | key | meaning |
    |---|---|
    | `mode` | the named constructor that set the defaults |
    | `path` | the database's folder; None until `outcrop.open` is given one |
    | `use_lancedb` | generations are held and searched by LanceDB |
    | `fallback_to_mvp` | the built-in engine serves when the configured one cannot |
    | `embedder` | the embedder of new collections; `"auto"` takes the best one installed |
    | `candidates` | hits that each leg of a search collects before fusion, 10 to 10,000 |
    | `lock_timeout_seconds` | how long to wait for another writer before `CollectionLocked` |
    | `embedding_cache_bytes_max` | size of the embedding cache on disk; 0 turns it off |
    | `query_cache_seconds` | how long answers and query embeddings are kept in memory; 0: not at all |
    | `memory_budget` | bytes that caches, ingestion and buffers share, see `outcrop.memory` |
    | `part_bytes_max` | bytes of vectors in one part of an index: bounds a build's memory |
    | `batch_documents` | documents that a build chunks, embeds and writes at a time |
    | `symlinks` | `"auto"`, or `"never"` to name the active generation in a one-line file |
    | `openai_base_url` | an OpenAI-compatible endpoint; None is the embedder's own default. Never a key |
    | `kept_generations` | archived generations that stay however old they are, the last promoted first |
    | `kept_days` | an archived generation beyond those stays this long after it was last active; 0: not at all |
    | `warm_generations` | how many of the newest archived generations are kept caught up and open |
    | `abandoned_build_days` | how long an interrupted build is kept to be resumed |
    | `journal_bytes_max` | size of the journal's file from which the oldest generation that holds it is caught up or given up |
    | `tail_chunks_max` | new chunks that are searched exactly before an index part absorbs them |
    | `background` | index parts, warm generations and the journal are looked after by a thread of their own |
    | `breaker_failures_max` | failures of LanceDB in a row after which it is left alone for a while, and the fallback serves |
    | `breaker_open_seconds` | for how long it is left alone before it is tried once |
    | `lancedb_apply_seconds` | how long a write waits for LanceDB, where there is a fallback; LanceDB goes on by itself |
    | `lancedb_uri` | where new tables of LanceDB lie: a URI or an absolute path; None: in the generation's folder. Never a key |
    | `live_recall_share` | share of the searches by vector that is run again exactly in the background: their recall; 0: none |
    | `query_log_share` | share of the searches that is kept in the query log; 0: none |
    | `query_log_bytes_max` | size of a collection's query log, from which the oldest of it goes |
    | `query_log_days` | how long a line of it is kept |
    | `query_log_text` | `"full"`, or `"hashed"`: queries can be counted there, and not read |

    Sizes are bytes, or text such as `"512MB"` or `"2GiB"`. Raises `InvalidConfig` for an unknown key, a bad value or a
    contradiction.

    >>> config = Config.production("kb", candidates=200)
    >>> config
    Config.production('kb', candidates=200)
    >>> config.use_lancedb, config.fallback_to_mvp, config.lock_timeout_seconds
    (True, True, 10.0)
    """

    mode: Mode
    path: Path | None
    use_lancedb: bool
    fallback_to_mvp: bool
    embedder: str
    candidates: int
    lock_timeout_seconds: float
    embedding_cache_bytes_max: int
    query_cache_seconds: float
    memory_budget: int
    part_bytes_max: int
    batch_documents: int
    symlinks: Symlinks
    openai_base_url: str | None
    kept_generations: int
    kept_days: float
    warm_generations: int
    abandoned_build_days: float
    journal_bytes_max: int
    tail_chunks_max: int
    background: bool
    breaker_failures_max: int
    breaker_open_seconds: float
    lancedb_apply_seconds: float
    lancedb_uri: str | None
    live_recall_share: float
    query_log_share: float
    query_log_bytes_max: int
    query_log_days: float
    query_log_text: QueryLogText
    origins: tuple[tuple[str, str], ...]

    @classmethod
    def default(cls, path: str | PathLike[str] | None = None, **overrides: Unpack[Overrides]) -> Config:
        """For a first try and for most programs: the built-in engine, nothing to install or to run beside it.

        Costs the built-in engine's memory, and up to 2 GiB of disk for the embedding cache.
        """
        return _from_code("default", path, overrides)

    @classmethod
    def test(cls, path: str | PathLike[str] | None = None, **overrides: Unpack[Overrides]) -> Config:
        """For test suites: the built-in engine, no cached answers, small batches, no background work, a short wait for locks.

        The same input gives the same answer. Costs speed on anything larger than a test's data: do not measure with it.
        """
        return _from_code("test", path, overrides)

    @classmethod
    def mvp_only(cls, path: str | PathLike[str] | None = None, **overrides: Unpack[Overrides]) -> Config:
        """For machines without LanceDB, or where it must not be loaded: the built-in engine alone; LanceDB is never imported.

        Costs the fallback: there is nothing to fall back to, so an error of the engine is an error of the call.
        """
        return _from_code("mvp_only", path, overrides)

    @classmethod
    def production(cls, path: str | PathLike[str] | None = None, **overrides: Unpack[Overrides]) -> Config:
        """For production on LanceDB, with the built-in engine ready to serve when LanceDB is missing, incompatible or down.

        Costs a second index on disk and the writing of both; an answer of the fallback says that it is degraded.
        """
        return _from_code("production", path, overrides)

    @classmethod
    def lancedb_test(cls, path: str | PathLike[str] | None = None, **overrides: Unpack[Overrides]) -> Config:
        """For testing LanceDB itself: LanceDB or nothing.

        Costs every safety net: where LanceDB does not work, opening raises `EngineUnavailable` with the reason and the remedy.
        """
        return _from_code("lancedb_test", path, overrides)

    def __post_init__(self) -> None:
        origins = dict(self.origins)
        for key, rule in _RULES.items():
            value = _read(key, rule, getattr(self, key), origins.get(key, PRESET_DEFAULT))
            msgspec.structs.force_setattr(self, key, value)
        _refuse_contradictions(self)
        _refuse_tables_in_the_database(self)

    def __repr__(self) -> str:
        given = [
            f"{item.key}={item.value!r}"
            for item in self.settings()
            if item.origin != PRESET_DEFAULT and item.key not in {"mode", "path"}
        ]
        path = [] if self.path is None else [repr(str(self.path))]
        return f"Config.{self.mode}({', '.join(path + given)})"

    def settings(self) -> tuple[Setting, ...]:
        """Every effective value with its origin, in the order of the table above.

        >>> Config.test(candidates=50).settings()[5]
        Setting(key='candidates', value=50, origin='code')
        """
        origins = dict(self.origins)
        return tuple(Setting(key, getattr(self, key), origins.get(key, PRESET_DEFAULT)) for key in _RULES)


def load(path: str | PathLike[str] | None, config: Config | None, environ: Mapping[str, str]) -> Config:
    """The effective configuration of the database in `path`: what `config` was given in code, over the variables in `environ`, over
    the folder's `outcrop.toml`, over the mode's defaults.

    The path comes from `path` or from `config`. A `config` that `load` itself returned keeps only what came from code: the file and
    the variables are read anew. Reads one file and writes nothing; the folder need not exist.

    Raises `InvalidConfig` (an unknown key, a bad value, a contradiction, no path or two different ones), and `StorageFailed` when
    the file exists but cannot be read.
    """
    code = {} if config is None else {key: (getattr(config, key), CODE) for key, origin in config.origins if origin == CODE}
    folder = _one_path(path, None if config is None else config.path)
    return _merged(_from_file(folder / FILE_NAME), _from_environment(environ), code | {"path": (folder, CODE)})


def folder_of_tables(uri: str) -> Path | None:
    """The folder that a `lancedb_uri`, or the URI of a table below one, means; None for an object store.

    >>> folder_of_tables("file:///srv/two%20words") == Path("/srv/two words"), folder_of_tables("s3://bucket/folder")
    (True, None)
    """
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if "://" in uri else Path(uri)


# A layer of the configuration: key -> (value, origin).
_Layer = Mapping[str, tuple[object, str]]


def _from_code(mode: Mode, path: str | PathLike[str] | None, overrides: Mapping[str, object]) -> Config:
    for key in overrides:
        if key not in _RULES or key == "mode":
            _refuse_unknown(key, CODE, [name for name in _RULES if name != "mode"])
    given = overrides if path is None else {"path": path, **overrides}
    return _merged({key: (value, CODE) for key, value in {"mode": mode, **given}.items()})


def _merged(*layers: _Layer) -> Config:
    """The layers, later ones over earlier ones, over the defaults of the mode that they name."""
    given: dict[str, tuple[object, str]] = {}
    for layer in layers:
        given |= layer
    mode = str(_read("mode", _RULES["mode"], *given.get("mode", ("default", PRESET_DEFAULT))))
    values = _DEFAULTS | _PRESETS[mode] | {key: value for key, (value, _) in given.items()} | {"mode": mode}
    origins = tuple((key, given[key][1]) for key in _RULES if key in given)
    return Config(**values, origins=origins)  # type: ignore[arg-type] # __post_init__ checks every value


def _one_path(path: object, configured: Path | None) -> Path:
    given = _folder(_read("path", _RULES["path"], path, CODE))
    if given is None and configured is None:
        _refuse("path", CODE, "no path: give the database's folder to outcrop.open() or to the Config")
    if given is not None and configured is not None and given.resolve() != configured.resolve():
        _refuse("path", CODE, f"two different paths: {str(given)!r} was given, and the Config says {str(configured)!r}. Give one")
    return given if given is not None else configured  # type: ignore[return-value] # one of them is there


def _from_file(file: Path) -> _Layer:
    try:
        text = file.read_bytes().decode("utf-8-sig")  # an editor may have put a byte order mark
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        _refuse(None, str(file), f"is not UTF-8 text (byte {error.start}); TOML files are")
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0)
        message = f"{file}: cannot be read: {error.strerror or error}. Give yourself the right to read it, or remove it"
        raise StorageFailed(message, path=str(file), errno_name=name) from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        line = int(at[1]) if at else text.count("\n") + 1
        raise InvalidConfig(f"{file}:{line}: not valid TOML: {error}", key=None, origin=f"{file}:{line}") from error
    layer = {key: (value, f"{file}:{_line_of(key, text)}") for key, value in values.items()}
    for key, (_, origin) in layer.items():
        if key == "path":
            _refuse(key, origin, "path is not for a file that lies in the path itself; remove it")
        if key not in _RULES:
            _refuse_unknown(key, origin, [name for name in _RULES if name != "path"])
    return layer


def _line_of(key: str, text: str) -> int:
    """The 1-based line on which a top-level key or table of this name begins."""
    begins = re.compile(rf"""\s*(\[\[?\s*)?(["']?){re.escape(key)}\2\s*[=.\]]""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if begins.match(line)), 1)


def _from_environment(environ: Mapping[str, str]) -> _Layer:
    layer = {}
    known = [f"{VARIABLE_PREFIX}{key.upper()}" for key in _RULES if key != "path"]
    for variable, text in sorted(environ.items()):
        if not variable.startswith(VARIABLE_PREFIX) or variable in RESERVED_VARIABLES:
            continue
        key = variable.removeprefix(VARIABLE_PREFIX).lower()
        if variable not in known:
            _refuse_unknown(variable, variable, [*known, *RESERVED_VARIABLES])
        if not text.strip():
            _refuse(key, variable, f"is empty; unset it, or give {_RULES[key].legal}")
        spelled = {"yes": "true", "no": "false"}.get(text.strip().lower(), text.strip()) if _RULES[key] is _BOOL else text.strip()
        layer[key] = (spelled, variable)
    return layer


class _Rule(msgspec.Struct, frozen=True):
    """What a key takes: in words, as a type that msgspec checks, and what that cannot say (raises ValueError)."""

    legal: str
    kind: Any
    read: Callable[[Any], object] = lambda value: value


def _read(key: str, rule: _Rule, value: object, origin: str) -> object:
    try:
        return rule.read(msgspec.convert(value, rule.kind, strict=not origin.startswith(VARIABLE_PREFIX)))
    except _Found as error:
        found = str(error)
    except ValueError:  # msgspec's ValidationError is one
        found = f"found {value!r:.80}{_nearest(value, get_args(rule.kind))}"
    _refuse(key, origin, f"{key} must be {rule.legal}; {found}")


class _Found(ValueError):
    """A ValueError whose text says what was found, because the value itself must not be repeated."""


def _refuse(key: str | None, origin: str, message: str) -> NoReturn:
    where = "" if origin in {CODE, PRESET_DEFAULT} else f"{origin}: "
    raise InvalidConfig(f"{where}{message}", key=key, origin=origin)


def _refuse_unknown(key: str, origin: str, known: list[str]) -> NoReturn:
    what = "not a setting" if key == origin else f"{key!r} is not a setting"
    if "key" in re.split(r"[._]", key.lower()) or key.lower().endswith("apikey"):
        _refuse(key, origin, f"{what}: keys are secrets and are taken from the provider's own variable, such as OPENAI_API_KEY")
    _refuse(key, origin, f"{what}{_nearest(key, known) or '.'} Settings: {', '.join(known)}")


def _nearest(word: object, known: Iterable[object]) -> str:
    matches = (
        difflib.get_close_matches(word, [name for name in known if isinstance(name, str)], n=1) if isinstance(word, str) else []
    )
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _refuse_contradictions(config: Config) -> None:
    """What a mode promises is not for overriding: a `mvp_only` that loads LanceDB would be a lie in every log."""
    promised = _PROMISES.get(config.mode, {})
    origins = dict(config.origins)
    for key, (value, reason) in promised.items():
        if getattr(config, key) != value:
            origin = origins.get(key, CODE)
            chosen = origins.get("mode", PRESET_DEFAULT)
            found = str(getattr(config, key)).lower()
            _refuse(key, origin, f"{key} = {found} contradicts mode {config.mode!r} ({chosen}): {reason}")


def _refuse_tables_in_the_database(config: Config) -> None:
    tables = None if config.lancedb_uri is None else folder_of_tables(config.lancedb_uri)
    if tables is None or config.path is None:
        return
    if Path(os.path.realpath(tables)).is_relative_to(os.path.realpath(config.path)):
        _refuse(
            "lancedb_uri",
            dict(config.origins).get("lancedb_uri", CODE),
            f"lancedb_uri {str(tables)!r} lies in the database's own folder {str(config.path)!r}. Give a folder outside of it, or"
            " leave it out: tables lie in their generations' folders then",
        )


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
        raise _Found(f"found {value!r:.80}" + ("" if lacks_model else _nearest(name.lower(), _EMBEDDER_NAMES)))
    return spec


def _url(value: str | None) -> str | None:
    if value is None:
        return None
    parts = urlsplit(value)
    if parts.username or parts.password or parts.query:
        raise _Found("found one with a user, a password or a query; the key is taken from OPENAI_API_KEY")
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
        raise _Found("found one with a user, a query or a fragment; keys are taken from the environment, as AWS_ACCESS_KEY_ID is")
    if parts.scheme == "db":
        raise _Found("found db://, which is LanceDB Cloud and not supported")
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
_BOOL = _Rule("true or false (in a variable also 1 or 0, yes or no)", bool)
_DAYS = _Rule("a number of days from 0 to 36500", Annotated[float, Meta(ge=0, le=36_500)])

_SHARE = _Rule("a number from 0 to 1", Annotated[float, Meta(ge=0, le=1)])

_RULES: dict[str, _Rule] = {
    "mode": _Rule(f"one of {', '.join(MODES)}", Mode),
    "path": _Rule("a folder's name", Any, _folder),
    "use_lancedb": _BOOL,
    "fallback_to_mvp": _BOOL,
    "embedder": _Rule('a name such as "auto", "minilm", "static" or "openai:text-embedding-3-small"', str, _embedder),
    "candidates": _Rule("a whole number from 10 to 10000", Annotated[int, Meta(ge=10, le=10_000)]),  # 10 is a search's own k
    "lock_timeout_seconds": _Rule("a number from 0 to 86400", Annotated[float, Meta(ge=0, le=86_400)]),
    "embedding_cache_bytes_max": _Rule(f"{_SIZE_TEXT}, or 0 for no cache", int | str, _size),
    "query_cache_seconds": _Rule("a number from 0 to 86400", Annotated[float, Meta(ge=0, le=86_400)]),
    "memory_budget": _Rule(f"{_SIZE_TEXT}, at least 16MB", int | str, _budget),
    "part_bytes_max": _Rule(f"{_SIZE_TEXT}, at least 1", int | str, _size_of_something),
    "batch_documents": _Rule("a whole number from 1 to 100000", Annotated[int, Meta(ge=1, le=100_000)]),
    "symlinks": _Rule('"auto" or "never"', Symlinks),
    "openai_base_url": _Rule("a URL that begins with http:// or https:// and names a host", str | None, _url),
    "kept_generations": _Rule("a whole number from 0 to 1000", Annotated[int, Meta(ge=0, le=1000)]),
    "kept_days": _DAYS,
    "warm_generations": _Rule("a whole number from 0 to 100", Annotated[int, Meta(ge=0, le=100)]),
    "abandoned_build_days": _DAYS,
    "journal_bytes_max": _Rule(f"{_SIZE_TEXT}, at least 1", int | str, _size_of_something),
    "tail_chunks_max": _Rule("a whole number from 1 to 100000", Annotated[int, Meta(ge=1, le=100_000)]),
    "background": _BOOL,
    "breaker_failures_max": _Rule("a whole number from 1 to 1000", Annotated[int, Meta(ge=1, le=1000)]),
    "breaker_open_seconds": _Rule("a number from 0 to 86400", Annotated[float, Meta(ge=0, le=86_400)]),
    "lancedb_apply_seconds": _Rule("a number from 0 to 3600", Annotated[float, Meta(ge=0, le=3_600)]),
    "lancedb_uri": _Rule(
        "an absolute path, or a URI such as s3://bucket/folder, gs://bucket/folder, az://container/folder or file:///folder",
        str | None,
        _table_uri,
    ),
    "live_recall_share": _SHARE,
    "query_log_share": _SHARE,
    "query_log_bytes_max": _Rule(f"{_SIZE_TEXT}, at least 16MB", int | str, _budget),
    "query_log_days": _Rule("a number of days, more than 0 and up to 36500", Annotated[float, Meta(gt=0, le=36_500)]),
    "query_log_text": _Rule('"full" or "hashed"', QueryLogText),
}

_DEFAULTS: dict[str, object] = {
    "path": None,
    "embedder": "auto",
    "candidates": 100,
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
}
_PRESETS: dict[str, dict[str, object]] = {
    "default": _BUILTIN,
    "test": _BUILTIN | _SMALL,
    "mvp_only": {"use_lancedb": False, "fallback_to_mvp": False},
    "production": {"use_lancedb": True, "fallback_to_mvp": True},
    "lancedb_test": {"use_lancedb": True, "fallback_to_mvp": False},
}

# mode -> key -> (the value that the mode promises, why another one is refused).
_PROMISES: dict[str, dict[str, tuple[bool, str]]] = {
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
