from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import outcrop
from outcrop import Config, Document

Cli = Callable[..., Result]


@pytest.mark.usefixtures("rocks")
def test_hits_are_shown_with_rank_score_citation_and_passage(cli: Cli) -> None:
    done = cli("search", "rocks", "layers", "-m", "lexical")
    assert done.exit_code == 0
    assert "Slate splits into thin layers." in done.stdout
    assert "slate#0" in done.stdout
    assert "Wind" not in done.stdout
    assert "generation 1, engine builtin, lexical, 2 of 2 candidates" in done.stdout
    assert done.stderr == ""


@pytest.mark.usefixtures("rocks")
def test_json_is_one_object_with_everything_about_the_search(cli: Cli) -> None:
    done = cli("search", "rocks", "layers", "--json", "-k", "2")
    found = json.loads(done.stdout)
    assert (found["query"], found["mode"], found["generation"], found["engine"]) == ("layers", "hybrid", 1, "builtin")
    assert [hit["rank"] for hit in found["hits"]] == [1, 2]
    assert {hit["document_id"] for hit in found["hits"]} == {"slate", "sand"}
    assert found["took_ms"]["total"] > 0
    assert found["degraded"] is None
    assert found["warnings"] == []


@pytest.mark.usefixtures("rocks")
@pytest.mark.parametrize("where", ["year >= 2024 AND lang = 'en'", '{"year": {"$gte": 2024}, "lang": "en"}'])
def test_a_filter_selects_in_both_spellings(cli: Cli, where: str) -> None:
    found = json.loads(cli("search", "rocks", "layers", "--where", where, "--json").stdout)
    assert [hit["document_id"] for hit in found["hits"]] == ["sand"]


@pytest.mark.usefixtures("rocks")
def test_a_filter_given_in_several_parts_selects_what_all_of_them_do(cli: Cli) -> None:
    def ids(*filters: str) -> set[str]:
        options = [part for one in filters for part in ("--where", one)]
        return {hit["document_id"] for hit in json.loads(cli("search", "rocks", "layers", *options, "--json").stdout)["hits"]}

    assert ids("year >= 2024") == {"sand", "dune"}
    assert ids("lang = 'en'") == {"sand", "slate"}
    assert ids("year >= 2024", "lang = 'en'") == {"sand"}
    assert ids('{"year": 2024}', "lang = 'en' OR lang = 'de'") == {"sand", "dune"}
    assert cli("count", "rocks", "-w", "year = 2024", "-w", "lang = 'de'").stdout == "1\n"


def test_a_search_whose_embedder_needs_a_missing_extra_says_that_words_need_none(
    cli: Cli, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wordllama", reason="the extra `static` is not installed")
    assert cli("build", "more", corpus, "--embedder", "static", "--promote").exit_code == 0
    monkeypatch.setattr("outcrop.embedding.registry._made", {})
    monkeypatch.setitem(sys.modules, "tokenizers", None)  # what an import of a missing module looks like
    refused = cli("search", "more", "layers")
    assert (refused.exit_code, refused.stderr.count("\n")) == (7, 1)
    assert "pip install 'outcrop[static]'. Or search by words alone, which needs no extra: --search-mode lexical" in refused.stderr
    by_meaning = cli("search", "more", "layers", "-m", "vector")
    assert by_meaning.exit_code == 7
    assert "lexical" not in by_meaning.stderr
    assert "Slate splits" in cli("search", "more", "layers", "-m", "lexical").stdout


@pytest.mark.usefixtures("rocks")
def test_explain_shows_each_leg_under_its_hit(cli: Cli) -> None:
    shown = cli("search", "rocks", "layers", "--explain").stdout
    assert "lexical: rank 1" in shown
    assert "vector: rank" in shown
    assert "layer in text" in shown
    assert "lexical: rank" not in cli("search", "rocks", "layers").stdout


@pytest.mark.usefixtures("rocks")
def test_another_generation_answers_when_asked_for(cli: Cli) -> None:
    assert json.loads(cli("search", "rocks", "wind", "-m", "lexical", "--json").stdout)["hits"]
    found = json.loads(cli("search", "rocks", "wind", "-m", "lexical", "-g", "2", "--json").stdout)
    assert (found["generation"], found["hits"]) == (2, [])


@pytest.mark.usefixtures("rocks")
def test_pages_and_fusion_are_passed_on(cli: Cli) -> None:
    def ids(*options: str) -> list[str]:
        return [hit["id"] for hit in json.loads(cli("search", "rocks", "layers", "--json", *options).stdout)["hits"]]

    everything = ids("-k", "3")
    assert ids("-k", "1", "--offset", "1") == everything[1:2]
    by_meaning = ids("--vector-weight", "1", "-k", "1")
    assert by_meaning == ids("-m", "vector", "-k", "1")
    found = json.loads(cli("search", "rocks", "layers", "--fusion", "rrf", "--explain", "--json").stdout)
    assert found["hits"][0]["explanation"]["fusion"] == "rrf"


@pytest.mark.usefixtures("rocks")
def test_a_query_of_several_words_needs_no_quotes(cli: Cli) -> None:
    found = json.loads(cli("search", "rocks", "thin", "layers", "--json", "-k", "1").stdout)
    assert (found["query"], found["hits"][0]["document_id"]) == ("thin layers", "slate")


@pytest.mark.usefixtures("rocks")
def test_no_hits_are_said_and_are_no_error(cli: Cli) -> None:
    done = cli("search", "rocks", "zeppelin", "-m", "lexical")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "No hits.")


