"""The configuration: five named modes, and where every value came from.

A value is taken from the first of these that has it: an explicit keyword argument in code, an environment variable `OUTCROP_<KEY>`,
the file `outcrop.toml` in the database's folder, the mode's own default.
"""

from __future__ import annotations

import errno
import os
import re
import tomllib
from collections.abc import Mapping
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import NoReturn, TypedDict, Unpack, cast, get_args
from urllib.parse import unquote, urlsplit

import msgspec

from outcrop.errors import InvalidConfig, StorageFailed
from outcrop.settings import (
    DEFAULTS,
    MODES,
    PRESETS,
    PROMISES,
    RULES,
    TABLES,
    Found,
    FusionName,
    LogLevel,
    Mode,
    QueryLogText,
    Rule,
    ServerLimits,
    Symlinks,
    nearest,
)

__all__ = ["MODES", "Config", "Mode", "Overrides", "ServerLimits", "Setting", "Symlinks", "folder_of_tables", "load"]

FILE_NAME = "outcrop.toml"
VARIABLE_PREFIX = "OUTCROP_"
#: Variables with the prefix that are no settings: the command line's database folder, and its switch for tracebacks.
RESERVED_VARIABLES = ("OUTCROP_DB", "OUTCROP_DEBUG")
PRESET_DEFAULT = "preset default"
CODE = "code"
SERVED = "default of outcrop serve"


class Setting(msgspec.Struct, frozen=True):
    """One effective value and where it came from.

    `origin` is `"preset default"`, `"default of outcrop serve"`, a line of a file such as `"kb/outcrop.toml:3"`, a variable such as
    `"OUTCROP_CANDIDATES"`, or `"code"`.
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
    fusion: FusionName
    vector_weight: float | None
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
    log_level: LogLevel
    server: ServerLimits | Mapping[str, object]


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
    | `fusion` | how a hybrid search that names no fusion joins its legs: `"weighted"` or `"rrf"` |
    | `vector_weight` | the vector leg's share in that, 0 to 1; None: the embedder's own for `weighted`, equal for `rrf` |
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
    | `log_level` | what `outcrop serve` logs: debug, info, warning or error |
    | `server` | what requests to `outcrop serve` may cost: `ServerLimits`, or a mapping with some of its keys |

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
    fusion: FusionName
    vector_weight: float | None
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
    log_level: LogLevel
    server: ServerLimits
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
        for key, rule in RULES.items():
            table, _, name = key.rpartition(".")
            value = _read(key, rule, value_of(self, key), origins.get(key, PRESET_DEFAULT))
            msgspec.structs.force_setattr(getattr(self, table) if table else self, name, value)
        _refuse_contradictions(self)
        _refuse_tables_in_the_database(self)

    def __repr__(self) -> str:
        given: dict[str, object] = {}
        for item in self.settings():
            if item.origin != PRESET_DEFAULT and item.key not in {"mode", "path"}:
                table, _, name = item.key.rpartition(".")
                given |= {table: {**given.get(table, {}), name: item.value}} if table else {name: item.value}  # type: ignore[dict-item]
        path = [] if self.path is None else [repr(str(self.path))]
        return f"Config.{self.mode}({', '.join([*path, *(f'{key}={value!r}' for key, value in given.items())])})"

    @property
    def hash(self) -> str:
        """Tells one set of values from another, wherever they came from and whatever the folder: 12 hexadecimal digits.

        >>> Config.test(candidates=50).hash == Config.test("kb", candidates=50).hash != Config.test().hash
        True
        """
        values = [(key, value_of(self, key)) for key in RULES if key != "path"]
        return sha256(msgspec.json.encode(values)).hexdigest()[:12]

    def settings(self) -> tuple[Setting, ...]:
        """Every effective value with its origin, in the order of the table above; those of a table are `table.key`.

        >>> Config.test(candidates=50).settings()[5]
        Setting(key='candidates', value=50, origin='code')
        """
        origins = dict(self.origins)
        return tuple(Setting(key, value_of(self, key), origins.get(key, PRESET_DEFAULT)) for key in RULES)


def value_of(config: Config, key: str) -> object:
    """The value of a key of `RULES`."""
    table, _, name = key.rpartition(".")
    found: object = getattr(getattr(config, table) if table else config, name)
    return found


def load(
    path: str | PathLike[str] | None, config: Config | None, environ: Mapping[str, str], *, file: Path | None = None
) -> Config:
    """The effective configuration of the database in `path`: what `config` was given in code, over the variables in `environ`, over
    the folder's `outcrop.toml`, over the mode's defaults.

    The path comes from `path` or from `config`. A `config` that `load` itself returned keeps only what came from code: the file and
    the variables are read anew. Reads one file and writes nothing; the folder need not exist. `file` is read in the place of the
    folder's own.

    Raises `InvalidConfig` (an unknown key, a bad value, a contradiction, no path or two different ones), and `StorageFailed` when
    the file exists but cannot be read.
    """
    code = {} if config is None else {key: (value_of(config, key), CODE) for key, origin in config.origins if origin == CODE}
    usual = {} if config is None else {key: (value_of(config, key), SERVED) for key, origin in config.origins if origin == SERVED}
    folder = _one_path(path, None if config is None else config.path)
    return _merged(
        usual, _from_file(folder / FILE_NAME if file is None else file), _from_environment(environ), code | {"path": (folder, CODE)}
    )


def with_values(config: Config | None, origin: str, **values: object) -> Config:
    """`config`, or one that leaves everything to file and environment, with some values: `CODE` is over those, `SERVED` under."""
    given = msgspec.structs.replace(Config.default(), origins=()) if config is None else config
    kept = tuple(one for one in given.origins if one[0] not in values)
    return msgspec.structs.replace(given, **values, origins=(*kept, *((key, origin) for key in values)))


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
    layer = {key: (value, CODE) for key, value in _flat(overrides, CODE).items()}
    for key in layer:
        if key not in RULES or key == "mode":
            _refuse_unknown(key, CODE, without="mode")
    given = {} if path is None else {"path": (path, CODE)}
    return _merged({"mode": (mode, CODE)} | given | layer)


def _flat(values: Mapping[str, object], origin: str) -> dict[str, object]:
    """What is in a table, as `table.key`."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        if key not in TABLES:
            flat[key] = value
            continue
        table = msgspec.structs.asdict(value) if isinstance(value, TABLES[key]) else value
        if not isinstance(table, Mapping):
            _refuse(key, origin, f"{key} is a table: [{key}] and a line for each of its keys; found {value!r:.80}")
        flat |= {f"{key}.{name}": one for name, one in table.items()}
    return flat


