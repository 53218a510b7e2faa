"""The five modes, the order of precedence, and what is refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcrop.config import MODES, Config, load, variable
from outcrop.errors import InvalidConfig, OutcropError, StorageFailed


def write(folder: Path, text: str) -> Path:
    (folder / "outcrop.toml").write_text(text, encoding="utf-8")
    return folder


def origins(config: Config) -> dict[str, str]:
    return {item.key: item.origin for item in config.settings()}


def refusal(folder: Path | None = None, environ: dict[str, str] | None = None, config: Config | None = None) -> InvalidConfig:
    with pytest.raises(InvalidConfig) as caught:
        load(folder or "kb", config, environ or {})
    return caught.value


@pytest.mark.parametrize(
    ("mode", "use_lancedb", "fallback_to_mvp"),
    [
        ("default", False, True),
        ("test", False, True),
        ("mvp_only", False, False),
        ("production", True, True),
        ("lancedb_test", True, False),
    ],
)
def test_each_mode_has_exactly_its_engine_and_its_fallback(mode: str, use_lancedb: bool, fallback_to_mvp: bool) -> None:
    by_constructor = getattr(Config, mode)("kb")
    by_variable = load("kb", None, {"OUTCROP_MODE": mode})
    for config in (by_constructor, by_variable):
        assert (config.mode, config.use_lancedb, config.fallback_to_mvp) == (mode, use_lancedb, fallback_to_mvp)
        assert config.path == Path("kb")


def test_there_are_five_modes_and_each_has_a_constructor() -> None:
    assert MODES == ("default", "test", "mvp_only", "production", "lancedb_test")
    assert all(getattr(Config, mode)().mode == mode for mode in MODES)


def test_the_test_mode_is_smaller_than_the_default() -> None:
    small, usual = Config.test(), Config.default()
    for key in ("embedding_cache_bytes_max", "part_bytes_max", "batch_documents", "lock_timeout_seconds", "tail_chunks_max"):
        assert 0 < getattr(small, key) < getattr(usual, key), key
    assert [(one.background, one.query_cache_seconds) for one in (small, usual)] == [(False, 0.0), (True, 300.0)]
    assert small.candidates == usual.candidates  # or a test would rank differently from the program it tests


def test_a_preset_yields_to_the_file_the_file_to_a_variable_and_a_variable_to_code(tmp_path: Path) -> None:
    usual = load(tmp_path, None, {})
    write(tmp_path, "candidates = 11\n")
    from_file = load(tmp_path, None, {})
    from_variable = load(tmp_path, None, {"OUTCROP_CANDIDATES": "12"})
    from_code = load(tmp_path, Config.default(candidates=13), {"OUTCROP_CANDIDATES": "12"})

    assert [config.candidates for config in (usual, from_file, from_variable, from_code)] == [100, 11, 12, 13]
    assert [origins(config)["candidates"] for config in (usual, from_file, from_variable, from_code)] == [
        "preset default",
        f"{tmp_path / 'outcrop.toml'}:1",
        "OUTCROP_CANDIDATES",
        "code",
    ]


def test_the_mode_follows_the_same_order(tmp_path: Path) -> None:
    write(tmp_path, 'mode = "production"\n')
    assert load(tmp_path, None, {}).mode == "production"
    assert load(tmp_path, None, {"OUTCROP_MODE": "mvp_only"}).mode == "mvp_only"
    assert load(tmp_path, Config.test(), {"OUTCROP_MODE": "mvp_only"}).mode == "test"


def test_the_defaults_are_those_of_the_mode_that_won(tmp_path: Path) -> None:
    write(tmp_path, 'mode = "test"\n')
    assert load(tmp_path, None, {}).batch_documents == Config.test().batch_documents
    assert load(tmp_path, Config.production(), {}).batch_documents == Config.production().batch_documents


def test_a_file_overrides_what_the_preset_given_in_code_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "use_lancedb = false\ncandidates = 17\n")
    config = load(tmp_path, Config.production(candidates=19), {})
    assert (config.mode, config.use_lancedb, config.candidates) == ("production", False, 19)


def test_an_explicit_value_equal_to_the_default_still_wins(tmp_path: Path) -> None:
    write(tmp_path, "candidates = 17\n")
    assert load(tmp_path, Config.default(candidates=100), {}).candidates == 100


def test_loading_a_loaded_configuration_reads_the_file_anew(tmp_path: Path) -> None:
    first = load(write(tmp_path, "candidates = 17\nbatch_documents = 8\n"), Config.default(batch_documents=5), {})
    again = load(write(tmp_path, "candidates = 70\n"), first, {})
    assert (first.candidates, again.candidates, again.batch_documents) == (17, 70, 5)


def test_every_setting_says_where_it_came_from(tmp_path: Path) -> None:
    file = write(tmp_path, '# a comment\n\nmode = "production"\n"part_bytes_max" = "64MiB"\n  symlinks="never"\n') / "outcrop.toml"
    config = load(tmp_path, Config.production(candidates=30), {"OUTCROP_LOCK_TIMEOUT_SECONDS": "2.5"})
    assert [(item.key, item.value, item.origin) for item in config.settings()[:15]] == [
        ("mode", "production", "code"),
        ("path", tmp_path, "code"),
        ("use_lancedb", True, "preset default"),
        ("fallback_to_mvp", True, "preset default"),
        ("embedder", "auto", "preset default"),
        ("candidates", 30, "code"),
        ("fusion", "weighted", "preset default"),
        ("vector_weight", None, "preset default"),
        ("lock_timeout_seconds", 2.5, "OUTCROP_LOCK_TIMEOUT_SECONDS"),
        ("embedding_cache_bytes_max", 2 * 2**30, "preset default"),
        ("query_cache_seconds", 300.0, "preset default"),
        ("memory_budget", 10**9, "preset default"),
        ("part_bytes_max", 64 * 2**20, f"{file}:4"),
        ("batch_documents", 1024, "preset default"),
        ("symlinks", "never", f"{file}:5"),
    ]
    assert {item.origin for item in config.settings()[15:]} == {"preset default"}


def test_the_path_comes_from_either_side_and_must_not_differ(tmp_path: Path) -> None:
    assert load(tmp_path, Config.test(), {}).path == tmp_path
    assert load(None, Config.test(tmp_path), {}).path == tmp_path
    assert load(tmp_path, Config.test(f"{tmp_path}{os.sep}."), {}).path == tmp_path

    with pytest.raises(InvalidConfig, match=r"two different paths: '.*a' was given, and the Config says '.*b'"):
        load(tmp_path / "a", Config.test(tmp_path / "b"), {})
    with pytest.raises(InvalidConfig, match="no path"):
        load(None, Config.test(), {})


def test_a_database_without_a_file_or_a_folder_has_the_defaults(tmp_path: Path) -> None:
    config = load(tmp_path / "absent", None, {"HOME": "/", "PATH": ""})
    assert (config.mode, config.candidates) == ("default", 100)
    assert not (tmp_path / "absent").exists()


def test_an_unknown_key_in_a_file_is_refused_with_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    error = refusal(write(tmp_path, 'mode = "test"\n\ncandidate = 5\n'))
    assert error.origin == f"{tmp_path / 'outcrop.toml'}:3"
    assert error.key == "candidate"
    assert str(error).startswith(f"{error.origin}: 'candidate' is not a setting; did you mean 'candidates'? Settings: mode, ")


@pytest.mark.parametrize("text", ["[production]\ncandidates = 5\n", "[[production]]\n", "production.candidates = 5\n"])
def test_tables_in_a_file_are_refused(tmp_path: Path, text: str) -> None:
    error = refusal(write(tmp_path, "# first\n" + text))
    assert str(error).startswith(f"{tmp_path / 'outcrop.toml'}:2: 'production' is not a setting")


def test_an_unknown_variable_is_refused_with_the_nearest_name() -> None:
    error = refusal(environ={"OUTCROP_CANDIDATE": "5", "CANDIDATE": "6"})
    assert error.origin == "OUTCROP_CANDIDATE"
    assert "OUTCROP_CANDIDATE: not a setting; did you mean 'OUTCROP_CANDIDATES'?" in str(error)


def test_the_command_lines_own_variables_are_let_be() -> None:
    environ = {"OUTCROP_DB": "elsewhere", "OUTCROP_DEBUG": "1", "OUTCROP_CANDIDATES": "15"}
    config = load("kb", None, environ)
    assert (config.path, config.candidates) == (Path("kb"), 15)


def test_an_unknown_keyword_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InvalidConfig, match=r"^'lock_timeout' is not a setting; did you mean 'lock_timeout_seconds'\?"):
        Config.default(lock_timeout=3)  # type: ignore[call-arg]
    with pytest.raises(InvalidConfig, match="'mode' is not a setting"):
        Config.default(mode="test")  # type: ignore[call-arg]


def test_a_path_in_a_file_or_a_variable_is_refused(tmp_path: Path) -> None:
    assert "remove it" in str(refusal(write(tmp_path, 'path = "elsewhere"\n')))
    assert "OUTCROP_PATH: not a setting" in str(refusal(environ={"OUTCROP_PATH": "elsewhere"}))


def test_an_api_key_is_refused_and_not_repeated(tmp_path: Path) -> None:
    messages = [
        str(refusal(environ={"OUTCROP_OPENAI_API_KEY": "sk-very-secret"})),
        str(refusal(write(tmp_path, 'openai_api_key = "sk-very-secret"\n'))),
    ]
    for message in messages:
        assert "OPENAI_API_KEY" in message
        assert "very-secret" not in message


BAD = [
    (
        "mode",
        "prodution",
        "one of default, test, mvp_only, production, lancedb_test; found 'prodution'; did you mean 'production'?",
    ),
    ("use_lancedb", "maybe", "true or false"),
    ("embedder", " ", "a name such as"),
    ("embedder", "minlm", "\"static\" or \"openai:text-embedding-3-small\"; found 'minlm'; did you mean 'minilm'?"),
    ("embedder", "minilm:large", "did you mean 'minilm'?"),
    ("embedder", "hashing:many", "did you mean 'hashing'?"),
    ("embedder", "openai:", "found 'openai:'"),
    ("candidates", 9, "a whole number from 10 to 10000; found 9"),
    ("candidates", 10_001, "a whole number from 10 to 10000; found 10001"),
    ("candidates", 2.5, "a whole number"),
    ("lock_timeout_seconds", -1, "a number from 0 to 86400; found -1"),
    ("lock_timeout_seconds", float("inf"), "a number from 0 to 86400; found inf"),
    ("lock_timeout_seconds", float("nan"), "a number from 0 to 86400; found nan"),
    ("embedding_cache_bytes_max", "2 gigs", "a size in bytes such as"),
    ("embedding_cache_bytes_max", -5, "or 0 for no cache; found -5"),
    ("query_cache_seconds", -1, "a number from 0 to 86400"),
    ("memory_budget", "1MB", "at least 16MB; found '1MB'"),
    ("part_bytes_max", 0, "at least 1; found 0"),
    ("part_bytes_max", "9999999TB", "a size in bytes such as"),
    ("batch_documents", 0, "a whole number from 1 to 100000"),
    ("symlinks", "always", 'must be "auto" or "never"; found \'always\''),
    ("openai_base_url", "ftp://example.org", "a URL that begins with http:// or https://"),
    ("openai_base_url", "https://", "names a host"),
    ("openai_base_url", "https://[::1", "a URL that begins with http:// or https://"),
    ("openai_base_url", "https://example.org:port/v1", "a URL that begins with http:// or https://"),
    ("kept_generations", -1, "a whole number from 0 to 1000; found -1"),
    ("kept_days", -0.5, "a number of days from 0 to 36500; found -0.5"),
    ("tail_chunks_max", 0, "a whole number from 1 to 100000; found 0"),
    ("background", "maybe", "true or false"),
]


def toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.mark.parametrize(("key", "value", "legal"), BAD)
def test_a_bad_value_is_refused_wherever_it_comes_from(tmp_path: Path, key: str, value: Any, legal: str) -> None:
    in_file = refusal(write(tmp_path, f"# first\n{key} = {toml(value)}\n"))
    in_variable = refusal(environ={f"OUTCROP_{key.upper()}": str(value)})
    assert str(in_file).startswith(f"{tmp_path / 'outcrop.toml'}:2: {key} must be ")
    assert str(in_variable).startswith(f"OUTCROP_{key.upper()}: ")
    assert legal.rpartition("; found")[0] in str(in_variable)
    assert legal in str(in_file)
    assert (in_file.key, in_variable.key) == (key, key)
    if key != "mode":
        with pytest.raises(InvalidConfig) as caught:
            Config.default(**{key: value})
        assert legal in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_lancedb", 1),
        ("use_lancedb", None),
        ("embedder", None),
        ("candidates", True),
        ("candidates", "5"),
        ("lock_timeout_seconds", "5"),
        ("lock_timeout_seconds", False),
        ("part_bytes_max", 1.5),
        ("part_bytes_max", True),
        ("symlinks", True),
        ("openai_base_url", 5),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_in_code(key: str, value: object) -> None:
    overrides: dict[str, Any] = {key: value}
    with pytest.raises(InvalidConfig, match=f"^{key} must be "):
        Config.default(**overrides)


@pytest.mark.parametrize("path", ["", " ", "a\0b", 5])
def test_a_path_that_names_no_folder_is_refused(path: Any) -> None:
    with pytest.raises(InvalidConfig, match="path must be a folder's name"):
        Config.default(path)
    with pytest.raises(InvalidConfig, match="path must be a folder's name"):
        load(path, None, {})


def test_an_empty_variable_is_refused_because_nobody_can_tell_what_it_means() -> None:
    assert "OUTCROP_CANDIDATES: is empty; unset it, or give a whole number" in str(refusal(environ={"OUTCROP_CANDIDATES": " "}))


def test_every_form_of_an_embedders_name_is_taken() -> None:
    openai = "openai:nomic:v1.5?query_prefix=a%20b"
    for spec in ("auto", "static", "minilm", "none", "hashing", "hashing:64", openai, "custom:mine"):
        assert load("kb", None, {"OUTCROP_EMBEDDER": f" {spec} "}).embedder == spec


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("TRUE", True), ("1", True), ("yes", True), ("false", False), ("0", False), ("No", False)]
)
def test_truth_in_a_variable_has_the_usual_spellings(text: str, value: bool) -> None:
    assert load("kb", None, {"OUTCROP_USE_LANCEDB": text}).use_lancedb is value


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1000", 1000), ("512MB", 512 * 10**6), ("2GiB", 2**31), ("1.5 kib", 1536), ("7 b", 7), ("0", 0), ("3tb", 3 * 10**12)],
)
def test_a_size_may_have_a_unit(tmp_path: Path, text: str, size_bytes: int) -> None:
    write(tmp_path, f'embedding_cache_bytes_max = "{text}"\n')
    assert load(tmp_path, None, {}).embedding_cache_bytes_max == size_bytes
    assert load("kb", None, {"OUTCROP_EMBEDDING_CACHE_BYTES_MAX": text}).embedding_cache_bytes_max == size_bytes
    assert Config.default(embedding_cache_bytes_max=text).embedding_cache_bytes_max == size_bytes


def test_a_base_url_with_a_secret_is_refused_without_repeating_it() -> None:
    for url in ("https://me:hunter2@example.org/v1", "https://example.org/v1?api_key=hunter2"):
        error = refusal(environ={"OUTCROP_OPENAI_BASE_URL": url})
        assert "OPENAI_API_KEY" in str(error)
        assert "hunter2" not in str(error)
    assert load("kb", None, {"OUTCROP_OPENAI_BASE_URL": "http://127.0.0.1:8080/v1/"}).openai_base_url == "http://127.0.0.1:8080/v1"


@pytest.mark.parametrize(
    ("mode", "key", "value", "reason"),
    [
        ("mvp_only", "use_lancedb", True, "it never imports LanceDB"),
        ("mvp_only", "fallback_to_mvp", True, "nothing to fall back from"),
        ("test", "use_lancedb", True, "take mode lancedb_test"),
        ("lancedb_test", "use_lancedb", False, "it tests LanceDB"),
        ("lancedb_test", "fallback_to_mvp", True, "it must fail when LanceDB does"),
    ],
)
def test_what_a_mode_promises_cannot_be_overridden(tmp_path: Path, mode: str, key: str, value: bool, reason: str) -> None:
    with pytest.raises(InvalidConfig, match=reason):
        getattr(Config, mode)(**{key: value})
    from_file = refusal(write(tmp_path, f"{key} = {str(value).lower()}\n"), {"OUTCROP_MODE": mode})
    assert str(from_file).startswith(
        f"{tmp_path / 'outcrop.toml'}:1: {key} = {str(value).lower()} contradicts mode {mode!r} (OUTCROP_MODE): "
    )
    assert reason in str(from_file)
    getattr(Config, mode)(**{key: not value})  # saying what the mode says anyway is no contradiction


def test_broken_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "outcrop.toml"
    assert refusal(write(tmp_path, 'mode = "test"\ncandidates = = 5\n')).origin == f"{file}:2"
    assert refusal(write(tmp_path, 'mode = "test"\nembedder = "aut')).origin == f"{file}:2"
    assert refusal(write(tmp_path, "candidates = 1\ncandidates = 2\n")).origin == f"{file}:2"


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outcrop.toml").write_bytes(b"mode = '\xff\xfe'\n")
    assert "is not UTF-8 text (byte 8)" in str(refusal(tmp_path))


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "outcrop.toml").write_bytes(b'\xef\xbb\xbfmode = "test"\r\ncandidates = 15\r\n')
    config = load(tmp_path, None, {})
    assert (config.mode, config.candidates) == ("test", 15)
    assert origins(config)["candidates"] == f"{tmp_path / 'outcrop.toml'}:2"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows calls reading a folder a missing permission")
def test_a_file_that_cannot_be_read_is_a_storage_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "outcrop.toml").mkdir()
    with pytest.raises(StorageFailed, match=r"outcrop\.toml: cannot be read") as caught:
        load(tmp_path, None, {})
    assert (caught.value.path, caught.value.errno_name) == (str(tmp_path / "outcrop.toml"), "EISDIR")


def test_a_configuration_is_frozen_and_shows_what_was_given() -> None:
    config = Config.mvp_only("kb", embedder="static")
    with pytest.raises(AttributeError):
        config.candidates = 5  # type: ignore[misc]
    assert repr(config) == "Config.mvp_only('kb', embedder='static')"
    assert config == Config.mvp_only("kb", embedder="static")
    assert config != Config.mvp_only("kb")
    assert hash(config) == hash(Config.mvp_only("kb", embedder="static"))


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12), st.text(max_size=12), max_size=4)
)
def test_no_environment_raises_anything_but_an_outcrop_error(environ: dict[str, str]) -> None:
    try:
        config = load("kb", None, {f"OUTCROP_{name}": text for name, text in environ.items()})
    except OutcropError as error:
        assert str(error)
    else:
        assert not environ
        assert config.mode == "default"


@given(
    st.sampled_from([item.key for item in Config.default().settings() if item.key not in {"mode", "path"}]), st.text(max_size=12)
)
def test_any_text_for_a_setting_is_either_read_or_refused(key: str, text: str) -> None:
    try:
        config = load("kb", None, {variable(key): text})
    except InvalidConfig as error:
        assert error.key == key
        assert variable(key) in str(error)
    else:
        assert origins(config)[key] == variable(key)
