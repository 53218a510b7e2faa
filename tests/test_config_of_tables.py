"""The setting that says where LanceDB tables lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from outcrop.config import Config, load
from outcrop.errors import InvalidConfig


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/folder",
        "gs://bucket",
        "az://container/folder",
        "file:///srv/tables",
        "/srv/tables",
        "/srv/Gestein und Öl",
        None,
    ],
)
def test_a_place_for_tables_is_a_uri_or_an_absolute_path(uri: str | None) -> None:
    assert Config.production("kb", lancedb_uri=uri).lancedb_uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "tables",
        "",
        "/srv/new\nline",
        "/srv/\0",
        "db://cloud",
        "http://host/x",
        "s3://",
        "file://",
        "file://host/x",
        "s3://me:secret@b/x",
        "s3://b/x?secret",
    ],
)
def test_another_place_for_tables_is_refused_without_repeating_a_secret(uri: str) -> None:
    with pytest.raises(InvalidConfig, match="lancedb_uri must be an absolute path, or a URI such as s3://") as caught:
        Config.production("kb", lancedb_uri=uri)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("within", ["", "tables", "rocks/generations"])
@pytest.mark.parametrize("as_uri", [False, True])
def test_a_place_for_tables_in_the_database_itself_is_refused(tmp_path: Path, within: str, as_uri: bool) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "kb")
    for place in (tmp_path / "kb" / within, tmp_path / "link" / within):
        uri = place.as_uri() if as_uri else str(place)
        with pytest.raises(InvalidConfig, match="lies in the database's own folder") as caught:
            load(tmp_path / "kb", Config.production(lancedb_uri=uri), {})
        assert caught.value.key == "lancedb_uri"
    beside = str(tmp_path / "kb tables")
    assert load(tmp_path / "kb", Config.production(lancedb_uri=beside), {}).lancedb_uri == beside


def test_a_place_for_tables_is_taken_from_the_environment(tmp_path: Path) -> None:
    assert load(tmp_path, None, {"OUTCROP_LANCEDB_URI": "s3://bucket/folder/"}).lancedb_uri == "s3://bucket/folder"