def _merged(*layers: _Layer) -> Config:
    """The layers, later ones over earlier ones, over the defaults of the mode that they name."""
    given: dict[str, tuple[object, str]] = {}
    for layer in layers:
        given |= layer
    mode = str(_read("mode", RULES["mode"], *given.get("mode", ("default", PRESET_DEFAULT))))
    values = {"mode": mode} | defaults(mode) | {key: value for key, (value, _) in given.items() if key != "mode"}
    return of_values(values, tuple((key, given[key][1]) for key in RULES if key in given))


def defaults(mode: str) -> dict[str, object]:
    """What a mode takes where nothing is given, by the keys of `RULES`."""
    return DEFAULTS | PRESETS[mode]


def of_values(values: Mapping[str, object], origins: tuple[tuple[str, str], ...]) -> Config:
    """A configuration of a value for each key of `RULES`. Raises `InvalidConfig`."""
    tables: dict[str, dict[str, object]] = {table: {} for table in TABLES}
    plain: dict[str, object] = {}
    for key, value in values.items():
        table, _, name = key.rpartition(".")
        (tables[table] if table else plain)[name] = value
    made = {table: TABLES[table](**found) for table, found in tables.items()}  # type: ignore[arg-type] # as the next line
    return Config(**plain, **made, origins=origins)  # type: ignore[arg-type] # __post_init__ checks every value


def _one_path(path: object, configured: Path | None) -> Path:
    given = cast(Path | None, _read("path", RULES["path"], path, CODE))
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
    for key in values.keys() & TABLES.keys():
        _flat({key: values[key]}, f"{file}:{_line_of(key, text)}")  # a table that is none is refused with its line
    layer = {key: (value, f"{file}:{_line_of(key, text)}") for key, value in _flat(values, str(file)).items()}
    for key, (_, origin) in layer.items():
        if key == "path":
            _refuse(key, origin, "path is not for a file that lies in the path itself; remove it")
        if key not in RULES:
            _refuse_unknown(key, origin, without="path")
    return layer


_HEADER = re.compile(r"""\s*\[\[?\s*["']?([^\]"']+?)["']?\s*\]""")


