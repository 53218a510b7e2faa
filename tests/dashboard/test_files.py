"""The dashboard's files: what may stand in them, and how they are sent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import outcrop
from tests.http.conftest import Client, _made, client, folder  # noqa: F401 - fixtures

FOLDER = Path(outcrop.__file__).parent / "surfaces" / "dashboard"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
LINES_MAX = 400


def test_a_file_has_one_job_and_fits_its_budget() -> None:
    assert len(FILES) > 15
    assert {path.suffix for path in FILES} == {".html", ".css", ".js", ".svg"}
    long = {path.name: count for path in FILES if (count := len(path.read_text(encoding="utf-8").splitlines())) > LINES_MAX}
    assert not long


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("markup out of a text", r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment"),
        ("text that is run", r"\beval\(|new Function|setTimeout\(\s*[\"'`]"),
        ("another host", r"https?://(?!www\.w3\.org/)|[\"'(]//\w"),
        ("style or script in the page", r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+="),
    ],
)
def test_no_file_holds(what: str, pattern: str) -> None:
    found = [path.name for path in FILES if re.search(pattern, path.read_text(encoding="utf-8"))]
    assert not found, what


def test_everything_that_is_imported_is_there_and_everything_there_is_used() -> None:
    scripts = {path.relative_to(FOLDER).as_posix(): path for path in FILES}
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    used = {"index.html", *re.findall(r'(?:src|href)="assets/([^"]+)"', page)}
    for name, path in scripts.items():
        if path.suffix == ".js":
            for target in re.findall(r'(?:from|import\()\s*"(\.[^"]+)"', path.read_text(encoding="utf-8")):
                used.add((path.parent / target).resolve().relative_to(FOLDER.resolve()).as_posix())
                assert (path.parent / target).is_file(), f"{name} imports {target}"
    assert used == set(scripts)


def test_the_page_and_its_files_are_sent_once_and_under_a_strict_policy(client: Client) -> None:  # noqa: F811
    page = client.get("/")
    script = client.get("/assets/scripts/main.js")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert client.get("/assets/styles/base.css").headers["content-type"] == "text/css; charset=utf-8"
    assert client.get("/assets/icon.svg").headers["content-type"] == "image/svg+xml"
    for answer in (page, script):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
    assert client.get("/assets/scripts/main.js", headers={"if-none-match": page.headers["etag"]}).status_code == 200


@pytest.mark.parametrize("path", ["/assets/nothing.js", "/assets/../access.py", "/assets/%2e%2e/wire.py", "/assets/scripts"])
def test_no_path_leads_out_of_the_folder(client: Client, path: str) -> None:  # noqa: F811
    found = client.get(path)

    assert found.status_code == 404
    assert found.headers["content-type"] == "application/problem+json"
