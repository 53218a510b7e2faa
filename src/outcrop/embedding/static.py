"""The embedder `static`: one vector a token from a table, and the mean of them for a text. No network is run.

The table and its tokenizer come with the package `wordllama` and are read as files: the package's own loader wants the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from outcrop.embedding.arrays import encodable, slices, unit_rows
from outcrop.embedding.packaged import PackagedFile, locate, require
from outcrop.model import EmbedderIdentity

PACKAGES = ("safetensors", "tokenizers", "wordllama")
TABLE = PackagedFile(
    "wordllama", "weights/l2_supercat_256.safetensors", "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5"
)
TOKENIZER = PackagedFile(
    "wordllama", "tokenizers/l2_supercat_tokenizer_config.json", "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68"
)
DIMENSION = 256
VECTOR_WEIGHT = 0.3

_BATCH_TEXTS_MAX = 512
_BATCH_CHARACTERS_MAX = 1_000_000
# The tokenizer sees a text as one word and takes more than linear time and memory for it.
_PIECE_CHARACTERS_MAX = 16_384


class StaticTable:
    """The 256-dimension table of WordLlama: the mean of the token vectors, length 1, from the whole of a text.

    Use it for large amounts of text, small machines and as the default; it knows words, not sentences, so give it less weight
    than a transformer. Safe to use from many threads. Holds 32 MB.

    Raises `MissingExtra`, and `EmbeddingFailed` when a model file is not the one that is pinned here.
    """

    is_remote = False

    def __init__(self) -> None:
        tokenizers, safetensors = require("tokenizers", extra="static"), require("safetensors.numpy", extra="static")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(locate(TOKENIZER, extra="static")))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        table = next(iter(safetensors.load_file(locate(TABLE, extra="static")).values()))
        # float16 would save 16 MB and make the sums four times slower.
        self._table: NDArray[np.float32] = np.ascontiguousarray(table, dtype=np.float32)
        self._identity = EmbedderIdentity(
            spec="static",
            provider="wordllama",
            model="l2_supercat_256",
            revision=f"{TABLE.sha256[:16]}-{TOKENIZER.sha256[:16]}-mean",
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
        """Float32 of shape (len(texts), 256), rows of length 1; a text that is empty or blank gets a zero row."""
        rows = np.zeros((len(texts), DIMENSION), dtype=np.float32)
        sizes = [len(text) for text in texts]
        for batch in slices(sizes, count_max=_BATCH_TEXTS_MAX, size_max=_BATCH_CHARACTERS_MAX):
            self._add_token_rows(texts[batch], rows[batch])
        return unit_rows(rows)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Float32 of shape (256,)."""
        row: NDArray[np.float32] = self.embed_documents([text])[0]
        return row

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Float32 of shape (len(texts), 256)."""
        return self.embed_documents(texts)

    def _add_token_rows(self, texts: Sequence[str], rows: NDArray[np.float32]) -> None:
        """Add to each row the sum of its text's token vectors. The mean has the same direction."""
        owners, pieces = [], []
        for position, text in enumerate(texts):
            for piece in _pieces(text.strip()):
                owners.append(position)
                pieces.append(encodable(piece))
        for owner, encoding in zip(owners, self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False), strict=True):
            if token_ids := encoding.ids:
                rows[owner] += self._table.take(token_ids, axis=0).sum(axis=0)


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces that together have the tokens of the whole: a cut is made at a space, which the tokenizer puts back."""
    start = 0
    while len(text) - start > _PIECE_CHARACTERS_MAX:
        cut = text.rfind(" ", start + 1, start + _PIECE_CHARACTERS_MAX)
        if cut < 0:
            yield text[start : start + _PIECE_CHARACTERS_MAX]
            start += _PIECE_CHARACTERS_MAX
        else:
            yield text[start:cut]
            start = cut + 1
    if start < len(text):
        yield text[start:]
