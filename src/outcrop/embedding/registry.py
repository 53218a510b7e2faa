"""Embedders by name, made once per process."""

from __future__ import annotations

import difflib
import os
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from outcrop import forking
from outcrop.embedding import minilm, openai, static
from outcrop.embedding.hashing import HashingEmbedder
from outcrop.embedding.packaged import missing_packages
from outcrop.embedding.protocol import Embedder
from outcrop.errors import InvalidConfig, UnknownEmbedder

SPECS = ("auto", "static", "minilm", "openai:<model>", "hashing:<dimension>", "none")

_PACKAGES = {"static": static.PACKAGES, "minilm": minilm.PACKAGES, "openai": openai.PACKAGES}
_OPENAI_OPTIONS = ("dimensions", "query_prefix", "document_prefix")

_made: dict[tuple[str, ...], Embedder] = {}
_making = forking.lock()


class EmbedderFacts(msgspec.Struct, frozen=True):
    """Whether an embedder works here; if not, why and what to do about it."""

    name: str
    available: bool
    reason: str | None = None
    remedy: str | None = None


def resolve(spec: str | Embedder | None, *, openai_base_url: str | None = None) -> Embedder | None:
    """The embedder that `spec` names: `static`, `minilm`, `openai:<model>`, `hashing:<dimension>`; None for `none`.

    An embedder of the caller's own is returned as it is; `auto` and None mean the default, `default_spec()`. Named embedders are
    made once per process and shared. `openai_base_url` is the configured one; the environment variable `OPENAI_BASE_URL` serves
    where none is configured.

    Raises `UnknownEmbedder` with the nearest name, `MissingExtra`, `InvalidConfig` for options that an embedder does not have, and
    `EmbeddingFailed` when a model file is not the right one.
    """
    if spec is None or (isinstance(spec, str) and spec == "auto"):
        spec = default_spec()
    if not isinstance(spec, str):
        return _own(spec)
    name, _, argument = spec.partition(":")
    if spec == "none":
        return None
    if (name in ("static", "minilm") and spec != name) or (name == "openai" and not argument):
        raise _unknown(spec)
    if name not in ("static", "minilm", "openai", "hashing"):
        raise _unknown(spec)
    base_url = os.environ.get("OPENAI_BASE_URL") if openai_base_url is None else openai_base_url
    key = (spec, base_url or "", os.environ.get("OPENAI_API_KEY", "")) if name == "openai" else (spec,)
    with _making:
        if key not in _made:
            _made[key] = _make(name, argument, base_url)
        return _made[key]


def default_spec() -> str:
    """`static` where its packages are installed, else `none`. Imports none of them."""
    return "none" if missing_packages(static.PACKAGES) else "static"


def available(*, openai_base_url: str | None = None) -> list[EmbedderFacts]:
    """Whether each embedder works here, with the configured URL if there is one. Loads none and asks no server."""
    facts = []
    for name, packages in _PACKAGES.items():
        missing = missing_packages(packages)
        reason, remedy = None, None
        if missing:
            reason, remedy = f"not installed: {', '.join(missing)}", f"pip install 'outcrop[{name}]'"
        elif name == "openai" and not (openai_base_url or os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")):
            reason, remedy = "no API key", "set OPENAI_API_KEY, or OPENAI_BASE_URL to a server that needs none"
        facts.append(EmbedderFacts(name, reason is None, reason, remedy))
    return [*facts, EmbedderFacts("hashing", available=True), EmbedderFacts("none", available=True)]


def _make(name: str, argument: str, base_url: str | None) -> Embedder:
    if name == "static":
        return static.StaticTable()
    if name == "minilm":
        return minilm.MiniLM()
    if name == "hashing":
        return HashingEmbedder(_integer(argument, f"hashing:{argument}")) if argument else HashingEmbedder()
    model, _, query = argument.partition("?")
    return openai.OpenAIEmbedder(model, base_url=base_url, **_openai_options(argument, query))


def _openai_options(argument: str, query: str) -> dict[str, Any]:
    spec = f"openai:{argument}"
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    for option in options:
        if option not in _OPENAI_OPTIONS:
            nearest = difflib.get_close_matches(option, _OPENAI_OPTIONS, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise InvalidConfig(
                f"the embedder {spec!r} has no option {option!r}; there are {', '.join(_OPENAI_OPTIONS)}.{hint}", key="embedder"
            )
    if "dimensions" in options:
        options["dimensions"] = _integer(options["dimensions"], spec)
    return options


def _integer(text: str, spec: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise InvalidConfig(f"the embedder {spec!r} wants a positive whole number of dimensions, found {text!r}", key="embedder")
    return int(text)


def _own(embedder: Embedder) -> Embedder:
    """The caller's own embedder, if it is one. `isinstance` would compute its identity, which may need a server."""
    wanted = ("identity", "vector_weight", "embed_documents", "embed_query")
    lacking = [name for name in wanted if not hasattr(type(embedder), name) and name not in getattr(embedder, "__dict__", {})]
    if lacking:
        raise InvalidConfig(
            f"an embedder is a name or an object with {', '.join(wanted)};"
            f" found {type(embedder).__name__} without {', '.join(lacking)}",
            key="embedder",
        )
    return embedder


def _unknown(spec: str) -> UnknownEmbedder:
    name, _, argument = spec.partition(":")
    names = [known.partition(":")[0] for known in SPECS]
    nearest = difflib.get_close_matches(name.lower(), names, n=1)
    remedy = f"choose one of {', '.join(SPECS)}"
    if spec.startswith("custom:"):
        remedy = "pass the embedder object itself"
    elif name == "openai":
        remedy = "name the model, for example openai:text-embedding-3-small"
    elif nearest and (nearest[0] != name or argument):
        remedy = f"did you mean {nearest[0]!r}? {remedy.capitalize()}"
    return UnknownEmbedder(f"there is no embedder {spec!r}: {remedy}", name=spec, remedy=remedy)
