"""Makes `format-1.tar.gz` and `format-1.json`: a small database of format 1, and what it answers. Run once; not run by any test.

    python tests/golden/make.py FOLDER      # writes the two files into FOLDER

**The two files beside this script are for ever.** They were made with the first release of format 1; every later version must open
that database and give those answers, as `tests/test_golden.py` says. Never make them anew to have a test pass. A new format gets
files of its own, `format-2.tar.gz` and so on, and these stay.

It is one archive because a database of three collections is some 150 files, most of them of a few bytes. There are no lock files
and no leases in it (they hold nothing, and name the machine), no `-shm` files, and no embedding cache: all of that may be deleted.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

import outcrop
from outcrop import Collection, Config, Document, Gate, Hits
from outcrop.builds import quarantine
from outcrop.engines.builtin.index import BuiltinIndex
from outcrop.generations import catalog, journal
from outcrop.ingest import Progress
from outcrop.model import IndexSpec

DIMENSION = 8
VECTORS = [[((n * (2 * place + 3) * 7 + place * n * n) % 269 - 134) / 64 for place in range(DIMENSION)] for n in range(268)]
MODIFIED = 1_577_836_800  # 2020-01-01: what is kept for some days is not kept any more
NOT_KEPT = ("lease", ".lock", ".queue", "-shm")

ROCKS = [
    Document(
        "slate",
        "Slate splits into thin layers. It is made of clay that was pressed for a long time. Roofs are covered with slate, and so"
        " were the writing tablets of schools. Good slate rings when it is struck, and keeps out the rain for a hundred years.",
        title="Slate",
        source="rocks/slate.md",
        metadata={"kind": "metamorphic", "hardness": 3.5, "year": 1850, "uses": ["roof", "school"], "sold": True},
    ),
    Document(
        "granite",
        "Granite is hard and coarse. It cools slowly, deep below the surface, so that its crystals grow large. Kerbs, bridges and"
        " monuments are cut from it. Water and frost wear it down in ten thousand years.",
        title="Granite",
        metadata={
            "kind": "igneous",
            "hardness": 6.5,
            "year": 1777,
            "uses": ["bridge", "kerb"],
            "sold": True,
            "place": {"depth": 12_000},
        },
    ),
    Document(
        "basalt", "Basalt cools quickly at the surface.", metadata={"kind": "igneous", "hardness": 6, "year": 1801, "sold": False}
    ),
    Document(
        "chalk",
        "Chalk is made of shells that sank in a warm sea.",
        metadata={"kind": "sedimentary", "big": 2**53 + 1, "note": None},
    ),
    Document(
        "shale", "Shale is soft mud turned to stone, in thin layers.", metadata={"kind": "sedimentary", "empty": [], "none": {}}
    ),
    Document("Kreide/Rügen#1", "Weiße Kreide vom Kliff, сланец и 石板.", title="Über Kreide", metadata={"kind": "sedimentary"}),
    Document("gone", "This document is deleted later: obsidian.", metadata={"kind": "igneous", "year": 1700}),
]


def notes(database: Path) -> None:
    """Texts with an embedder: generation 1 archived, 2 active; the active one has a part and a tail; the pointer is a file."""
    with outcrop.open(database, config=_config(symlinks="never")) as db:
        made = db.create_collection("notes", embedder=f"hashing:{DIMENSION}", chunker="tokens:24/4")
        made.build(ROCKS, promote=True)
        made.upsert(Document("slate", "Slate is quarried in Wales.", title="Slate", metadata={"kind": "metamorphic", "year": 1900}))
        second = made.build(analyzer="simple", chunker="tokens:32/0", index="flat")
        gate = Gate(
            documents_min=5, required_ids=["chalk"], queries=[{"query": "layers", "relevant": {"shale": 1}}], overlap_min=0.1
        )
        made.promote(second, gate=gate)
        made.upsert(
            [Document("marble", "Marble takes a polish.", metadata={"kind": "metamorphic", "year": 2020, "uses": ["statue"]})]
        )
        made.upsert(
            Document(
                "basalt", "Basalt stands in columns of six sides.", metadata={"kind": "igneous", "hardness": 6.0, "year": 1801}
            )
        )
        made.update_metadata(["shale", "chalk"], {"checked": True, "year": 2021})
        made.delete(["gone", "never there"])


def points(database: Path) -> None:
    """Given vectors: generation 1 (product codes) archived, 2 (a graph) active, 3 never promoted; parts made by absorbing, a tail,
    a trimmed journal, a rollback and a forced promotion in the history; the pointer is a link."""
    documents = [
        Document(f"p{n:03}", f"point {n}", metadata={"n": n, "even": n % 2 == 0}, vector=vector) for n, vector in enumerate(VECTORS)
    ]
    with outcrop.open(database, config=_config(symlinks="auto")) as db:
        made = db.create_collection("points", embedder="none", chunker="none", metric="l2", index=IndexSpec(kind="ivf_pq", nlist=4))
        made.build(documents[:260], promote=True)
        made.promote(made.build(index=IndexSpec(kind="hnsw", m=4, ef_construction=16, ef_search=16)), force=True)
        made.upsert(documents[260:264])
        made.optimize()
        made.delete(where="n < 2")
        made.rollback()
        made.rollback()
        made.gc()
        made.build(index="flat")
        made.upsert(documents[264:])
        made.update_metadata("p264", {"moved": True})
        made.delete(["p010", "p261"])


def cut(database: Path) -> None:
    """What a killed process leaves: a write whose rows are there and whose words are not, SQLite's logs, an unfinished build; and a
    generation that was set aside. Ends the process."""
    with outcrop.open(database, config=_config(batch_documents=2)) as db:
        made = db.create_collection("cut", embedder=f"hashing:{DIMENSION}")
        made.upsert(ROCKS[:3])
        aside = made.build()
        quarantine._mark(made._open.stage, catalog.find(made._open.folder, aside), "set aside to be an example")
        cancel = Event()

        def stop(progress: Progress) -> None:
            if progress.documents >= 2:  # the first batch is written
                cancel.set()

        try:
            made.build(iter(ROCKS), progress=stop, cancel=cancel)
        except outcrop.errors.BuildCancelled as cancelled:
            assert cancelled.resumable
        BuiltinIndex.apply = lambda *_: os._exit(0)  # type: ignore[assignment, method-assign]
        made.upsert(ROCKS[3:5])


def answers(database: Path) -> dict[str, Any]:
    """What the database answers, for the tests to compare with."""
    point = [0.5, -1.0, 0.25, 0.0, 1.0, -0.5, 0.75, -0.25]
    asked: dict[str, list[dict[str, Any]]] = {
        "notes": [
            *({"query": "thin layers of slate", "mode": mode} for mode in ("lexical", "vector", "hybrid")),
            *({"query": "thin layers of slate", "mode": mode, "generation": 1} for mode in ("lexical", "vector", "hybrid")),
            {"query": "basalt columns cool", "mode": "hybrid", "where": "kind = 'igneous' and hardness >= 6"},
            {"query": "made of shells", "mode": "lexical", "where": "big > 9007199254740992"},
            {"query": "сланец Kreide", "mode": "lexical", "per_document": 3},
            {"query": "layers", "mode": "hybrid", "where": "checked = true or place.depth > 1", "fusion": "rrf"},
        ],
        "points": [
            {"vector": point, "mode": "vector"},
            {"vector": point, "mode": "vector", "generation": 1},
            {"vector": point, "mode": "vector", "generation": 3},
            {"vector": point, "mode": "vector", "k": 3, "candidates": 10},  # so few that the graph is walked
            {"vector": point, "mode": "vector", "k": 3, "candidates": 10, "generation": 1},  # and the lists are
            {"vector": point, "mode": "vector", "where": "n >= 254 and even = true"},
            {"query": "3 264 10", "mode": "lexical"},
            {"query": "3 264", "vector": point, "mode": "hybrid"},
        ],
        "cut": [{"query": "thin layers of slate", "mode": mode} for mode in ("lexical", "vector", "hybrid")],
    }
    conditions = {
        "notes": ["kind = 'igneous'", "year >= 1900", "uses = 'bridge'", "big IS NOT NULL", "not sold", "hardness = 6"],
        "points": ["even = true", "n < 20", "moved"],
        "cut": ["kind = 'igneous'", "place.depth > 1"],
    }
    with outcrop.open(database, config=_config(), read_only=True) as db:
        return {name: _of(db.collection(name), searches, conditions[name]) for name, searches in asked.items()}


def _of(collection: Collection, searches: list[dict[str, Any]], conditions: list[str]) -> dict[str, Any]:
    return {
        "searches": [{"asked": one, "answer": _answer(collection.search(**one))} for one in searches],
        "documents": [_document(one) for one in collection.scan()],
        "counts": {condition: collection.count(condition) for condition in conditions},
        "history": [msgspec.to_builtins(one) for one in collection.history()],
        "generations": [{**msgspec.to_builtins(one), "path": None, "size_bytes": None} for one in collection.generations()],
        "sequence": collection.stats().sequence,
        "gc": [[one.kind, one.generation] for one in collection.gc(dry_run=True).removed],
    }


def _answer(hits: Hits) -> dict[str, Any]:
    return {
        "hits": [[hit.id, hit.score] for hit in hits],
        "generation": hits.generation,
        "sequence": hits.sequence,
        "index_lag": hits.index_lag,
    }


def _document(document: Document) -> dict[str, Any]:
    vector = None if document.vector is None else document.vector.tolist()
    return {**{name: getattr(document, name) for name in ("id", "text", "title", "source", "metadata")}, "vector": vector}


def _config(**overrides: Any) -> Config:
    return Config.test(embedding_cache_bytes_max=0, **overrides)


def packed(folder: Path) -> bytes:
    """The folder as an archive that says nothing about the machine it was made on."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            if path.name.endswith(NOT_KEPT):
                continue
            member = tar.gettarinfo(path, path.relative_to(folder).as_posix())
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = MODIFIED
            member.mode = 0o755 if path.is_dir() else 0o644
            if member.isreg():
                with path.open("rb") as file:
                    tar.addfile(member, file)
            else:
                tar.addfile(member)
    return gzip.compress(archive.getvalue(), compresslevel=9, mtime=MODIFIED)