@pytest.mark.usefixtures("rocks")
def test_a_warning_of_the_search_is_on_stderr(cli: Cli) -> None:
    done = cli("search", "rocks", "layers", "--where", "yeer > 2000")
    assert done.stderr.startswith("warning: ")
    assert "'year'" in done.stderr
    assert "warning" not in done.stdout


@pytest.mark.usefixtures("rocks")
def test_a_fallback_is_told(cli: Cli) -> None:
    done = cli("search", "rocks", "layers", "--mode", "production")
    assert "slate" in done.stdout
    assert "warning: degraded: LanceDB" in done.stderr


def test_documents_cannot_mark_up_or_control_the_terminal(cli: Cli, tmp_path: Path) -> None:
    nasty = Document(
        id="a[/bold]",
        title="[link=x]Title[/link] :smile:",
        text="An [red]evil[/red] layer \x1b[31mred \x9b1m \u202egnirts [/] end",
        metadata={"[k]": "[v]\x1b"},
    )
    with outcrop.open(tmp_path / "kb", config=Config.test()) as db:
        db.create_collection("bad", embedder="none").build([nasty], promote=True)
    for shown in (cli("search", "bad", "layer"), cli("search", "bad", "layer", "--full"), cli("get", "bad", "a[/bold]")):
        assert shown.exit_code == 0
        assert "[link=x]Title[/link] :smile:" in shown.stdout
        assert "[red]evil[/red] layer \ufffd[31mred" in shown.stdout
        assert not {"\x1b", "\x9b", "\u202e"} & set(shown.stdout)
    assert "a[/bold]#0" in cli("search", "bad", "layer").stdout


def test_text_in_any_script_is_shown_and_found(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "words.jsonl"
    file.write_text('{"id": "é/岩", "text": "Größe 岩石 δοκιμή 🪨"}\n{"id": "b", "text": "other"}', encoding="utf-8")
    assert cli("build", "words", file, "--embedder", "none", "--promote").exit_code == 0
    assert "é/岩#0" in cli("search", "words", "δοκιμή").stdout
    found = json.loads(cli("search", "words", "größe", "--json").stdout)
    assert [hit["text"] for hit in found["hits"]] == ["Größe 岩石 δοκιμή 🪨"]
    assert "岩石" in cli("get", "words", "é/岩").stdout


@pytest.mark.usefixtures("rocks")
@pytest.mark.parametrize("columns", ["20", "60", "200"])
def test_a_table_keeps_to_the_width_that_it_is_given(cli: Cli, columns: str) -> None:
    for command in (("search", "rocks", "layers", "-x"), ("stats", "rocks"), ("doctor",), ("config", "show")):
        done = cli(*command, env={"COLUMNS": columns})
        assert done.exit_code == 0
        assert max(map(len, done.stdout.splitlines())) <= int(columns)
