"""A filter as a Tantivy query, to be pushed down into the lexical leg before its cut-off.

The binding's `range_query` refuses JSON paths, text and booleans; Tantivy drops terms over 65,530 bytes; and no numeric type of it
orders 64-bit integers and floats together. So every value is indexed as the text that `filter_terms` makes of it: an equality is
one term, a range is one range over the text column of its key, and types never meet. Measured with 100,000 documents of 7 values:
compiling takes 0.02 to 0.04 ms, a BM25 query of 0.09 ms takes 0.1 to 0.5 ms with one condition (1.2 ms with `!=`, which is two
ranges) whether it selects 0.1 % or all, and indexing takes about 30 us of CPU more per document.

Range queries over JSON text can only be made by Tantivy's query parser. What it is given holds no text of a user: keys and
values are letters and digits, made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tantivy
from tantivy import Occur, Query

from outcrop import filter_terms
from outcrop.filters import And, Compare, Exists, Filter, In, Not, Operator, Or, kind, leaves

VALUES_FIELD = "filter_values"
PATHS_FIELD = "filter_paths"
_KNOWN_MAX = 256
_KEY_CHARACTERS_MAX = 2_000
_RANGES: dict[Operator, tuple[str, ...]] = {
    "<": ("[* TO {0}}}",),
    "<=": ("[* TO {0}]",),
    ">": ("{{{0} TO *]",),
    ">=": ("[{0} TO *]",),
    "!=": ("[* TO {0}}}", "{{{0} TO *]"),
}


def add_filter_fields(builder: tantivy.SchemaBuilder) -> None:
    """Add the two fields that filters read: the values (JSON, with a column per key for ranges) and the paths that exist."""
    builder.add_json_field(VALUES_FIELD, tokenizer_name="raw", index_option="basic", fast=True)
    builder.add_text_field(PATHS_FIELD, tokenizer_name="raw", index_option="basic")


def filter_values(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a document with this metadata holds in those fields, in the form that `tantivy.Document.from_dict` takes."""
    values: dict[str, list[str]] = {}
    paths: set[str] = set()
    for path, value in leaves(metadata):
        paths.update(filter_terms.paths(path))
        key = filter_terms.key(path, kind(value))
        if len(key) <= filter_terms.KEY_LENGTH_MAX:  # a longer path cannot be named in a filter
            values.setdefault(key, []).append(filter_terms.term(value))
    return {VALUES_FIELD: values, PATHS_FIELD: sorted(paths)} if paths else {}


class CompiledFilters:
    """The queries of the filters that were used lately, for one schema. Safe to use from many threads."""

    def __init__(self, schema: tantivy.Schema) -> None:
        self._schema = schema
        self._known: dict[str, Query] = {}

    def query(self, where: Filter) -> Query:
        """As `compile_filter`. Told apart by how they are written out: 1 and True are equal, and mean something else."""
        key = repr(where)
        found = self._known.get(key)
        if found is None:
            found = compile_filter(where, self._schema)
            if len(key) <= _KEY_CHARACTERS_MAX:
                if len(self._known) >= _KNOWN_MAX:
                    self._known.clear()
                self._known[key] = found
        return found


def compile_filter(where: Filter, schema: tantivy.Schema) -> Query:
    """The query that selects exactly the documents whose metadata `outcrop.filters.matches`.

    Its scores mean nothing: wrap it in `Query.const_score_query(query, 0.0)` where scores are added up. `schema` must have the
    fields of `add_filter_fields`.
    """
    return _compile(where, schema, tantivy.Index(schema))  # an empty index in memory, for its query parser; takes 30 us


def _compile(where: Filter, schema: tantivy.Schema, parser: tantivy.Index) -> Query:
    match where:
        case And(parts):
            return _all([_compile(part, schema, parser) for part in parts])
        case Or(parts):
            return _any([_compile(part, schema, parser) for part in parts])
        case Not(part):  # a query of exclusions alone would find nothing
            return Query.boolean_query([(Occur.Must, Query.all_query()), (Occur.MustNot, _compile(part, schema, parser))])
        case Exists(field):
            return Query.term_query(schema, PATHS_FIELD, filter_terms.hexed(field), "basic")
        case In(field, values):
            terms: dict[str, list[str]] = {}
            for value in values:
                terms.setdefault(filter_terms.key(field, kind(value)), []).append(filter_terms.term(value))
            return _any([Query.term_set_query(schema, f"{VALUES_FIELD}.{key}", items) for key, items in terms.items()])
        case Compare(field, op, value):
            place = f"{VALUES_FIELD}.{filter_terms.key(field, kind(value))}"
            if op == "=":
                return Query.term_query(schema, place, filter_terms.term(value), "basic")
            return _any([parser.parse_query(f"{place}:{shape.format(filter_terms.term(value))}", []) for shape in _RANGES[op]])


def _all(queries: list[Query]) -> Query:
    return Query.boolean_query([(Occur.Must, query) for query in queries]) if queries else Query.all_query()


def _any(queries: list[Query]) -> Query:
    if len(queries) == 1:
        return queries[0]
    return Query.boolean_query([(Occur.Should, query) for query in queries]) if queries else Query.empty_query()