def in_lines(found: dict[str, Any]) -> str:
    """JSON with a line for every item of every list."""
    collections = []
    for name, of in found.items():
        parts = []
        for what, items in of.items():
            lines = [msgspec.json.encode(item).decode() for item in items] if isinstance(items, list) else []
            parts.append(f'"{what}": ' + ("[\n  " + ",\n  ".join(lines) + "\n ]" if lines else msgspec.json.encode(items).decode()))
        collections.append(f'"{name}": {{\n ' + ",\n ".join(parts) + "\n}")
    return "{\n" + ",\n".join(collections) + "\n}\n"


def main(target: Path) -> None:
    """Make both files."""
    with tempfile.TemporaryDirectory() as made:
        database = Path(made)
        notes(database)
        points(database)
        killed = subprocess.run([sys.executable, __file__, "--cut", made], check=False)
        assert killed.returncode == 0
        archive = packed(database)
    with tempfile.TemporaryDirectory() as unpacked:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(unpacked, filter="data")
        expected = in_lines(answers(Path(unpacked)))
    (target / "format-1.tar.gz").write_bytes(archive)
    (target / "format-1.json").write_text(expected, encoding="utf-8")


if __name__ == "__main__":
    journal._actor = lambda: "maker@example, process 1"
    if sys.argv[1] == "--cut":
        cut(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]))
