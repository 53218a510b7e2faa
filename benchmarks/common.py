"""What the benchmarks share: the corpus, the queries, the cache of built collections, timing, and how a result is written down."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.metadata
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import outcrop
from outcrop import Collection, Database, Document, Embedder, GenerationInfo
from outcrop.embedding import resolve

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
CACHE = ROOT / "build" / "bench"
SEED = 20260
FULL_COUNT = 181_095
QUICK_COUNT = 20_000
BUCKET_COUNT = 1000
COLLECTION = "bench"
_TEXT_FOLDERS = ("debian_packages", "wordnet")
_PACKAGES = ("outcrop", "faiss-cpu", "tantivy", "numpy", "msgspec", "ir-measures", "lancedb", "pyarrow")
_COMPLETE = "complete"


class Target(msgspec.Struct, frozen=True):
    """Something the project promises: what was found against what was wanted."""

    name: str
    found: float
    wanted: str
    met: bool

    def __str__(self) -> str:
        return f"{'met' if self.met else 'MISSED'}: {self.name} {self.found:,.4g} (wanted {self.wanted})"


class Result(msgspec.Struct, frozen=True):
    """The answer to one question: a table, what it was measured on, and the targets."""

    question: str
    corpus: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """The result as a heading, a Markdown table and a list."""
        lines = [f"### {self.question}", "", f"Corpus: {self.corpus}.", "", markdown_table(self.columns, self.rows), ""]
        lines += [f"- {target}" for target in self.targets] + [f"- {note}" for note in self.notes]
        return "\n".join(lines)


class Settings(msgspec.Struct, frozen=True):
    """How a benchmark was asked to run. `data` is the folder with the texts, or None where there is none."""

    data: Path | None
    cache: Path
    limit: int
    seed: int
    quick: bool

    @property
    def corpus(self) -> str:
        """The corpus, in words."""
        return f"{self.limit:,} {'texts of shared/data/text' if self.data else 'generated texts'}, seed {self.seed}"


def settings(
    description: str | None, arguments: Sequence[str] | None = None, **extra: Mapping[str, Any]
) -> tuple[Settings, argparse.Namespace]:
    """The settings from the command line. `extra` adds options: name to keywords of `add_argument`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder with text/, scifact/, ... (default: ../shared/data)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where collections and results are kept (default: build/bench)")
    parser.add_argument("--limit", type=int, help=f"how many texts (default: {FULL_COUNT:,}, with --quick {QUICK_COUNT:,})")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--quick", action="store_true", help="a smaller corpus and fewer queries")
    for name, options in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **options)
    parsed = parser.parse_args(arguments)
    count = parsed.limit if parsed.limit is not None else (QUICK_COUNT if parsed.quick else FULL_COUNT)
    data = parsed.data.resolve() if (parsed.data / "text").is_dir() else None
    return Settings(data=data, cache=parsed.cache.resolve(), limit=count, seed=parsed.seed, quick=parsed.quick), parsed


def documents(chosen: Settings, limit: int | None = None) -> Iterator[Document]:
    """The first `limit` documents of the corpus, the two files interleaved.

    Each gets `bucket`, a number in [0, 1000) drawn with the seed, so that `bucket < n` selects n in a thousand.
    """
    rng = random.Random(chosen.seed)
    texts = _shared_texts(chosen.data) if chosen.data else _generated_texts(chosen.seed)
    for record in islice(texts, chosen.limit if limit is None else limit):
        metadata = {**record.get("metadata", {}), "bucket": rng.randrange(BUCKET_COUNT)}
        yield Document(id=record["_id"], title=record["title"], text=record["text"], metadata=metadata)


