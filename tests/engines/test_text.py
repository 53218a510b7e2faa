from __future__ import annotations

import json
import math
import shutil
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcrop.analysis import analyzer
from outcrop.engines.builtin.text import QUERY_TERMS_MAX, TITLE_BOOST, TextReader, TextSnapshot
from outcrop.engines.builtin.text_folder import tantivy_errors
from outcrop.engines.builtin.text_writer import TextWriter
from outcrop.engines.protocol import IndexedChunk
from outcrop.errors import Closed, CollectionLocked, Damaged, IllegalState, InvalidConfig, StorageFailed
from outcrop.filters import parse
from tests.damage import overwrite

ENGLISH = analyzer("english")


def chunk(slot: int, text: str, title: str | None = None, **metadata: object) -> IndexedChunk:
    return IndexedChunk(slot=slot, title=title, text=text, metadata=metadata, vector=None)


def built(directory: Path, chunks: Sequence[IndexedChunk], sequence: int = 1) -> TextReader:
    writer = TextWriter.create(directory, "english")
    writer.add(chunks)
    writer.commit(sequence)
    writer.close()
    return TextReader.open(directory, "english")


def written(directory: Path, chunks: Sequence[IndexedChunk], deletes: Sequence[int], sequence: int) -> None:
    writer = TextWriter.open(directory, "english")
    writer.add(chunks)
    writer.delete(deletes)
    writer.commit(sequence)
    writer.close()


def slots(reader: TextReader | TextSnapshot, query: str, where: str | None = None, k: int = 100) -> list[int]:
    snapshot = reader.newest() if isinstance(reader, TextReader) else reader
    return [int(slot) for slot in snapshot.search(query, k, parse(where) if where else None).slots]


def records(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def bm25(chunks: Sequence[IndexedChunk], query: str) -> dict[int, float]:
    """The score by the formula in the module's docstring; the marker is one more document without terms."""
    scores: dict[int, float] = defaultdict(float)
    for field, boost in (("text", 1.0), ("title", TITLE_BOOST)):
        documents = {}
        for one in chunks:
            title = one.title or ""
            documents[one.slot] = Counter(ENGLISH.terms(title if field == "title" else f"{title}\n{one.text}"))
        size = len(chunks) + 1
        average = sum(terms.total() for terms in documents.values()) / size
        for term, count in Counter(ENGLISH.terms(query)).items():
            df = sum(term in terms for terms in documents.values())
            idf = math.log(1 + (size - df + 0.5) / (df + 0.5))
            for slot, terms in documents.items():
                if term in terms:
                    tf = terms[term]
                    norm = 1.2 * (1 - 0.75 + 0.75 * terms.total() / average)
                    scores[slot] += boost * count * idf * 2.2 * tf / (tf + norm)
    return scores


WORDS = st.lists(st.sampled_from(["granite", "basalt", "slate", "marble", "the", "lava"]), max_size=12).map(" ".join)


@settings(max_examples=40)
@given(st.lists(st.tuples(WORDS, st.none() | WORDS), min_size=1, max_size=8), WORDS)
def test_scores_and_explanations_follow_the_formula(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str | None]], query: str
) -> None:
    chunks = [chunk(slot, text, title) for slot, (text, title) in enumerate(texts)]
    reader = built(tmp_path_factory.mktemp("text") / "index", chunks)
    ranking = reader.newest().search(query, 100, None)
    expected = bm25(chunks, query)
    found = dict(zip(ranking.slots.tolist(), ranking.scores.tolist(), strict=True))
    assert found == pytest.approx(expected, rel=1e-4)
    explained = reader.newest().explain(query, list(expected))
    assert {slot: sum(term.score for term in terms) for slot, terms in zip(expected, explained, strict=True)} == pytest.approx(
        found, rel=1e-4
    )


def test_an_explanation_says_frequency_and_weight_of_each_term_in_each_field(tmp_path: Path) -> None:
    reader = built(tmp_path, [chunk(0, "granite granite", "Granite"), chunk(1, "slate")])
    terms, nothing, unknown = reader.newest().explain("granite granite lava", [0, 1, 7])
    assert [(term.term, term.field, term.term_frequency, term.document_frequency) for term in terms] == [
        ("granit", "text", 3, 1),
        ("granit", "title", 1, 1),
    ]
    assert terms[0].idf == pytest.approx(2 * math.log(1 + 2.5 / 1.5), rel=1e-5)
    assert terms[1].idf == pytest.approx(TITLE_BOOST * terms[0].idf, rel=1e-5)
    assert (nothing, unknown) == ((), ())


