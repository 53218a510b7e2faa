from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from outcrop import errors
from outcrop.collection import Collection
from outcrop.engines import registry
from outcrop.engines.protocol import Availability
from outcrop.generations import locks
from outcrop.surfaces.cli.exit_codes import EXIT_CODES, exit_code

Cli = Callable[..., Result]


def assert_one_line_error(done: Result, number: int, *said: str) -> None:
    assert done.exit_code == number, done.output
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serch", "rocks", "x"], "'search'"),
        (["search", "rocks"], "QUERY"),
        (["search", "rocks", "x", "--bogus"], "--bogus"),
        (["search", "rocks", "x", "-k", "many"], "integer"),
        (["search", "rocks", "x", "--search-mode", "fuzzy"], "hybrid"),
        (["--mode", "fast", "stats", "rocks"], "mvp_only"),
        (["search", "rocks", "x", "--mode", "lexical"], "--search-mode"),
        (["demo", "--keep", "."], "empty folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("rocks")
def test_a_wrong_command_line_ends_with_2(cli: Cli, arguments: list[str], said: str) -> None:
    assert_one_line_error(cli(*arguments), 2, said, "--help")


@pytest.mark.usefixtures("rocks")
@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "rocks", ""],
        ["search", "rocks", "x", "-k", "0"],
        ["search", "rocks", "x", "-k", "101"],
        ["search", "rocks", "x", "--where", "year >="],
        ["search", "rocks", "x", "--where", "{year"],
        ["search", "rocks", "x", "--vector-weight", "2"],
        ["count", "rocks", "--where", "year > > 2"],
        ["stats", "../rocks"],
        ["build", "rocks", "missing.jsonl"],
        ["build", "rocks", "--chunker", "foo"],
        ["build", "rocks", "--analyzer", "klingon"],
        ["eval", "rocks", "missing"],
    ],
    ids=" ".join,
)
def test_bad_input_ends_with_3(cli: Cli, arguments: list[str]) -> None:
    assert_one_line_error(cli(*arguments), 3)


@pytest.mark.usefixtures("rocks")
@pytest.mark.parametrize(
    ("where", "said"),
    [
        (
            "year >= AND lang='x'",
            " is missing or out of place here (at `AND lang='x'` in `year >= AND lang='x'`). A filter is made of",
        ),
        ("lower(lang) = 'en'", "position 0: functions are not allowed (in `lower(lang) = 'en'`). A filter is made of"),
        ("year > 2000 AND lang = en", ": text goes in 'single quotes': 'en'; "),
        ("year > 2000 AND\n  lang ~ 'en'", " (at `~ 'en'` in `lang ~ 'en'`). "),
        ("", "the filter is empty"),
    ],
)
def test_a_filter_that_cannot_be_read_is_quoted_in_one_line(cli: Cli, where: str, said: str) -> None:
    assert_one_line_error(cli("count", "rocks", "--where", where), 3, said)


@pytest.mark.parametrize("command", [["stats", "rocks"], ["config", "show"]], ids=" ".join)
def test_an_embedder_that_the_configuration_misspells_is_refused_where_it_stands(cli: Cli, rocks: Path, command: list[str]) -> None:
    said = "found 'minlm'; did you mean 'minilm'?"
    assert_one_line_error(cli(*command, env={"OUTCROP_EMBEDDER": "minlm"}), 3, "OUTCROP_EMBEDDER: ", said)
    (rocks / "outcrop.toml").write_text('\nembedder = "minlm"\n', encoding="utf-8")
    assert_one_line_error(cli(*command), 3, "outcrop.toml:2: ", said)


def test_an_address_is_shown_as_it_was_given(cli: Cli, tmp_path: Path) -> None:
    assert_one_line_error(cli("build", "new", "http://example.org/x.csv"), 3, "error: http://example.org/x.csv is an address")
    assert list(tmp_path.iterdir()) == []


def test_a_bad_setting_ends_with_3_and_names_where_it_stands(cli: Cli, rocks: Path) -> None:
    assert_one_line_error(cli("stats", "rocks", env={"OUTCROP_CANDIDATES": "x"}), 3, "OUTCROP_CANDIDATES")
    (rocks / "outcrop.toml").write_text("candidtes = 5\n", encoding="utf-8")
    assert_one_line_error(cli("config", "show"), 3, "outcrop.toml:1", "candidates")


@pytest.mark.usefixtures("rocks")
@pytest.mark.parametrize(
    "arguments",
    [
        ["stats", "rock"],
        ["search", "rock", "x"],
        ["promote", "rocks", "9"],
        ["search", "rocks", "x", "-g", "9"],
        ["build", "rocks", "--embedder", "foo"],
        ["drop", "rock", "--yes"],
    ],
    ids=" ".join,
)
def test_what_does_not_exist_ends_with_4(cli: Cli, arguments: list[str]) -> None:
    assert_one_line_error(cli(*arguments), 4)


@pytest.mark.parametrize(
    "command",
    [
        ["search", "rocks", "x"],
        ["generations", "rocks"],
        ["stats", "rocks"],
        ["count", "rocks"],
        ["get", "rocks", "a"],
        ["eval", "rocks", "."],
        ["collections"],
        ["build", "rocks"],
    ],
    ids=" ".join,
)
def test_a_folder_that_is_mistyped_is_not_made(cli: Cli, tmp_path: Path, command: list[str]) -> None:
    assert_one_line_error(cli("--db", "mistyped", *command), 4, "mistyped")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("rocks")
