"""The vectors of one part: written once, then memory-mapped and searched by any number of threads and processes.

`vectors.f32` holds the rows one after the other: IEEE 754 float32, little-endian, C order, no header, so that row i begins at
byte 4 x dimension x i. For the cosine metric the rows are stored at length 1 (zeros stay zeros). `index.faiss` is FAISS's own
format and absent for `flat`. What the two hold is said by `VectorFacts`, which the list of parts keeps.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import faiss
import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop import buffers
from outcrop.engines.builtin.vector_facts import VectorFacts, set_effort
from outcrop.engines.builtin.vector_index import Found, build, nearest
from outcrop.engines.builtin.vector_scan import exact_nearest, normalized
from outcrop.engines.protocol import SampleQueries
from outcrop.errors import Closed, Damaged, IllegalState, InvalidInput, StorageFailed
from outcrop.index_values import IndexSpec, RecallGoal
from outcrop.model import Metric

__all__ = ["VectorFacts", "VectorPart", "VectorPartWriter", "exact_nearest", "normalized", "prepared"]

VECTORS_FILE = "vectors.f32"
INDEX_FILE = "index.faiss"

_FLOAT = np.dtype("<f4")
_UNIT_TOLERANCE = 1e-6
_KINDS = {"hnsw": "IndexHNSWSQ", "ivf_flat": "IndexIVFFlat", "ivf_pq": "IndexIVFPQ"}
_FAST_SCAN = "IndexIVFPQFastScan"
# Without the precomputed tables opening takes no time; with them an L2 index of product codes would compute them each time.
_READ_FLAGS = faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE


class VectorPartWriter:
    """Writes the two files of a part into a folder that exists. Rows go to disk as they come; nothing is kept in memory.

    Not for two threads at once. The files are complete after `seal`; making them durable (fsync of the files and of their
    folder) is the caller's duty, and `faiss.write_index` does none of it.
    """

    def __init__(self, directory: Path, dimension: int, metric: Metric) -> None:
        self._directory = directory
        self._dimension = dimension
        self._metric: Metric = metric
        self._row_count = 0
        self._open = True
        path = directory / VECTORS_FILE
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise _storage_failed("cannot create", path, error) from error

    def append(self, vectors: NDArray[np.float32], *, as_stored: bool = False) -> None:
        """Add rows: float32 of shape (n, dimension). With `as_stored` they come from another part and are taken as they are.

        Raises `InvalidInput` (nothing is written) when the shape is another or a number is NaN or infinite, `StorageFailed`
        when the file cannot be written, `IllegalState` after `seal` or `abort`.
        """
        self._check_open()
        rows = np.asarray(vectors, _FLOAT)
        if rows.ndim != 2 or rows.shape[1] != self._dimension:
            raise InvalidInput(
                f"{self._directory}: vectors of shape (n, {self._dimension}) are wanted, found {rows.shape}",
                path=str(self._directory),
            )
        with buffers.process.borrowed(rows.shape, np.bool_) as finite:
            if not np.isfinite(rows, out=finite).all():
                row = int(np.flatnonzero(~finite.all(axis=1))[0])
                raise InvalidInput(
                    f"{self._directory}: row {self._row_count + row} holds NaN or infinity; check the embedder",
                    path=str(self._directory),
                )
        if self._metric == "cosine" and not as_stored:
            with buffers.process.borrowed(rows.shape, _FLOAT) as scaled:
                self._write(normalized(rows, out=scaled))
        else:
            self._write(np.ascontiguousarray(rows, _FLOAT))
        self._row_count += len(rows)

    def seal(
        self, spec: IndexSpec, *, goal: RecallGoal | None = None, queries: SampleQueries | None = None, threads: int | None = None
    ) -> VectorFacts:
        """Build and write the index and say what was built. The files are not yet fsynced: see the class.

        With all cores, or `threads` of them, so that others get on with their work. `queries` gives what users may ask.

        Peak memory is the index itself plus at most a few hundred MB of training sample; the rows are read from the file.
        Raises `StorageFailed` when a file cannot be written, `InvalidConfig` for a parameter below 1; `abort` cleans up then.
        """
        self._check_open()
        self._open = False
        path = self._directory / VECTORS_FILE
        try:
            self._file.close()
        except OSError as error:
            raise _storage_failed("cannot write", path, error) from error
        rows = _mapped(path, self._row_count, self._dimension)
        index, facts = build(rows, self._metric, spec, goal=goal, queries=queries, threads=threads)
        if index is None:
            return facts
        index_path = self._directory / INDEX_FILE
        try:
            faiss.write_index(index, str(index_path))
        except RuntimeError as error:
            raise _foreign_storage_failed("cannot write", index_path, error) from error
        return msgspec.structs.replace(facts, index_size_bytes=index_path.stat().st_size)

    def abort(self) -> None:
        """Close and remove what was written. May be called at any time, also twice and after `seal`."""
        self._open = False
        with suppress(OSError):  # a full disk refuses the last buffer; the file goes anyway
            self._file.close()
        for name in (VECTORS_FILE, INDEX_FILE):
            path = self._directory / name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise _storage_failed("cannot remove", path, error) from error

    def _write(self, rows: NDArray[np.float32]) -> None:
        try:
            self._file.write(rows.data)
        except OSError as error:
            raise _storage_failed("cannot write", self._directory / VECTORS_FILE, error) from error

    def _check_open(self) -> None:
        if not self._open:
            raise IllegalState(
                f"{self._directory}: this part has been sealed or aborted; begin another one", path=str(self._directory)
            )


class VectorPart:
    """The vectors of a sealed part, open for searching from many threads at once.

    Files are mapped, not read: opening takes about a millisecond at any size, and processes share the memory. Not to be used for
    adding rows: adding to a mapped FAISS index ends the interpreter.
    """

    def __init__(self, vectors: NDArray[np.float32], index: Any, facts: VectorFacts, metric: Metric) -> None:
        # One attribute, replaced by one assignment: a search that has begun keeps the mapping alive while another thread closes.
        self._mapping: tuple[NDArray[np.float32], Any] | None = (vectors, index)
        self._metric: Metric = metric
        self.facts = facts

    @classmethod
    def open(cls, directory: Path, facts: VectorFacts, metric: Metric) -> Self:
        """Open what `VectorPartWriter` wrote in `directory` and `facts` describes.

        Raises `Damaged` when a file is missing, has another size or is no index of this kind, size and metric; `StorageFailed`
        when the operating system refuses. Contents are not checksummed here.
        """
        vectors = _mapped(directory / VECTORS_FILE, facts.row_count, facts.dimension)
        index = None if facts.kind == "flat" else _read_index(directory / INDEX_FILE, facts, metric)
        return cls(vectors, index, facts, metric)

    def nearest(self, vector: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None = None) -> Found:
        """The `k` nearest rows among those that `mask` selects (all without a mask) and their scores, through the index.

        `vector` is finite float32 of shape (dimension,), of any length for `cosine`; `mask` is bool of shape (row_count,).
        Returns int64 rows and float32 scores of shape (m,), best first, equal scores by row. A row that is not selected is never
        returned, and m is min(k, selected rows) unless a score overflows. Scores are the cosine similarity, the inner product or
        the negative euclidean distance, computed from the float32 rows. Raises `Closed`.
        """
        vectors, index = self._open_mapping()
        return nearest(index, vectors, prepared(vector, self._metric), k, facts=self.facts, metric=self._metric, mask=mask)

    def nearest_exact(self, vector: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None = None) -> Found:
        """As `nearest`, by scoring every selected row: exact, and linear in their number."""
        vectors, _ = self._open_mapping()
        return exact_nearest(vectors, prepared(vector, self._metric), k, self._metric, mask=mask)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """A copy of these rows as stored, float32 of shape (len(rows), dimension): normalised for `cosine`. Raises `Closed`."""
        vectors, _ = self._open_mapping()
        return vectors[np.asarray(rows, np.int64)]

    def close(self) -> None:
        """Release the files as soon as the last search that runs now has ended. Idempotent."""
        self._mapping = None

    def _open_mapping(self) -> tuple[NDArray[np.float32], Any]:
        mapping = self._mapping
        if mapping is None:
            raise Closed("the part has been closed; open the collection again")
        return mapping


def prepared(vector: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """A query as the rows of this metric are compared with it: for cosine at length 1."""
    contiguous = np.ascontiguousarray(vector, np.float32)
    if metric != "cosine" or abs(float(np.dot(contiguous, contiguous)) - 1.0) < _UNIT_TOLERANCE:
        return contiguous
    return normalized(contiguous)


def _mapped(path: Path, row_count: int, dimension: int) -> NDArray[np.float32]:
    expected = row_count * dimension * _FLOAT.itemsize
    try:
        size = path.stat().st_size
        if size != expected:
            raise Damaged(
                f"{path} has {size} bytes; {row_count} vectors of {dimension} numbers take {expected}. Build the generation anew",
                path=str(path),
            )
        if not expected:  # an empty file cannot be mapped
            return np.empty((row_count, dimension), np.float32)
        mapped = np.memmap(path, _FLOAT, mode="r", shape=(row_count, dimension))
    except FileNotFoundError as error:
        raise Damaged(f"{path} is missing. Build the generation anew", path=str(path)) from error
    except Damaged:
        raise
    except OSError as error:
        raise _storage_failed("cannot read", path, error) from error
    plain: NDArray[np.float32] = mapped.view(np.ndarray)  # without memmap's cost at each slice; it still holds the mapping
    return plain


def _read_index(path: Path, facts: VectorFacts, metric: Metric) -> Any:
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass  # FAISS hides why it cannot open a file
    except FileNotFoundError as error:
        raise Damaged(f"{path} is missing. Build the generation anew", path=str(path)) from error
    except OSError as error:
        raise _storage_failed("cannot read", path, error) from error
    if size != facts.index_size_bytes:
        # FAISS itself takes an inverted file whose last bytes are cut off.
        raise Damaged(f"{path} has {size} bytes, written were {facts.index_size_bytes}. Build the generation anew", path=str(path))
    try:
        index = faiss.read_index(str(path), _READ_FLAGS)
    except RuntimeError as error:
        raise Damaged(f"{path} is not a FAISS index: {_reason(error)}. Build the generation anew", path=str(path)) from error
    metric_type = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    found = (type(index).__name__, index.ntotal, index.d, index.metric_type)
    expected = (_FAST_SCAN if facts.is_fast_scan else _KINDS.get(facts.kind), facts.row_count, facts.dimension, metric_type)
    if found != expected:
        raise Damaged(
            f"{path} holds another index (kind, rows, dimension, metric): {found}, expected {expected}. Build the generation anew",
            path=str(path),
        )
    set_effort(index, facts)
    return index


def _storage_failed(what: str, path: Path, error: OSError) -> StorageFailed:
    name = errno.errorcode.get(error.errno, "unknown") if error.errno is not None else "unknown"
    return StorageFailed(f"{what} {path}: {error.strerror or error}. Check space and permissions", path=str(path), errno_name=name)


def _foreign_storage_failed(what: str, path: Path, error: RuntimeError) -> StorageFailed:
    """FAISS tells the operating system's reason in its message only."""
    reason = _reason(error)
    name = next(
        (name for text, name in (("No space left", "ENOSPC"), ("Permission denied", "EACCES")) if text in reason), "unknown"
    )
    return StorageFailed(f"{what} {path}: {reason}. Check space and permissions", path=str(path), errno_name=name)


def _reason(error: RuntimeError) -> str:
    """The part of a FAISS message that says what happened: it begins with the C++ signature and the source line."""
    return str(error).rpartition("Error: ")[2].strip() or str(error)