def test_a_word_in_the_title_only_is_found_and_weighs_more_than_in_the_text_only(tmp_path: Path) -> None:
    reader = built(tmp_path, [chunk(0, "basalt granite", "slate"), chunk(1, "basalt slate", "granite"), chunk(2, "lava flows")])
    assert slots(reader, "granite") == [1, 0]


def test_equal_scores_are_ordered_by_slot(tmp_path: Path) -> None:
    reader = built(tmp_path, [chunk(slot, "granite") for slot in (9, 3, 7, 1)])
    written(tmp_path, [chunk(2, "granite"), chunk(8, "granite granite")], [], 2)
    assert slots(reader, "granite") == [8, 1, 2, 3, 7, 9]


def test_a_query_is_text_and_never_a_query_language(tmp_path: Path) -> None:
    reader = built(tmp_path, [chunk(0, "granite", kind="rock"), chunk(1, "and or not marker sequence")])
    for query in ("granite AND", 'title:"granite', "+granite -granite", "granite^9 ~ [ TO }", "(granite", "\\granite\\"):
        assert slots(reader, query) == [0]
    assert slots(reader, "marker:1 slot:0 *") == [1]


@pytest.mark.parametrize("query", ["", "the of and", " \n", "?!…", "\ud800", "zzz unknown"])
def test_a_query_without_an_indexed_term_finds_nothing(tmp_path: Path, query: str) -> None:
    ranking = built(tmp_path, [chunk(0, "the granite of and")]).newest().search(query, 10, None)
    assert (len(ranking), ranking.slots.dtype, ranking.scores.dtype) == (0, "int64", "float32")


@pytest.mark.parametrize("k", [-1, 0, 1, 2, 3, 10**12])
def test_at_most_k_hits_come_back(tmp_path: Path, k: int) -> None:
    reader = built(tmp_path, [chunk(slot, "granite") for slot in range(2)])
    assert len(reader.newest().search("granite", k, None)) == max(0, min(k, 2))


def test_a_filter_limits_hits_and_leaves_their_scores_alone(tmp_path: Path) -> None:
    years = (2001, 2015, 2020, 2015)
    reader = built(tmp_path, [chunk(slot, "granite " * (slot + 1), year=year) for slot, year in enumerate(years)])
    every = reader.newest().search("granite", 10, None)
    scores = dict(zip(every.slots.tolist(), every.scores.tolist(), strict=True))
    some = reader.newest().search("granite", 10, parse("year = 2015"))
    assert dict(zip(some.slots.tolist(), some.scores.tolist(), strict=True)) == {1: scores[1], 3: scores[3]}


def test_the_marker_is_no_hit_and_no_chunk(tmp_path: Path) -> None:
    reader = built(tmp_path, [chunk(0, "granite", year=2001), chunk(1, "slate")], sequence=41)
    assert (reader.newest().sequence, reader.newest().chunk_count) == (41, 2)
    assert slots(reader, "granite slate", where="NOT year = 2001") == [1]
    written(tmp_path, [], [1], 42)
    assert (reader.newest().sequence, reader.newest().chunk_count) == (42, 1)


def test_adds_and_deletes_are_seen_by_the_next_snapshot_all_at_once(tmp_path: Path) -> None:
    reader = built(tmp_path, [chunk(0, "granite"), chunk(1, "granite")])
    before = reader.newest()
    written(tmp_path, [chunk(2, "granite")], [0, 77], 2)
    after = reader.newest()
    assert (slots(before, "granite"), before.sequence, before.chunk_count) == ([0, 1], 1, 2)
    assert (slots(after, "granite"), after.sequence, after.chunk_count) == ([1, 2], 2, 2)


def test_adding_a_slot_again_replaces_it(tmp_path: Path) -> None:
    reader = built(tmp_path, [chunk(0, "granite"), chunk(1, "slate")])
    for sequence in (2, 3):
        written(tmp_path, [chunk(0, "basalt")], [], sequence)
    assert (slots(reader, "granite"), slots(reader, "basalt"), slots(reader, "slate")) == ([], [0], [1])
    assert reader.newest().chunk_count == 2


def test_what_was_not_committed_is_forgotten(tmp_path: Path) -> None:
    reader = built(tmp_path, [chunk(0, "granite")])
    writer = TextWriter.open(tmp_path, "english")
    writer.add([chunk(1, "granite")])
    writer.close()
    written(tmp_path, [], [], 2)
    assert slots(reader, "granite") == [0]


