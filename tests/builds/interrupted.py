"""An embedder that tells what it embeds, and builds in processes that can be killed."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import outcrop
from outcrop import Config, Document, EmbedderIdentity
from outcrop.errors import EmbeddingFailed, UnknownCollection

DIMENSION = 8
BATCH = 10
IN_FLIGHT_MAX = 7 * BATCH  # four batches wait to be written, one is written, one is embedded, one was embedded when the kill came
NO_CACHE = Config.test(embedding_cache_bytes_max=0, batch_documents=BATCH)

_opened: list[outcrop.Database] = []


class Telling:
    """A deterministic embedder. `told` is called with each group of texts, and may raise."""

    identity = EmbedderIdentity("custom:telling", "test", "telling", "1", DIMENSION, normalized=False)
    vector_weight = 0.3

    def __init__(self, told: Callable[[Sequence[str]], object] = lambda _: None) -> None:
        self.texts: list[str] = []
        self._told = told

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        documents = [text for text in texts if "granite" in text]  # the others are probes
        if documents:
            self._told(documents)
            self.texts += documents
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return np.array([zlib.crc32(text.encode(), place) % 1000 + 1 for place in range(DIMENSION)], np.float32)


def failing_after(calls: int) -> Callable[[Sequence[str]], None]:
    """Raise `EmbeddingFailed` at the call after so many."""
    left = [calls]

    def told(_: Sequence[str]) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise EmbeddingFailed("the endpoint does not answer", embedder="custom:telling", status=503)

    return told


def documents(count: int = 200) -> list[Document]:
    return [Document(f"d{n}", f"granite number {n}", title=f"Rock {n}", metadata={"n": n, "odd": n % 2 == 1}) for n in range(count)]


def collection(kb: Path, embedder: Telling, config: Config = NO_CACHE) -> outcrop.Collection:
    """The collection `rocks`, opened anew; `close_all` closes it."""
    db = outcrop.open(kb, config=config)
    _opened.append(db)
    try:
        return db.collection("rocks", embedder=embedder)
    except UnknownCollection:
        return db.create_collection("rocks", embedder=embedder)


def close_all() -> None:
    """Close what `collection` opened."""
    while _opened:
        _opened.pop().close()


def main() -> None:
    """Build in this process, and tell of each group before it is embedded: a line with the numbers of its documents. Then wait."""
    kb, source = sys.argv[1:]

    def tell(texts: Sequence[str]) -> None:
        print(*(text.rsplit(" ", 1)[1] for text in texts), flush=True)  # noqa: T201 - the parent reads it
        sys.stdin.readline()

    embedder = Telling(tell)
    info = collection(Path(kb), embedder).build(documents() if source == "list" else source or None, embedder=embedder)
    print("done", info.number, flush=True)  # noqa: T201 - as above


def build_and_kill(kb: Path, source: Path | str, groups: int, *, waiting: bool = True) -> tuple[list[str], bool]:
    """Build in a process that is killed when it has told of so many groups, while it waits or just after it went on.

    The numbers of the documents that it embedded or was about to, and whether it came to its end.
    """
    command = [sys.executable, __file__, str(kb), str(source)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told: list[str] = []
        for count, line in enumerate(process.stdout, 1):
            if line.startswith("done"):
                return told, True
            told += line.split()
            if count != groups or not waiting:
                process.stdin.write("\n")
            if count == groups:
                process.kill()
                return told + [number for rest in process.stdout for number in rest.split()], False
    raise AssertionError("the build failed")


if __name__ == "__main__":
    main()
