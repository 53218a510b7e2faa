"""One OpenAI-compatible `/embeddings` endpoint: requests with retries, answers checked. Knows nothing of batches and identities."""

from __future__ import annotations

import base64
import binascii
import random
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from outcrop import forking
from outcrop.embedding.packaged import require
from outcrop.errors import EmbeddingFailed

# The request itself is at fault, in a way that another form of it may not be (400, 422: no base64, no `dimensions`).
_REFUSALS = {400, 422}
_RETRIED = {408, 409, 425, 429}
_MESSAGE_CHARACTERS_MAX = 300
_JSON = {"Content-Type": "application/json"}


class RetryPolicy(msgspec.Struct, frozen=True):
    """How patiently to ask a server again after 408, 409, 425, 429, a 5xx or a broken connection. Times are in seconds.

    Delays double from `first_delay_seconds` to `delay_seconds_max`, each shortened at random by up to half, unless the server says
    how long to wait; "not at all" is no answer to that. No attempt starts later than `total_seconds` after the first.
    """

    attempts_max: int = 6
    first_delay_seconds: float = 0.5
    delay_seconds_max: float = 20.0
    total_seconds: float = 120.0
    timeout_seconds: float = 60.0


class Refused(EmbeddingFailed):
    """The server takes no such request (400 or 422); asking again the same way is pointless."""


