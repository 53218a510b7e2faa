"""Which files of the server's a build may read."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from litestar.testing import TestClient

import outcrop
from outcrop import Config
from outcrop.surfaces.http.app import application
from outcrop.surfaces.http.builds import sources, states
from outcrop.surfaces.keys import Keys
from tests.http.conftest import Client

_BUILDS = "/v1/collections/rocks/builds"
_LINE = '{"id": "%s", "text": "a pebble"}\n'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder that may be read, beside one that may not; links lead from the one to the other."""
    data, secret = tmp_path / "data", tmp_path / "secret"
    for folder in (data / "deep", data / "texts", data / "mixed", secret):
        folder.mkdir(parents=True)
    for file in (data / "one.jsonl", data / "deep" / "two.jsonl", secret / "three.jsonl"):
        file.write_text(_LINE % file.stem)
    (data / "bad.jsonl").write_text('{"id": "bad"}\n')
    for file in (data / "texts" / "a.md", data / "mixed" / "a.md", secret / "b.md"):
        file.write_text("A text.")
    (data / "away.jsonl").symlink_to(secret / "three.jsonl")
    (data / "away").symlink_to(secret)
    (data / "here.jsonl").symlink_to(data / "deep" / "two.jsonl")
    (data / "loop.jsonl").symlink_to(data / "loop.jsonl")
    (data / "mixed" / "b.md").symlink_to(secret / "b.md")
    return data


@pytest.fixture
def folders(data: Path, tmp_path: Path) -> list[str]:
    """That folder, by a name that is a link, and another one."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "four.jsonl").write_text(_LINE % "four")
    (tmp_path / "named").symlink_to(data)
    return [str(tmp_path / "named"), str(tmp_path / "other")]


@pytest.fixture
def allowing(folder: Path, folders: list[str]) -> Iterator[Client]:
    """The application, allowed to read these."""
    opening = lambda: outcrop.open(folder, config=Config.mvp_only(background=False))  # noqa: E731
    with TestClient(application(opening, source_folders=folders)) as client:
        yield client


def _built(client: Client, source: str) -> states.Build:
    begun = client.post(_BUILDS, json={"source": source})
    assert begun.status_code == 202, begun.text
    while (found := client.get(begun.headers["location"]).json())["state"] in states.UNDER_WAY:
        time.sleep(0.02)
    return msgspec.convert(found, states.Build)


@pytest.mark.parametrize("source", ["here.jsonl", "{named}/one.jsonl", "texts"])
def test_what_lies_in_the_folders_is_built(allowing: Client, tmp_path: Path, source: str) -> None:
    source = source.replace("{named}", str(tmp_path / "named"))
    found = _built(allowing, source)

    assert (found.state, found.documents, found.source) == ("done", 1, source)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("one.jsonl", "data/one.jsonl"),
        ("./deep/../one.jsonl", "data/one.jsonl"),
        ("here.jsonl", "data/deep/two.jsonl"),
        ("four.jsonl", "other/four.jsonl"),
        ("{top}/data/one.jsonl", "data/one.jsonl"),
        ("{top}/named/one.jsonl", "data/one.jsonl"),
        ("texts", "data/texts"),
    ],
)
def test_a_source_is_found_in_the_first_folder_that_has_it(folders: list[str], tmp_path: Path, source: str, wanted: str) -> None:
    found = sources.allowed([Path(one) for one in folders], source.replace("{top}", str(tmp_path)))

    assert found == tmp_path.resolve() / wanted


@pytest.mark.parametrize(
    "source",
    [
        "../secret/three.jsonl",
        "deep/../../secret/three.jsonl",
        "{secret}/three.jsonl",
        "{secret}/not-there.jsonl",
        "away.jsonl",
        "away/three.jsonl",
        "away",
        "mixed",
        "loop.jsonl",
        "not-there.jsonl",
        "a\0b",
        "x" * 5000,
        "/",
        "..",
        "/proc/self/environ",
        "file:///etc/passwd",
        "http://127.0.0.1/x.jsonl",
    ],
)
def test_nothing_else_is_and_whether_it_is_there_is_not_told(allowing: Client, tmp_path: Path, source: str) -> None:
    source = source.replace("{secret}", str(tmp_path / "secret"))
    refused = allowing.post(_BUILDS, json={"source": source})

    assert refused.status_code == 400
    assert refused.json()["detail"] == f"there is no source {source!r:.200} in the folders that this server may read"
    assert allowing.get(_BUILDS).json() == {"builds": []}


def test_what_lies_in_them_is_offered_to_admins(allowing: Client, data: Path, folder: Path) -> None:
    (data / ".hidden.jsonl").touch()
    (data / "notes.exe").touch()
    choices = "/v1/collections/rocks/build-choices"

    found = allowing.get(choices)
    assert found.json()["sources"] == ["bad.jsonl", "deep", "four.jsonl", "here.jsonl", "mixed", "one.jsonl", "texts"]
    assert str(data) not in found.text
    for scope, status in (("write", 403), ("admin", 200)):
        headers = {"authorization": f"Bearer {Keys(folder).create(scope, scope)}"}  # type: ignore[arg-type]
        assert allowing.get(choices, headers=headers).status_code == status


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode there")
def test_what_has_a_name_that_cannot_be_told_is_not_offered(allowing: Client, data: Path) -> None:
    Path(os.fsdecode(os.fsencode(data) + b"/\xff.jsonl")).touch()

    found = allowing.get("/v1/collections/rocks/build-choices")
    assert (found.status_code, "one.jsonl" in found.json()["sources"]) == (200, True)


def test_where_the_folders_are_is_not_told(allowing: Client, data: Path) -> None:
    failed = _built(allowing, "bad.jsonl")
    assert failed.problem is not None
    assert "bad.jsonl:1" in failed.problem["detail"]
    refused = allowing.post(_BUILDS, json={"source": "deep"})  # a folder without a text

    for told in (str(failed.problem), refused.text):
        assert str(data) not in told
    assert refused.status_code == 400