def queries(chosen: Settings, count: int) -> list[str]:
    """Query texts: titles and first words of texts from the corpus, and claims of SciFact where there are any; seeded."""
    rng = random.Random(chosen.seed + 1)
    claims = _claims(chosen.data) if chosen.data else []
    claim_count = min(len(claims), count // 3)
    sample = _reservoir(documents(chosen), count - claim_count, rng)
    texts = [
        document.title if position % 2 and document.title else _first_words(document.text, rng)
        for position, document in enumerate(sample)
    ]
    texts += rng.sample(claims, claim_count)
    rng.shuffle(texts)
    return texts


def open_cached(chosen: Settings, limit: int | None = None, embedder: str = "static") -> tuple[Database, Collection]:
    """A collection of the corpus with its default recipe, built if the cache has none by this very code. The caller closes it."""
    count = chosen.limit if limit is None else limit
    kind = "shared" if chosen.data else "generated"
    folder = chosen.cache / f"{kind}-{embedder}-{count}-{chosen.seed}"
    complete, code = folder / _COMPLETE, code_digest()
    if not complete.exists() or complete.read_text("ascii") != code:
        print(f"building {count:,} texts in {folder} ...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        with outcrop.open(folder / "db") as db:
            db.create_collection(COLLECTION, embedder=embedder).build(documents(chosen, count), promote=True)
        complete.write_text(code, "ascii")
    db = outcrop.open(folder / "db")
    return db, db.collection(COLLECTION)


def code_digest() -> str:
    """Of Outcrop's sources: what other code has built may be another index."""
    digest = hashlib.sha256()
    for file in sorted(Path(outcrop.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def active_generation(collection: Collection) -> GenerationInfo:
    """The generation that is measured; the cached collections always have one."""
    found = collection.active
    if found is None:
        raise SystemExit(f"{collection!r} has no active generation: remove the cache folder")
    return found


def embedder_of(generation: GenerationInfo) -> Embedder:
    """The generation's own embedder, to embed queries apart from a search."""
    identity = generation.recipe.embedder
    found = None if identity is None else resolve(identity.spec)
    if found is None:
        raise SystemExit(f"generation {generation.number} has no embedder, and this benchmark needs query vectors")
    return found


def embedder_named(spec: str) -> Embedder:
    """An embedder by its name, such as "static"."""
    found = resolve(spec)
    if found is None:
        raise SystemExit(f"there is no embedder {spec!r}: pip install 'outcrop[{spec}]'")
    return found


def interleaved_ms(runs: Mapping[str, Callable[[int], object]], count: int, *, warm_up: int, seed: int) -> dict[str, np.ndarray]:
    """Milliseconds of every run on every query: float64 of shape (count,) each.

    The runs take turns in a new random order, so that a slow moment of the machine falls on all of them alike. Each turn has
    another query for every run, spread over the list, so that none finds in the processor's caches what another one has just read.
    The first `warm_up` queries are run before, untimed.
    """
    rng = random.Random(seed)
    took_ms = {name: np.empty(count) for name in runs}
    for query_index in range(min(warm_up, count)):
        for run in runs.values():
            run(query_index)
    order = list(runs)
    shift = {name: number * count // len(order) for number, name in enumerate(order)}
    for turn in range(count):
        rng.shuffle(order)
        for name in order:
            run, query_index = runs[name], (turn + shift[name]) % count
            started = time.perf_counter_ns()
            run(query_index)
            took_ms[name][query_index] = (time.perf_counter_ns() - started) / 1e6
    return took_ms


def spread(samples: np.ndarray) -> tuple[float, float, float, float]:
    """The 25th, 50th, 75th and 95th percentile."""
    low, median, high, slow = np.percentile(samples, [25, 50, 75, 95])
    return float(low), float(median), float(high), float(slow)


def run_child(module: str, *arguments: str) -> dict[str, Any]:
    """Run `python -m module arguments` in a fresh process from the repository's root and read the JSON on its last line."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {done.returncode}:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def peak_memory_bytes() -> int:
    """The most memory that this process has held at once (resident), in bytes.

    On Linux from /proc: `ru_maxrss` of a process that was started by a larger one is the larger one's, because the counter survives
    exec.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource  # absent on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def environment(packages: Sequence[str] = _PACKAGES) -> dict[str, Any]:
    """The machine, the versions and the command that a number depends on."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {name: _version(name) for name in packages},
        "command": _command(),
    }


def write_json(path: Path, found: object) -> None:
    """Write a result down for people and programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    print(f"  written: {path}", file=sys.stderr, flush=True)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; numbers are rounded and set right."""
    cells = [[_cell(value) for value in row] for row in rows]
    right = [bool(rows) and all(isinstance(row[index], int | float | None) for row in rows) for index in range(len(columns))]
    widths = [max(len(text) for text in column) for column in zip(columns, *cells, strict=True)]
    rule = ["-" * (width - 1) + ":" if is_right else "-" * width for width, is_right in zip(widths, right, strict=True)]
    lines = [
        [text.rjust(width) if is_right else text.ljust(width) for text, width, is_right in zip(line, widths, right, strict=True)]
        for line in [list(columns), *cells]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 1 else f"{value:.3f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _shared_texts(data: Path) -> Iterator[dict[str, Any]]:
    """The records of both files in turn, so that every prefix has both kinds; what is left of the longer one comes last."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with ExitStack() as opened:
        paths = [data / "text" / folder / "corpus.jsonl.gz" for folder in _TEXT_FOLDERS]
        files = [opened.enter_context(gzip.open(path, "rb")) for path in paths]
        for lines in zip_longest(*files):
            yield from (decode(line) for line in lines if line is not None)


def _generated_texts(seed: int) -> Iterator[dict[str, Any]]:
    """Texts of 5 to 60 words drawn from 50,000 with Zipf's frequencies: for machines without the shared texts."""
    rng = np.random.default_rng(seed)
    syllables = ["ba", "co", "di", "fe", "gu", "la", "mo", "ni", "pe", "ru", "sa", "to", "vi", "ze", "sha", "kri"]
    words = np.array(["".join(rng.choice(syllables, size=rng.integers(2, 5))) + str(number % 10) for number in range(50_000)])
    for number in range(sys.maxsize):
        drawn = words[np.minimum(rng.zipf(1.2, size=rng.integers(8, 63)), len(words)) - 1]
        yield {"_id": f"g-{number}", "title": " ".join(drawn[:3]), "text": " ".join(drawn[3:])}


def _reservoir(items: Iterator[Document], count: int, rng: random.Random) -> list[Document]:
    sample = list(islice(items, count))
    for seen, item in enumerate(items, start=count):
        place = rng.randrange(seen + 1)
        if place < count:
            sample[place] = item
    return sample


def _first_words(text: str, rng: random.Random) -> str:
    return " ".join(text.split()[: rng.randint(3, 12)]) or text


def _claims(data: Path) -> list[str]:
    path = data / "scifact" / "queries.jsonl"
    return [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _command() -> str:
    """What was run, without the folders of this machine."""
    spec = sys.modules["__main__"].__spec__
    module = "benchmarks" if spec is None else spec.name.removesuffix(".__main__")
    words = iter(sys.argv[1:])
    kept = [word for word in words if word not in ("--data", "--cache") or next(words, None) is None]
    return " ".join(["python", "-m", module, *kept])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
