"""Judged queries: which documents people found relevant to which query, read from a BEIR folder or from a `golden.jsonl`."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from outcrop.errors import InvalidInput, InvalidSource

_HEADER = ("query-id", "corpus-id", "score")
_GRADE = re.compile(r"[+-]?[0-9]{1,9}")


class JudgedQueries(msgspec.Struct, frozen=True):
    """Queries and what was judged relevant to them.

    `queries` maps a query id to its text. `judgements` maps a query id to `{document id: grade}`; a grade above 0 means relevant,
    and every query id in it is in `queries`. A query without judgements (`golden.jsonl` may have some) is searched when two
    generations are compared, but not counted in any measure.

    Raises `InvalidInput` when a judgement's query is not there or an id is empty.

    >>> judged = JudgedQueries(name="tiny", queries={"q1": "wing"}, judgements={"q1": {"d7": 1}})
    >>> judged.judged_count
    1
    """

    name: str
    queries: dict[str, str]
    judgements: dict[str, dict[str, int]]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.judgements) - set(self.queries))
        if unknown:
            raise InvalidInput(
                f"judged queries {self.name!r}: {len(unknown)} judged queries have no text, the first is {unknown[0]!r}; "
                "give every query in `judgements` a text in `queries`"
            )
        if "" in self.queries or any("" in grades for grades in self.judgements.values()):
            raise InvalidInput(f"judged queries {self.name!r}: an id is empty; query ids and document ids must not be")

    @property
    def judged_count(self) -> int:
        """How many queries count in a measure."""
        return len(self.judgements)


def load(source: str | Path, *, split: str = "test") -> JudgedQueries:
    """The judged queries of a BEIR folder, or of a `golden.jsonl` when `source` is a file.

    A BEIR folder holds `queries.jsonl` (lines with `_id` and `text`) and `qrels/<split>.tsv` (query id, document id and integer
    grade, separated by tabs; a first line without a grade is the header). Only queries with a row in that file count.

    Raises `InvalidSource` with the file and the line of whatever is malformed.
    """
    path = Path(source)
    if path.is_dir():
        return _load_folder(path, split)
    if not path.exists():
        raise InvalidSource(
            f"{path}: there is no such file or folder; give a BEIR folder (queries.jsonl and qrels/{split}.tsv) or a golden.jsonl",
            path=str(path),
        )
    return load_golden(path)


def load_golden(path: str | Path) -> JudgedQueries:
    """The queries of a `golden.jsonl`: a line is `{"query": text, "relevant": {document id: grade}}`.

    Without `relevant` a query is unjudged. A query's id is its line number, or `"id"` where the line has one.

    Raises `InvalidSource` with the file and the line.
    """
    path = Path(path)
    return _golden(path.stem, path, _records(path))


def golden(queries: Iterable[str | Mapping[str, object]], *, name: str = "queries") -> JudgedQueries:
    """Queries at hand: each is a text (unjudged) or a mapping with the keys of a `golden.jsonl`'s line.

    A query's id is its place, counted from 1, or `"id"` where the mapping has one. Raises `InvalidSource` with the place.

    >>> golden(["wing", {"query": "flutter", "relevant": {"d7": 1}}]).judgements
    {'2': {'d7': 1}}
    """
    if isinstance(queries, str):
        raise InvalidSource(f"queries are a list of texts or mappings, found one text: {queries!r:.60}; to read a file use load()")
    return _golden(name, None, ((place, _as_record(place, query)) for place, query in enumerate(queries, start=1)))


def _golden(name: str, path: Path | None, records: Iterable[tuple[int, dict[str, object]]]) -> JudgedQueries:
    queries: dict[str, str] = {}
    judgements: dict[str, dict[str, int]] = {}
    for line, record in records:
        query_id = _text_field(path, line, record, "id", default=str(line))
        if query_id in queries:
            earlier = "query" if path is None else "line"
            raise _invalid(path, line, f"the query id {query_id!r} was used by an earlier {earlier}; give every query its own")
        queries[query_id] = _query_text(path, line, _text_field(path, line, record, "query"))
        if record.get("relevant") is not None:
            judgements[query_id] = _golden_grades(path, line, record["relevant"])
    if not queries:
        shape = '{"query": "...", "relevant": {"id": 1}}'
        found = "there are no queries; one is a text or" if path is None else f"{path}: the file has no queries; a line is"
        raise InvalidSource(f"{found} {shape}", path=None if path is None else str(path))
    return JudgedQueries(name=name, queries=queries, judgements=judgements)


def _as_record(place: int, query: object) -> dict[str, object]:
    if isinstance(query, str):
        return {"query": query}
    if isinstance(query, Mapping):
        return dict(query)
    raise _invalid(None, place, f"it must be a text or a mapping with the key 'query', found {type(query).__name__}: {query!r:.60}")


def _load_folder(folder: Path, split: str) -> JudgedQueries:
    judgements, first_lines = _read_qrels(folder / "qrels" / f"{split}.tsv")
    texts = _read_queries(folder / "queries.jsonl", wanted=judgements.keys())
    for query_id, line in first_lines.items():
        if query_id not in texts:
            raise _invalid(
                folder / "qrels" / f"{split}.tsv",
                line,
                f"query {query_id!r} is judged but not in queries.jsonl; add it there or remove its rows",
            )
    return JudgedQueries(name=folder.resolve().name, queries={name: texts[name] for name in judgements}, judgements=judgements)


def _read_queries(path: Path, *, wanted: Container[str]) -> dict[str, str]:
    """Query id to text, for the ids in `wanted`; every line is checked all the same."""
    texts: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, record in _records(path):
        query_id = _text_field(path, line, record, "_id")
        text = _text_field(path, line, record, "text")
        if query_id in lines:
            raise _invalid(path, line, f"the query id {query_id!r} is already on line {lines[query_id]}; ids must be unique")
        lines[query_id] = line
        if query_id in wanted:
            texts[query_id] = _query_text(path, line, text)
    return texts


def _read_qrels(path: Path) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """The judgements, and for each query the line where it first appears."""
    judgements: dict[str, dict[str, int]] = {}
    first_lines: dict[str, int] = {}
    for line, text in _lines(path):
        fields = text.split("\t")
        if len(fields) != len(_HEADER):
            raise _invalid(
                path, line, f"expected 3 fields separated by tabs ({', '.join(_HEADER)}), found {len(fields)}: {text!r:.80}"
            )
        query_id, document_id, grade = (field.strip() for field in fields)
        if not _GRADE.fullmatch(grade):
            if line == 1:
                continue  # the header; a file that starts with a judgement has a grade here
            raise _invalid(path, line, f"the grade must be an integer, found {grade!r:.40}")
        if not query_id or not document_id:
            raise _invalid(path, line, "the query id and the document id must not be empty")
        grades = judgements.setdefault(query_id, {})
        if grades.get(document_id, int(grade)) != int(grade):
            raise _invalid(
                path,
                line,
                f"document {document_id!r} was judged {grades[document_id]} for query {query_id!r} above and {grade} here",
            )
        grades[document_id] = int(grade)
        first_lines.setdefault(query_id, line)
    if not judgements:
        raise InvalidSource(f"{path}: the file has no judgements; a row is a query id, a document id and a grade", path=str(path))
    return judgements, first_lines


def _golden_grades(path: Path | None, line: int, relevant: object) -> dict[str, int]:
    if not isinstance(relevant, dict):
        raise _invalid(path, line, f'"relevant" must be an object of document ids and grades, found {type(relevant).__name__}')
    for document_id, grade in relevant.items():
        if document_id == "":
            raise _invalid(path, line, 'a document id in "relevant" is empty')
        if not isinstance(document_id, str):
            raise _invalid(path, line, f'a document id in "relevant" must be text, found {document_id!r:.40}')
        if not isinstance(grade, int) or isinstance(grade, bool):
            raise _invalid(path, line, f"the grade of {document_id!r} must be an integer, found {grade!r:.40}")
    return dict(relevant)


def _query_text(path: Path | None, line: int, text: str) -> str:
    if not text.strip():
        raise _invalid(path, line, "the query is empty; an empty query finds nothing and cannot be judged")
    return text


def _text_field(path: Path | None, line: int, record: dict[str, object], name: str, *, default: str | None = None) -> str:
    if name not in record and default is not None:
        return default
    if name not in record:
        raise _invalid(path, line, f'the field "{name}" is missing; found {", ".join(map(repr, record)) or "no fields"}')
    value = record[name]
    if not isinstance(value, str):
        raise _invalid(path, line, f'the field "{name}" must be text, found {type(value).__name__}: {value!r:.40}')
    if not value and name in ("_id", "id"):
        raise _invalid(path, line, f'the field "{name}" is empty')
    return value


def _records(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Line number and object of every line that is not blank."""
    decoder = msgspec.json.Decoder()
    for line, text in _lines(path):
        try:
            record = decoder.decode(text)
        except msgspec.DecodeError as error:
            raise _invalid(path, line, f"the line is not JSON ({error}): {text!r:.60}") from error
        if not isinstance(record, dict):
            raise _invalid(path, line, f"the line must be a JSON object, found {type(record).__name__}: {text!r:.60}")
        yield line, record


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """1-based line number and text of every line that is not blank. Lines end with a line feed only, as in JSONL."""
    try:
        with path.open("rb") as file:
            for line, content in enumerate(file, start=1):
                text = _decoded(path, line, content)
                if text.strip():
                    yield line, text
    except OSError as error:
        raise InvalidSource(
            f"{path}: cannot be read ({error.strerror}); a BEIR folder holds queries.jsonl and qrels/<split>.tsv", path=str(path)
        ) from error


def _decoded(path: Path, line: int, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(path, line, f"not UTF-8 at byte {error.start} of the line; save the file as UTF-8") from error
    return text.rstrip("\r\n")


def _invalid(path: Path | None, line: int, problem: str) -> InvalidSource:
    if path is None:
        return InvalidSource(f"query {line}: {problem}", path=None, line=line)
    return InvalidSource(f"{path}, line {line}: {problem}", path=str(path), line=line)