def _line_of(key: str, text: str) -> int:
    """The 1-based line on which a key begins, or a table; of `table.key` where neither is found, the line of the table."""
    table, _, name = key.rpartition(".")
    begins, dotted = _beginning(name), _beginning(key)
    within, line_of_table = "", 1
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            within = header[1]
            if within == key or within.startswith(f"{key}."):
                return number
            line_of_table = number if within == table else line_of_table
        elif (within == table and begins.match(line)) or (not within and dotted.match(line)):
            return number
        elif table and not within and _beginning(table).match(line):
            line_of_table = number
    return line_of_table


def _beginning(key: str) -> re.Pattern[str]:
    words = r"\s*\.\s*".join(rf"""(["']?){re.escape(word)}\{number}""" for number, word in enumerate(key.split("."), 1))
    return re.compile(rf"\s*{words}\s*[=.]")


def _from_environment(environ: Mapping[str, str]) -> _Layer:
    layer = {}
    keys = {variable(key): key for key in RULES if key != "path"}
    for name, text in sorted(environ.items()):
        if not name.startswith(VARIABLE_PREFIX) or name in RESERVED_VARIABLES:
            continue
        key = keys.get(name)
        if key is None:
            _refuse_unknown(name, name, without="path")
        rule, found = RULES[key], text.strip()
        if not found:
            _refuse(key, name, f"is empty; unset it, or give {rule.legal}")
        layer[key] = ({"yes": "true", "no": "false"}.get(found.lower(), found) if rule.kind is bool else found, name)
    return layer


def variable(key: str) -> str:
    """The environment's variable for a key.

    >>> variable("server.waiting_max")
    'OUTCROP_SERVER_WAITING_MAX'
    """
    return f"{VARIABLE_PREFIX}{key.upper().replace('.', '_')}"


def _read(key: str, rule: Rule, value: object, origin: str) -> object:
    try:
        return rule.read(msgspec.convert(value, rule.kind, strict=not origin.startswith(VARIABLE_PREFIX)))
    except Found as error:
        found = str(error)
    except ValueError:  # msgspec's ValidationError is one
        found = f"found {value!r:.80}{nearest(value, get_args(rule.kind))}"
    _refuse(key, origin, f"{key} must be {rule.legal}; {found}")


def _refuse(key: str | None, origin: str, message: str) -> NoReturn:
    where = "" if origin in {CODE, PRESET_DEFAULT} else f"{origin}: "
    raise InvalidConfig(f"{where}{message}", key=key, origin=origin)


def _refuse_unknown(key: str, origin: str, *, without: str) -> NoReturn:
    table, _, name = key.rpartition(".")
    what = "not a setting" if key == origin else f"{key!r} is not a setting"
    if table in TABLES and name in RULES:
        _refuse(key, origin, f"{what}: {name!r} does not belong to the table [{table}]; put it above the table's first line")
    if table not in TABLES and ("key" in re.split(r"[._]", key.lower()) or key.lower().endswith("apikey")):
        _refuse(key, origin, f"{what}: keys are secrets and are taken from the provider's own variable, such as OPENAI_API_KEY")
    if key == origin:
        known = [*(variable(one) for one in RULES if one != without), *RESERVED_VARIABLES]
    else:
        known = [one for one in RULES if one != without and one.rpartition(".")[0] == (table if table in TABLES else "")]
    named = [*known, *(f"[{one}]" for one in TABLES if key != origin and table != one)]
    _refuse(key, origin, f"{what}{nearest(key, [*known, *TABLES]) or '.'} Settings: {', '.join(named)}")


def _refuse_contradictions(config: Config) -> None:
    """What a mode promises is not for overriding: a `mvp_only` that loads LanceDB would be a lie in every log."""
    promised = PROMISES.get(config.mode, {})
    origins = dict(config.origins)
    for key, (value, reason) in promised.items():
        if getattr(config, key) != value:
            origin = origins.get(key, CODE)
            chosen = origins.get("mode", PRESET_DEFAULT)
            found = str(getattr(config, key)).lower()
            _refuse(key, origin, f"{key} = {found} contradicts mode {config.mode!r} ({chosen}): {reason}")
    one, all_ = config.server.body_bytes_max, config.server.bodies_bytes_max
    if one > all_:
        key = "server.body_bytes_max" if "server.body_bytes_max" in origins else "server.bodies_bytes_max"
        message = f"server.body_bytes_max = {one} is more than server.bodies_bytes_max = {all_}, so no such body could be read"
        _refuse(key, origins.get(key, CODE), message)


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
