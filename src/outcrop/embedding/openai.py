"""The embedders `openai:<model>`: any server that speaks OpenAI's `POST {base}/embeddings`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop import forking
from outcrop.embedding.arrays import encodable, slices, unit_rows
from outcrop.embedding.openai_http import Endpoint, Refused, RetryPolicy
from outcrop.embedding.packaged import require
from outcrop.errors import EmbeddingFailed, InvalidConfig
from outcrop.model import EmbedderIdentity

PACKAGES = ("httpx",)
OFFICIAL_BASE_URL = "https://api.openai.com/v1"
VECTOR_WEIGHT = 0.4

# OpenAI takes 2,048 texts and 300,000 tokens in one request; small servers far less. A token is rarely less than a character.
_BATCH_TEXTS_MAX = 128
_BATCH_CHARACTERS_MAX = 200_000


class _Form(msgspec.Struct, frozen=True):
    """How this server wants to be asked: the encoding, and whether it takes `dimensions`."""

    encoding: str
    with_dimensions: bool


class OpenAIEmbedder:
    """A model on an OpenAI-compatible server: OpenAI itself, vLLM, Ollama, LM Studio, Text Embeddings Inference and others.

    `dimensions` asks for shortened vectors; without it the model's own dimension is found by a first request. The prefixes are put
    before each text, as models such as E5 want it. The URL and the key come from the arguments, else from `OPENAI_BASE_URL` and
    `OPENAI_API_KEY`; the key is never shown. Vectors are scaled to length 1. The server is first asked when vectors are needed,
    or the identity without `dimensions`. Safe to use from many threads.

    Raises `MissingExtra`, and `InvalidConfig` for OpenAI's own server without a key; when used, `EmbeddingFailed`.
    """

    is_remote = True

    def __init__(
        self,
        model: str,
        *,
        dimensions: int | None = None,
        query_prefix: str = "",
        document_prefix: str = "",
        base_url: str | None = None,
        api_key: str | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        require("httpx", extra="openai")  # said before a missing key is: without it the key is of no use
        if not model:
            raise InvalidConfig("an openai embedder needs a model, for example openai:text-embedding-3-small", key="embedder")
        self.base_url = (base_url or os.environ.get("OPENAI_BASE_URL") or OFFICIAL_BASE_URL).rstrip("/")
        key = os.environ.get("OPENAI_API_KEY") if api_key is None else api_key
        if not key and self.base_url == OFFICIAL_BASE_URL:
            raise InvalidConfig(
                f"the embedder 'openai:{model}' needs a key for {OFFICIAL_BASE_URL}: set OPENAI_API_KEY,"
                " or openai_base_url (or OPENAI_BASE_URL) to another server",
                key="OPENAI_API_KEY",
            )
        self._model = model
        self._dimensions = dimensions
        self._prefixes = (query_prefix, document_prefix)
        self._spec = _spec(model, dimensions, query_prefix, document_prefix)
        self._endpoint = Endpoint(self.base_url, key or "", spec=self._spec, retry=RetryPolicy() if retry is None else retry)
        self._lock = forking.lock()
        self._form: _Form | None = None
        self._native_dimension: int | None = None

    def __repr__(self) -> str:
        return f"OpenAIEmbedder({self._spec!r}, base_url={self.cache_scope!r})"

    @property
    def identity(self) -> EmbedderIdentity:
        """Which embedder this is. Where the server stands is not part of it: the probe vectors tell if it is the same model."""
        if self._dimensions is None:
            self._agreed_form()
        dimension = self._dimensions or self._native_dimension
        if dimension is None:
            raise AssertionError("a form is agreed on only with a vector in hand")
        query_prefix, document_prefix = self._prefixes
        return EmbedderIdentity(
            spec=self._spec,
            provider="openai",
            model=self._model,
            revision="1",
            dimension=dimension,
            normalized=True,
            query_prefix=query_prefix,
            document_prefix=document_prefix,
        )

    @property
    def vector_weight(self) -> float:
        """The weight of the vector leg in the default fusion: between the weak and the strong model that were measured."""
        return VECTOR_WEIGHT

    @property
    def cache_scope(self) -> str:
        """What an embedding cache tells servers apart by: the base URL without credentials."""
        parts = urlsplit(self.base_url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Float32 of shape (len(texts), dimension), rows of length 1; a blank text gets a zero row, without a request.

        Raises `EmbeddingFailed` (attributes `embedder`, `status`).
        """
        return self._embed(texts, self._prefixes[1])

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Float32 of shape (dimension,). Raises `EmbeddingFailed`."""
        row: NDArray[np.float32] = self._embed([text], self._prefixes[0])[0]
        return row

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Float32 of shape (len(texts), dimension), by as few requests as the server allows. Raises `EmbeddingFailed`."""
        return self._embed(texts, self._prefixes[0])

    def _embed(self, texts: Sequence[str], prefix: str) -> NDArray[np.float32]:
        form = self._agreed_form()
        rows = np.zeros((len(texts), self.identity.dimension), dtype=np.float32)
        positions = [position for position, text in enumerate(texts) if text.strip()]
        inputs = [encodable(prefix + texts[position]) for position in positions]
        sizes = [len(text) for text in inputs]
        for batch in slices(sizes, count_max=_BATCH_TEXTS_MAX, size_max=_BATCH_CHARACTERS_MAX):
            rows[positions[batch]] = self._request(inputs[batch], form)
        return unit_rows(rows)

    def _agreed_form(self) -> _Form:
        """How to ask this server, found out by the first request: base64 if it takes that, else floats; `dimensions` likewise."""
        with self._lock:
            if self._form is None:
                self._form = self._try_forms()
            return self._form

    def _try_forms(self) -> _Form:
        refusal: Refused | None = None
        for with_dimensions in (True, False) if self._dimensions is not None else (False,):
            for encoding in ("base64", "float"):
                form = _Form(encoding, with_dimensions)
                try:
                    native_dimension = self._request(["outcrop"], form, check=with_dimensions).shape[1]
                except Refused as error:
                    refusal = refusal or error  # the first says what is wrong with the request that we really want to make
                    continue
                if self._dimensions not in (None, native_dimension):
                    raise self._without_dimensions(native_dimension, refusal)
                self._native_dimension = native_dimension
                return form
        raise AssertionError("no form was tried") if refusal is None else refusal

    def _without_dimensions(self, native_dimension: int, refusal: Refused | None) -> EmbeddingFailed:
        return EmbeddingFailed(
            f"the embedder {self._spec!r} cannot shorten its vectors: {self.cache_scope} refuses `dimensions`"
            f" ({refusal}) and the model has {native_dimension}. Use 'openai:{self._model}' without it.",
            embedder=self._spec,
            status=None if refusal is None else refusal.status,
        )

    def _request(self, inputs: Sequence[str], form: _Form, *, check: bool = True) -> NDArray[np.float32]:
        body: dict[str, object] = {"model": self._model, "input": list(inputs), "encoding_format": form.encoding}
        if form.with_dimensions:
            body["dimensions"] = self._dimensions
        rows = self._endpoint.embeddings(body, count=len(inputs))
        wanted = self._dimensions or self._native_dimension
        if check and wanted is not None and rows.shape[1] != wanted:
            raise EmbeddingFailed(
                f"the embedder {self._spec!r} wants vectors of {wanted} dimensions, {self.cache_scope} sent {rows.shape[1]}."
                " Has the server changed its model, or does it ignore `dimensions`?",
                embedder=self._spec,
                status=200,
            )
        return rows


def _spec(model: str, dimensions: int | None, query_prefix: str, document_prefix: str) -> str:
    options = {"dimensions": dimensions, "query_prefix": query_prefix, "document_prefix": document_prefix}
    query = urlencode({name: value for name, value in options.items() if value}, quote_via=quote)
    return f"openai:{model}?{query}" if query else f"openai:{model}"