class _Item(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Answer(msgspec.Struct):
    data: list[_Item]


class Endpoint:
    """The server at `base_url`. Safe to use from many threads. `spec` names the embedder in errors; the key is in none of them."""

    def __init__(self, base_url: str, api_key: str, *, spec: str, retry: RetryPolicy) -> None:
        self._httpx = require("httpx", extra="openai")
        self._url = f"{base_url}/embeddings"
        self._api_key = api_key
        self._spec = spec
        self._retry = retry
        self._lock = forking.lock()
        self._client: Any = None
        forking.in_child(self, Endpoint._forget_connections)

    def embeddings(self, body: Mapping[str, object], *, count: int) -> NDArray[np.float32]:
        """Float32 of shape (count, dimension), in the order of the inputs. Raises `Refused` and `EmbeddingFailed`."""
        response = self._post(body)
        try:
            answer = msgspec.json.decode(response.content, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._bad_answer(response.status_code, f"is not what was asked for ({error})") from error
        if sorted(item.index for item in answer.data) != list(range(count)):
            raise self._bad_answer(response.status_code, f"holds {len(answer.data)} vectors for {count} texts, or misnumbers them")
        try:
            rows = [_vector(item.embedding) for item in sorted(answer.data, key=lambda item: item.index)]
        except (ValueError, binascii.Error) as error:
            raise self._bad_answer(response.status_code, f"holds a vector that cannot be read ({error})") from error
        dimensions = sorted({len(row) for row in rows})
        if len(dimensions) != 1 or dimensions[0] == 0 or not all(np.isfinite(row).all() for row in rows):
            raise self._bad_answer(response.status_code, f"holds vectors of {dimensions} dimensions, or not all numbers are finite")
        return np.stack(rows)

    def _post(self, body: Mapping[str, object]) -> Any:
        """A response with status 200, after as many attempts as the policy allows."""
        began = time.monotonic()
        delay = self._retry.first_delay_seconds
        for attempt in range(1, self._retry.attempts_max + 1):
            response, failure = self._attempt(body)
            if failure is None:
                return response
            wait = _retry_after(response)
            if wait is None or wait <= 0:
                wait = min(delay, self._retry.delay_seconds_max) * random.uniform(0.5, 1.0)
                delay *= 2
            elapsed = time.monotonic() - began
            if attempt == self._retry.attempts_max or elapsed + wait > self._retry.total_seconds:
                break
            time.sleep(wait)
        status = None if response is None else response.status_code
        raise EmbeddingFailed(
            f"the embedder {self._spec!r} got no vectors from {self._shown(self._url)} in {attempt} attempts over"
            f" {time.monotonic() - began:.1f} s; the last one: {failure}. Try again later, or check the server.",
            embedder=self._spec,
            status=status,
        )

    def _attempt(self, body: Mapping[str, object]) -> tuple[Any, str | None]:
        """A response and None, or what went wrong in a way that may pass. Raises what will not pass."""
        try:
            response = self._opened().post(self._url, content=msgspec.json.encode(body), headers=_JSON)
        except (self._httpx.InvalidURL, self._httpx.UnsupportedProtocol) as error:
            raise EmbeddingFailed(
                f"the embedder {self._spec!r} cannot use the URL {self._shown(self._url)!r}: {error}."
                " Check OPENAI_BASE_URL or openai_base_url.",
                embedder=self._spec,
                status=None,
            ) from error
        except self._httpx.TransportError as error:
            return None, self._shown(f"{type(error).__name__}: {error}")
        status = response.status_code
        if status == 200:
            return response, None
        message = self._shown(_server_message(response))
        if (status in _RETRIED or status >= 500) and not _out_of_quota(response):
            return response, f"HTTP {status}: {message}"
        kind = Refused if status in _REFUSALS else EmbeddingFailed
        raise kind(
            f"the embedder {self._spec!r} was refused by {self._shown(self._url)}: HTTP {status}: {message}. {_advice(status)}",
            embedder=self._spec,
            status=status,
        )

    def _opened(self) -> Any:
        with self._lock:
            if self._client is None:
                headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
                self._client = self._httpx.Client(headers=headers, timeout=self._retry.timeout_seconds)
            return self._client

    def _forget_connections(self) -> None:
        """In a forked child, which shares them with its parent: what one says the other would hear the answer to."""
        forking.abandon(self._client)
        self._client = None

    def _bad_answer(self, status: int, what: str) -> EmbeddingFailed:
        return EmbeddingFailed(
            f"the embedder {self._spec!r} got an answer from {self._shown(self._url)} that {what}."
            " Is it an OpenAI-compatible server?",
            embedder=self._spec,
            status=status,
        )

    def _shown(self, text: str) -> str:
        """Without the key and without a user and password in the URL: servers like to repeat what they were sent."""
        userinfo = self._url.partition("://")[2].partition("/")[0].rpartition("@")[0]
        for secret in (self._api_key, userinfo):
            if secret:
                text = text.replace(secret, "***")
        return text


def _vector(embedding: str | list[float]) -> NDArray[np.float32]:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float32)
    return np.asarray(embedding, dtype=np.float32)


def _retry_after(response: Any) -> float | None:
    """What the server asks us to wait, in seconds: `retry-after-ms`, or `Retry-After`, seconds or a date (RFC 9110, 10.2.3)."""
    if response is None:
        return None
    text = response.headers.get("retry-after-ms")
    if text is not None and text.strip().isdigit():
        return int(text) / 1000
    text = response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    import email.utils  # here: it takes much along, and servers seldom send a date

    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _server_message(response: Any) -> str:
    """The message in an error body, in one of the shapes that servers use, else the beginning of the body."""
    try:
        body = msgspec.json.decode(response.content)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        body = response.text
    for key in ("error", "message", "detail"):
        if isinstance(body, dict) and key in body:
            body = body[key]
    text = body if isinstance(body, str) else str(body)
    return " ".join(text.split())[:_MESSAGE_CHARACTERS_MAX] or "(no message)"


def _out_of_quota(response: Any) -> bool:
    """OpenAI answers 429 also when an account has no money left, which waiting does not mend."""
    return response.status_code == 429 and b"insufficient_quota" in response.content


def _advice(status: int) -> str:
    if status in (401, 403):
        return "Check OPENAI_API_KEY."
    if status == 404:
        return "Check the model's name and OPENAI_BASE_URL or openai_base_url (it mostly ends in /v1)."
    if status == 429:
        return "Check the account's plan and quota."
    return "Check the model and its limits."
