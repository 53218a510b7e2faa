"""What a generation must show before it may serve."""

from __future__ import annotations

import difflib
import math
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from outcrop.document_rules import is_unicode
from outcrop.errors import InvalidConfig
from outcrop.evaluation import JudgedQueries, require_measures
from outcrop.judging.queries import queries_of
from outcrop.judging.report import GateContext

VANISHED_SHARE_MAX = 0.1
CustomCheck = Callable[[GateContext], object]


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What a generation must show before it is promoted. What is not given is not asked, except for vanished documents.

    | name | the promotion is refused when the candidate |
    |---|---|
    | `documents_min`, `chunks_min` | has fewer |
    | `required_ids` | lacks one of these documents |
    | `vanished_share_max` | lacks more than this share of the active generation's documents |
    | `ndcg_drop` | has a mean nDCG@10 over the judged queries that is lower than the active generation's by more than this |
    | `overlap_min` | has on average a smaller share of its best 10 documents in common with the active generation |
    | `recall_min` | has a lower recall@10 of its vector index, as measured when it was built, or no vector index |
    | `latency_p95_ratio_max` | has a 95th percentile of search time of more than this many times the active generation's |
    | `checks` | makes one of these functions return anything but True |

    `vanished_share_max` is 0.1 unless given, and asked also where there is no gate at all; 1.0 does not ask. `overlap_min` looks at
    the queries that are not judged, or at all of them if all are.

    `queries` is the path of a `golden.jsonl` or of a BEIR folder, `JudgedQueries`, or a list of texts and mappings such as
    `{"query": ..., "relevant": {id: grade}}`; without `relevant` a query is not judged. They are read when the gate is made.

    **What decides about `ndcg_drop`** is the difference of the two means, and nothing else. Its 95 % interval (a paired bootstrap
    over the queries) is in the report, for you to see how far chance alone may carry it: with few queries that is far.

    Latencies are measured in turns after a warm-up, 200 searches of each generation, fewer (at least 20) if that takes longer than
    20 seconds; they depend on what else the machine does, so leave a margin.

    A function in `checks` is given a `GateContext`; it returns True or False, or a `GateCheck` to say what it found. One that
    raises has failed, with the error's text. Without an active generation, what compares with it passes and says so.

    Raises `InvalidConfig` for a value that makes no sense, `InvalidSource` for queries that cannot be read, `MissingExtra` if nDCG
    is asked for and cannot be computed here.

    >>> Gate(documents_min=1000, required_ids=["p-9"], queries=["vitamin D"], overlap_min=0.5)
    Gate(documents_min=1000, required_ids=('p-9',), queries=<1 queries, 0 judged>, overlap_min=0.5)
    """

    documents_min: int | None = None
    chunks_min: int | None = None
    required_ids: tuple[str, ...] = ()
    vanished_share_max: float = VANISHED_SHARE_MAX
    queries: Any = None
    ndcg_drop: float | None = None
    overlap_min: float | None = None
    recall_min: float | None = None
    latency_p95_ratio_max: float | None = None
    checks: tuple[CustomCheck, ...] = ()

    def __post_init__(self) -> None:
        for key in ("documents_min", "chunks_min"):
            _check_count(key, getattr(self, key))
        _check_share("vanished_share_max", self.vanished_share_max)
        for key in ("ndcg_drop", "overlap_min", "recall_min"):
            if getattr(self, key) is not None:
                _check_share(key, getattr(self, key))
        ratio = self.latency_p95_ratio_max
        if ratio is not None and (not _is_number(ratio) or ratio <= 0):
            _refuse("latency_p95_ratio_max", f"latency_p95_ratio_max must be a number above 0, found {ratio!r:.80}")
        msgspec.structs.force_setattr(self, "required_ids", _ids(self.required_ids))
        msgspec.structs.force_setattr(self, "checks", _checks(self.checks))
        if self.queries is not None:
            msgspec.structs.force_setattr(self, "queries", queries_of(self.queries))
        self._check_queries()

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Gate:
        """The gate in a file, with the names above as keys, but for `checks`. A relative path in `queries` begins at the file.

        Raises `InvalidConfig` with the file, and what the constructor raises.
        """
        file = Path(path)
        values = _read(file)
        for key in values:
            if key not in cls.__struct_fields__ or key == "checks":
                _refuse_key(file, key, [name for name in cls.__struct_fields__ if name != "checks"])
        if isinstance(values.get("queries"), str):
            values["queries"] = file.parent / values["queries"]
        try:
            return cls(**values)
        except InvalidConfig as error:
            raise InvalidConfig(f"{file}: {error}", **{**error.values, "origin": str(file)}) from None

    def __repr__(self) -> str:
        fields = zip(self.__struct_fields__, self.__struct_defaults__, strict=True)
        given = [(name, getattr(self, name)) for name, default in fields if getattr(self, name) != default]
        return f"Gate({', '.join(f'{name}={_shown(value)}' for name, value in given)})"

    def _check_queries(self) -> None:
        asking = [name for name in ("ndcg_drop", "overlap_min", "latency_p95_ratio_max") if getattr(self, name) is not None]
        queries: JudgedQueries | None = self.queries
        if asking and queries is None:
            _refuse(asking[0], f"{asking[0]} needs queries: give the gate a golden.jsonl or a list of queries")
        if queries is not None and not asking and not self.checks:
            _refuse(
                "queries", "queries are given and nothing is asked of them: set ndcg_drop, overlap_min or latency_p95_ratio_max"
            )
        if self.ndcg_drop is not None and queries is not None:
            if not queries.judgements:
                _refuse(
                    "ndcg_drop", f"ndcg_drop needs judged queries, and none of the {len(queries.queries)} of {queries.name!r} is"
                )
            require_measures()


def _check_count(key: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        _refuse(key, f"{key} must be a whole number of at least 0, found {value!r:.80}")


def _check_share(key: str, value: Any) -> None:
    if not _is_number(value) or not 0 <= value <= 1:
        _refuse(key, f"{key} must be a number from 0 to 1, found {value!r:.80}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _ids(given: object) -> tuple[str, ...]:
    ids = _listed(given)
    wrong = [given] if ids is None else [one for one in ids if not isinstance(one, str) or not one or not is_unicode(one)]
    if ids is None or wrong:
        _refuse("required_ids", f"required_ids is a list of document ids, which are text, found {wrong[0]!r:.80}")
    return tuple(dict.fromkeys(ids))


def _checks(given: object) -> tuple[CustomCheck, ...]:
    checks = _listed(given)
    if checks is None or not all(callable(one) for one in checks):
        _refuse("checks", f"checks is a list of functions that take a GateContext, found {given!r:.80}")
    return checks


def _listed(given: object) -> tuple[Any, ...] | None:
    return tuple(given) if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping) else None


def _shown(value: object) -> str:
    if isinstance(value, JudgedQueries):
        return f"<{len(value.queries)} queries, {value.judged_count} judged>"
    return repr(value)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise InvalidConfig(f"{file}: the gate cannot be read ({error.strerror})", key=None, origin=str(file)) from error
    except UnicodeDecodeError as error:
        raise InvalidConfig(
            f"{file}: is not UTF-8 text (byte {error.start}); TOML files are", key=None, origin=str(file)
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"{file}: not valid TOML: {error}", key=None, origin=str(file)) from error


def _refuse_key(file: Path, key: str, known: list[str]) -> NoReturn:
    if key == "checks":
        raise InvalidConfig(f"{file}: checks are functions; give them in code: Gate(checks=[...])", key=key, origin=str(file))
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise InvalidConfig(f"{file}: a gate has no {key!r}{hint} It has: {', '.join(known)}", key=key, origin=str(file))


def _refuse(key: str, message: str) -> NoReturn:
    raise InvalidConfig(f"gate: {message}", key=key)
