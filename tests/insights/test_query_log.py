"""What is in the query log, and what never is."""

from __future__ import annotations

import asyncio
import stat
import sys
from hashlib import blake2b
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import outcrop
from outcrop import Config, aio
from outcrop.errors import ReadOnly
from outcrop.filters import And, Compare, Exists, Filter, In, Not, Or
from outcrop.insights.line import QUERY_CHARACTERS_MAX, Line, Shape, shape
from tests.insights.logged import ROCKS, lines, log_of, opened, raw, rocks

SECRET = "zirconium"


def test_a_line_says_how_a_search_went(tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        hits = rocks(db).search("thin granite", k=3, where="lang = 'en' AND year >= 2021")

    (line,) = lines(tmp_path)
    assert (line.query, line.mode, line.k, line.engine) == ("thin granite", "hybrid", 3, "builtin")
    assert (line.generation, line.sequence, line.hits) == (hits.generation, hits.sequence, 1)
    assert (line.where, line.fields) == ("lang = text AND year >= number", ("lang", "year"))
    assert (line.lexical_candidates, line.vector_candidates) == (1, 1)
    assert (line.lexical_hits, line.vector_hits, line.both_hits) == (0, 0, 1)
    assert line.score == pytest.approx(hits[0].score, abs=1e-3)
    assert None not in (line.embed_ms, line.lexical_ms, line.vector_ms, line.fuse_ms, line.fetch_ms)
    assert line.total_ms == pytest.approx(hits.took_ms.total, abs=1e-3)


def test_nothing_is_logged_unless_it_was_asked_for(tmp_path: Path) -> None:
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        collection = rocks(db)
        collection.search("slate")
        assert collection.stats().query_log is None
    assert not log_of(tmp_path).exists()


def test_a_search_by_vector_is_logged_without_the_vector(tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        rocks(db).search(vector=[0.123456] * 64)

    (line,) = raw(tmp_path)
    assert line["mode"] == "vector"
    assert line["vector"] is True
    assert "query" not in line
    assert "123456" not in str(line)


def test_what_a_document_says_is_not_in_the_log(tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        collection = rocks(db)
        collection.upsert({"id": f"id-{SECRET}", "text": f"Of {SECRET} and slate.", "metadata": {"mineral": SECRET}})
        assert collection.search("slate", where={"mineral": SECRET})[0].document_id == f"id-{SECRET}"

    assert lines(tmp_path)[0].where == "mineral = text"
    assert SECRET not in "".join(path.read_text() for path in log_of(tmp_path).iterdir())


_VALUES = st.sampled_from(["zirconium", "q7771q", 7771771, 7771.25, True])
_LEAVES = st.one_of(
    st.builds(Compare, st.sampled_from(["lang", "year"]), st.sampled_from(["=", "!=", "<", ">="]), _VALUES),
    st.builds(In, st.sampled_from(["lang", "year"]), st.lists(_VALUES, min_size=1, max_size=3).map(tuple)),
    st.builds(Exists, st.just("hard")),
)
_FILTERS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)


@given(_FILTERS)
def test_of_a_filter_no_value_is_told(where: Filter) -> None:
    told = shape(where).text

    assert any(word in told for word in ("lang", "year", "hard"))
    assert not any(value in told for value in ("zirconium", "q7771q", "777", "True", "true"))


def test_filters_that_differ_in_their_values_have_one_shape() -> None:
    one_of = Or((Compare("a", "=", 1), Compare("a", "=", 2)))
    assert shape(one_of) == shape(Compare("a", "=", 3)) == Shape("a = number", ("a",))
    assert shape(And((Compare("b", "=", 1), Compare("a", "=", "x")))) == Shape("a = text AND b = number", ("a", "b"))
    nested = And((Or((Compare("a", "!=", 1), Exists("b"))), Compare("c", "=", 1)))
    assert shape(nested) == Shape("(a != number OR b IS NOT NULL) AND c = number", ("a", "b", "c"), negated=True)


def test_a_long_query_is_cut(tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        rocks(db).search("slate " * 200)

    (line,) = lines(tmp_path)
    assert line.query is not None
    assert (len(line.query), line.characters) == (QUERY_CHARACTERS_MAX, 1199)


def test_hashed_queries_can_be_counted_and_not_read(tmp_path: Path) -> None:
    with opened(tmp_path, query_log_text="hashed") as db:
        collection = rocks(db)
        for query in (SECRET, SECRET, "slate"):
            collection.search(query)
    with opened(tmp_path, query_log_text="hashed") as db:
        db.collection("rocks").search(SECRET)

    hashes = [line.query for line in lines(tmp_path)]
    assert hashes[0] == hashes[1] == hashes[3] != hashes[2]
    for path in log_of(tmp_path).iterdir():
        assert SECRET.encode() not in path.read_bytes()
    first = (log_of(tmp_path) / "key").read_bytes()
    assert len(first) == 32
    with opened(tmp_path, query_log_text="hashed") as db:
        assert db.collection("rocks").forget_queries() > 0
        assert not log_of(tmp_path).exists()
        db.collection("rocks").search(SECRET)
    assert (log_of(tmp_path) / "key").read_bytes() != first
    assert lines(tmp_path)[0].query not in hashes


@pytest.mark.parametrize("torn", [b"", b"half a key", b"x" * 100])
def test_a_key_that_is_not_whole_is_made_anew(tmp_path: Path, torn: bytes) -> None:
    with opened(tmp_path, query_log_text="hashed") as db:
        collection = rocks(db)
        log_of(tmp_path).mkdir()
        (log_of(tmp_path) / "key").write_bytes(torn)
        collection.search(SECRET)

    key = (log_of(tmp_path) / "key").read_bytes()
    assert len(key) == 32
    assert [line.query for line in lines(tmp_path)] == ["#" + blake2b(SECRET.encode(), key=key, digest_size=12).hexdigest()]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    with opened(tmp_path, query_log_text="hashed") as db:
        rocks(db).search("slate")

    assert stat.S_IMODE(log_of(tmp_path).stat().st_mode) == 0o700
    modes = {path.name.rpartition(".")[2]: stat.S_IMODE(path.stat().st_mode) for path in log_of(tmp_path).iterdir()}
    assert modes == {"jsonl": 0o600, "key": 0o600}


def test_an_answer_from_the_cache_is_logged_as_such(tmp_path: Path) -> None:
    with opened(tmp_path, query_cache_seconds=60.0) as db:
        collection = rocks(db)
        collection.search("slate")
        collection.search("slate")

    first, second = lines(tmp_path)
    assert (first.cached, second.cached) == (False, True)
    assert second.embed_ms is None
    assert (first.lexical_hits, first.vector_hits, first.both_hits) == (second.lexical_hits, second.vector_hits, second.both_hits)


def test_a_batch_is_logged_query_by_query(tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        rocks(db).search_many(["slate", "granite", "the of"], mode="lexical")

    found = lines(tmp_path)
    assert sorted((line.query, line.hits, line.batch, line.no_term) for line in found) == [
        ("granite", 1, True, False),
        ("slate", 1, True, False),
        ("the of", 0, True, True),
    ]


def test_searches_from_asyncio_are_logged(tmp_path: Path) -> None:
    async def ask() -> None:
        config = Config.test(query_log_share=1.0)
        async with await aio.open(tmp_path / "kb", config=config) as db:
            made = await db.create_collection("rocks", embedder="none")
            await made.build(ROCKS, promote=True)
            await asyncio.gather(*(made.search(query) for query in ("slate", "granite")))

    asyncio.run(ask())
    assert {line.query for line in lines(tmp_path)} == {"slate", "granite"}


def test_of_a_share_each_line_says_what_it_stands_for(tmp_path: Path) -> None:
    with opened(tmp_path, query_log_share=0.25) as db:
        collection = rocks(db, embedder="none")
        collection._open.queries._chance = Random(3)
        for _ in range(80):
            collection.search("slate")

    found = lines(tmp_path)
    assert 0 < len(found) < 40
    assert {line.share for line in found} == {0.25}


def test_a_database_that_is_only_read_logs_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as db:
        rocks(db)
    with outcrop.open(tmp_path / "kb", config=Config.test(query_log_share=1.0), read_only=True) as db:
        db.collection("rocks").search("slate")
        assert db.collection("rocks").stats().query_log is None
        with pytest.raises(ReadOnly):
            db.collection("rocks").forget_queries()
    assert not log_of(tmp_path).exists()


def test_what_was_searched_for_without_closing_is_in_the_log_when_the_program_ends(tmp_path: Path) -> None:
    import subprocess

    program = (
        "import sys; from pathlib import Path; from tests.insights.logged import opened, rocks;"
        "rocks(opened(Path(sys.argv[1]))).search('slate')"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
    assert [line.query for line in lines(tmp_path)] == ["slate"]


def test_every_field_of_a_line_is_specified() -> None:
    page = Path(__file__).parents[2] / "docs" / "format.md"
    section = page.read_text(encoding="utf-8").partition("## The query log")[2].partition("\n## ")[0]

    assert [field for field in Line.__struct_fields__ if f"`{field}`" not in section] == []