def test_what_the_state_does_not_allow_ends_with_5(cli: Cli, corpus: Path) -> None:
    assert_one_line_error(cli("rollback", "rocks"), 5, "roll back")
    assert cli("build", "fresh", corpus, "--embedder", "none").exit_code == 0
    assert_one_line_error(cli("search", "fresh", "slate"), 5, "promote")
    assert_one_line_error(cli("build", "unmade"), 5, "outcrop build unmade SOURCE")


def test_a_lock_that_another_holds_ends_with_6(cli: Cli, rocks: Path) -> None:
    with locks.held(rocks / "rocks" / "build.lock", timeout_seconds=1, action="being built"):
        assert_one_line_error(cli("build", "rocks", env={"OUTCROP_LOCK_TIMEOUT_SECONDS": "0"}), 6, "being built")


@pytest.mark.usefixtures("rocks")
def test_an_engine_that_does_not_work_here_ends_with_7(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Availability(available=False, reason="pyarrow is too old", remedy="pip install -U pyarrow")
    monkeypatch.setattr(registry, "availability", lambda _name, _config: broken)
    assert_one_line_error(
        cli("stats", "rocks", "--mode", "lancedb_test"), 7, "lancedb", "pyarrow is too old", "pip install -U pyarrow"
    )


def test_damaged_files_end_with_8(cli: Cli, rocks: Path) -> None:
    (rocks / "rocks" / "collection.json").write_text("{", encoding="utf-8")
    assert_one_line_error(cli("stats", "rocks"), 8, "collection.json")


@pytest.mark.usefixtures("rocks")
def test_a_refusal_of_the_system_ends_with_9(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    assert_one_line_error(cli("build", "more", corpus, "--db", corpus), 9, "rocks.jsonl")
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "layers"}\n', encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\tslate\t1\n", encoding="utf-8")
    pytest.importorskip("ir_measures")
    assert_one_line_error(cli("eval", "rocks", folder, "--per-query", tmp_path), 9, "")


@pytest.mark.usefixtures("rocks")
def test_an_unexpected_error_ends_with_1_and_a_traceback_only_with_debug(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Collection) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(Collection, "stats", broken)
    assert_one_line_error(cli("stats", "rocks"), 1, "ZeroDivisionError: a b", "--debug")
    for arguments in (["--debug", "stats", "rocks"], ["stats", "rocks", "--debug"]):
        shown = cli(*arguments)
        assert shown.exit_code == 1
        assert "Traceback" in shown.stderr
        assert 'raise ZeroDivisionError("a\\nb")' in shown.stderr


@pytest.mark.usefixtures("rocks")
def test_debug_shows_the_traceback_of_an_expected_error_too(cli: Cli) -> None:
    assert "Traceback" in cli("stats", "rock", env={"OUTCROP_DEBUG": "1"}).stderr


@pytest.mark.usefixtures("rocks")
def test_an_interrupt_ends_with_130_and_a_word(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Collection) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Collection, "stats", interrupted)
    done = cli("stats", "rocks")
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "stopped\n")


def test_every_error_class_has_an_exit_code_of_its_own_kind() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.OutcropError)]
    assert len(kinds) > 20
    unnamed = [kind.__name__ for kind in kinds if kind is not errors.OutcropError and exit_code(kind("x")) < 3]
    assert unnamed == []
    assert exit_code(errors.UnsupportedFormat("x")) == 8
    assert exit_code(errors.CollectionLocked("x")) == 6
    assert exit_code(errors.BuildFailed("x")) == 8
    assert exit_code(errors.CatchUpFailed("x")) == 6
    assert exit_code(errors.EmbedderGone("x")) == 7
    assert exit_code(errors.GateFailed("x")) == 10
    assert exit_code(errors.NotYetVisible("x")) == 11
    assert exit_code(errors.BuildCancelled("x")) == 130
    assert len({row.number for row in EXIT_CODES}) == len(EXIT_CODES)


def started(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "outcrop", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.usefixtures("rocks")
def test_the_module_runs_as_a_program() -> None:
    with started("count", "rocks") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out.split(), err) == (0, [b"3"], b"")
    with started("count", "rock") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (4, b"")
    assert err.startswith(b"error: ")


@pytest.mark.usefixtures("rocks")
@pytest.mark.skipif(sys.platform == "win32", reason="pipes break differently there")
@pytest.mark.parametrize("command", ["search rocks layers", "search rocks layers --json", "count rocks", "--help"])
def test_a_pipe_that_is_closed_early_ends_the_program_quietly(command: str) -> None:
    with started(*command.split()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        code = process.wait(timeout=60)
    assert (code, err) == (141, b"")


@pytest.mark.usefixtures("rocks")
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_console_that_cannot_show_a_character_shows_another(corpus: Path, encoding: str) -> None:
    corpus.write_text('{"id": "岩", "title": "岩 “x”", "text": "岩石 layers → ✓"}', encoding="utf-8")
    environ = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    search = ["search", "signs", "layers"]
    for command in (["build", "signs", str(corpus), "--embedder", "none", "--promote"], search, [*search, "--json"]):
        with started(*command, env=environ) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err.decode(encoding)
        assert out.decode(encoding)
    assert b"\\u5ca9" in out


@pytest.mark.skipif(sys.platform == "win32", reason="a signal cannot be sent to one process there")
def test_a_build_that_is_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    source = tmp_path / "endless.jsonl"
    os.mkfifo(source)
    command = ["build", "new", str(source), "--embedder", "none"]
    with started(*command) as process, source.open("wb") as writer:  # the pipe opens when the build begins to read
        writer.write(b'{"id": "a", "text": "fine"}\n')
        writer.flush()
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        assert b"Ctrl-C again" in process.stderr.readline()  # the build waits for its source
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.decode()) == (130, b"", "stopped\n")
    assert not (tmp_path / "kb").exists()