def test_many_small_writes_do_not_pile_up_segments(tmp_path: Path) -> None:
    built(tmp_path, [chunk(0, "granite")]).close()
    for slot in range(1, 40):
        written(tmp_path, [chunk(slot, "granite")], [], slot)
    assert slots(TextReader.open(tmp_path, "english"), "granite") == list(range(40))
    assert len(list(tmp_path.glob("*.idx"))) < 16


def test_of_a_query_with_too_many_terms_the_rarest_count(tmp_path: Path) -> None:
    common = [f"common{n}" for n in range(QUERY_TERMS_MAX)]
    reader = built(tmp_path, [chunk(0, " ".join(common)), chunk(1, " ".join(common)), chunk(2, "granite")])
    query = " ".join([*common, *(f"absent{n}" for n in range(50)), "granite"])
    assert sorted(slots(reader, query)) == [0, 1, 2]
    kept = {term.term for terms in reader.newest().explain(query, [0, 2]) for term in terms}
    assert "granit" in kept
    assert len(kept) == QUERY_TERMS_MAX


def test_searches_from_many_threads_go_on_during_writes(tmp_path: Path) -> None:
    reader = built(tmp_path, [chunk(slot, "granite") for slot in range(5)])
    done = threading.Event()
    wrong: list[object] = []

    def search() -> None:
        try:
            while not done.is_set():
                if slots(reader, "granite", k=5) != [0, 1, 2, 3, 4]:
                    wrong.append(slots(reader, "granite", k=5))
        except Exception as error:  # noqa: BLE001 - a thread's failure must reach the test
            wrong.append(error)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for sequence in range(2, 12):
        written(tmp_path, [chunk(100 + sequence, "granite with many other words beside it")], [], sequence)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(slots(reader, "granite")) == 15


def test_a_closed_reader_or_writer_says_so(tmp_path: Path) -> None:
    reader = built(tmp_path, [chunk(0, "granite")])
    snapshot = reader.newest()
    writer = TextWriter.open(tmp_path, "english")
    for one in (reader, writer):
        one.close()
        one.close()
    for call in (reader.newest, reader.verify, lambda: snapshot.search("x", 1, None), lambda: snapshot.explain("x", [0])):
        with pytest.raises(Closed):
            call()
    for call in (lambda: writer.add([]), lambda: writer.delete([]), lambda: writer.commit(1)):
        with pytest.raises(Closed):
            call()


def test_a_second_writer_is_refused_until_the_first_closes(tmp_path: Path) -> None:
    built(tmp_path, [chunk(0, "granite")]).close()
    writer = TextWriter.open(tmp_path, "english")
    with pytest.raises(CollectionLocked):
        TextWriter.open(tmp_path, "english")
    writer.close()
    TextWriter.open(tmp_path, "english").close()


@pytest.mark.parametrize("_turn", range(3))
def test_no_delete_is_lost_to_a_merge_that_was_due_when_the_writer_opened(tmp_path: Path, _turn: int) -> None:
    attempts = (_with_a_merge_due(tmp_path / str(attempt)) for attempt in range(20))
    directory, left = next(one for one in attempts if len(one[1]["segments"]) == 9)
    last_deleted_from = [one for one in left["segments"] if (one["deletes"] or {}).get("opstamp") == left["opstamp"]]
    assert len(last_deleted_from) == 1, "the segment with chunks 70 to 72 lost its marker to the last commit"
    with closing(TextWriter.open(directory, "english")) as writer:
        writer.delete([70, 71])
        writer.add([chunk(200, "granite")])
        writer.commit(10)
    kept = {0, *(10 * number + place for number in range(1, 9) for place in range(3)), 200} - {70, 71}
    with closing(TextReader.open(directory, "english")) as reader:
        assert set(slots(reader, "granite")) == kept


def _with_a_merge_due(directory: Path) -> tuple[Path, dict[str, Any]]:
    """As a merge that was given up leaves an index, because its segment was emptied meanwhile or the process ended: with nine
    segments; sometimes the merge is faster, and there are two. Its folder, and what Tantivy's `meta.json` says."""
    built(directory, [chunk(0, "granite")]).close()
    for number in range(1, 9):
        writer = TextWriter.open(directory, "english")
        writer.add([chunk(10 * number + place, "granite") for place in range(3)])
        writer.commit(number + 1)
        del writer  # not closed: that would wait for the merge
    return directory, json.loads((directory / "meta.json").read_text())


def test_an_index_is_created_once(tmp_path: Path) -> None:
    built(tmp_path, [chunk(0, "granite")]).close()
    with pytest.raises(IllegalState):
        TextWriter.create(tmp_path, "english")
    with pytest.raises(InvalidConfig):
        TextWriter.create(tmp_path / "other", "klingon")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("damage", ["no folder", "no meta", "half a meta", "a foreign meta", "half a file", "a file is gone"])
def test_a_damaged_index_is_refused(tmp_path: Path, damage: str) -> None:
    directory = tmp_path / "index"
    if damage != "no folder":
        built(directory, [chunk(0, "granite")]).close()
    meta = directory / "meta.json"
    if damage == "no meta":
        meta.unlink()
    elif damage == "half a meta":
        meta.write_bytes(meta.read_bytes()[:100])
    elif damage == "a foreign meta":
        meta.write_text(json.dumps({"schema": []}))
    elif damage == "half a file":
        file = next(directory.glob("*.idx"))
        overwrite(file, file.read_bytes()[: file.stat().st_size // 2])
    elif damage == "a file is gone":
        next(directory.glob("*.fast")).unlink()
    with pytest.raises(Damaged) as caught:
        TextReader.open(directory, "english").newest()
    assert str(directory) in str(caught.value)
    assert caught.value.path == directory


def test_an_index_of_another_analyzer_or_one_never_committed_is_refused(tmp_path: Path) -> None:
    built(tmp_path / "one", [chunk(0, "granite")]).close()
    with pytest.raises(Damaged, match="analyzer"):
        TextReader.open(tmp_path / "one", "german")
    TextWriter.create(tmp_path / "two", "english").close()
    with pytest.raises(Damaged, match="unfinished"):
        TextReader.open(tmp_path / "two", "english").newest()


def test_a_changed_byte_anywhere_is_found_by_verify(tmp_path: Path) -> None:
    built(tmp_path, [chunk(slot, f"granite word{slot}", year=slot) for slot in range(50)]).close()
    written(tmp_path, [], [7], 2)
    reader = TextReader.open(tmp_path, "english")
    reader.verify()
    files = [file for file in tmp_path.iterdir() if file.suffix not in (".json", ".lock")]
    assert {".idx", ".term", ".fast", ".fieldnorm", ".store", ".del"} <= {file.suffix for file in files}
    for file in files:
        content = file.read_bytes()
        for position in (0, -12, -1):  # the content, the checksum, the magic number
            changed = bytearray(content)
            changed[position] ^= 1
            overwrite(file, changed)
            with pytest.raises(Damaged, match=file.name):
                reader.verify()
        overwrite(file, content)
    reader.verify()


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed):
        TextWriter.create(tmp_path / "file" / "index", "english")


@pytest.mark.parametrize(("name", "least"), [("scifact", 0.68), ("cranfield", 0.50), ("cisi", 0.38)])
def test_bm25_is_as_good_as_it_was_measured_to_be(shared_data: Path, tmp_path: Path, name: str, least: float) -> None:
    folder = shared_data / name
    corpus = records(folder / "corpus.jsonl")
    reader = built(tmp_path, [chunk(slot, record["text"], record["title"]) for slot, record in enumerate(corpus)])
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query_id, document_id, grade = line.split("\t")
        judged[query_id][document_id] = int(grade)
    run: dict[str, dict[str, Any]] = {}
    for query in records(folder / "queries.jsonl"):
        ranking = reader.newest().search(query["text"], 100, None)
        run[query["_id"]] = {corpus[slot]["_id"]: float(score) for slot, score in zip(ranking.slots, ranking.scores, strict=True)}
    assert ir_measures.calc_aggregate([ir_measures.nDCG @ 10], judged, run)[ir_measures.nDCG @ 10] >= least


def test_a_full_disk_is_named_although_tantivy_does_not_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Worker thread failed.. (io::Error most likely) or panicked"
    for free_bytes, message, name in ((4096, "The disk is full: free some space", "ENOSPC"), (2**30, said.partition("(")[0], None)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free_bytes: SimpleNamespace(total=2**40, used=0, free=free))
        with (
            pytest.raises(StorageFailed, match=f"cannot merge the text index in .*{message}") as caught,
            tantivy_errors(tmp_path, "merge"),
        ):
            raise ValueError(said)
        assert caught.value.errno_name == name
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=2**40, used=2**40, free=0))
    with pytest.raises(Damaged), tantivy_errors(tmp_path, "open"):  # what is read needs no room
        raise ValueError(said)
