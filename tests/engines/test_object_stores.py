"""What is said of object stores: whose rights are missing, that they hang, and nothing that is secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from outcrop.engines.lancedb import library, location
from outcrop.engines.lancedb.location import Place
from outcrop.errors import Damaged, StorageFailed


def placed(folder: Path, base: str) -> Place:
    """The place of a new table of a generation below a base."""
    generation = folder / "rocks" / "generations" / "000001-abc"
    generation.mkdir(parents=True)
    return location.made(generation, base)


@pytest.mark.parametrize(
    ("base", "variable"), [("s3://b/x", "AWS_REGION"), ("gs://b/x", "GOOGLE_"), ("az://b/x", "AZURE_STORAGE_ACCOUNT_NAME")]
)
def test_an_error_of_a_store_names_the_variables_of_that_store_only(tmp_path: Path, base: str, variable: str) -> None:
    place = placed(tmp_path, base)
    with pytest.raises(StorageFailed) as caught, library.calling(place, "read"):
        raise RuntimeError("Generic S3 error: Error performing GET http://host/?sig=secret: status: 403 Forbidden")
    said = str(caught.value)
    assert said.startswith(f"{base}/rocks/000001-abc-")
    assert "refused: status: 403." in said
    assert [name for name in ("AWS_", "GOOGLE_", "AZURE_") if name in said] == [variable.partition("_")[0] + "_"]
    assert "secret" not in said
    assert caught.value.errno_name is None


@pytest.mark.parametrize("text", ["RetryError(inner: Http(HttpError { source: TimedOut }))", "RetryError: operation timed out"])
def test_a_store_that_hangs_is_told_from_one_that_refuses(tmp_path: Path, text: str) -> None:
    with pytest.raises(StorageFailed) as caught, library.calling(placed(tmp_path, "s3://b/x"), "written"):
        raise RuntimeError(text)
    assert caught.value.errno_name == "ETIMEDOUT"


def test_a_table_at_azure_without_an_account_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lancedb")
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_ACCOUNT_NAME"):
        monkeypatch.delenv(name, raising=False)
    place = placed(tmp_path, "az://container/x")
    with (
        pytest.raises(StorageFailed, match=r"refused: no Azure account name.*AZURE_STORAGE_ACCOUNT_NAME"),
        library.calling(place, "read"),
    ):
        library.connect(place).open_table("chunks")


def test_what_a_folder_refuses_is_never_called_a_store(tmp_path: Path) -> None:
    place = placed(tmp_path, str(tmp_path / "shared"))
    assert place.client_options() is None
    with pytest.raises(Damaged), library.calling(place, "read"):
        raise RuntimeError("RetryError: operation timed out")


def test_how_long_a_request_is_repeated_may_be_said_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = placed(tmp_path, "gs://b/x")
    assert place.client_options() == {"client_retry_timeout": "10"}
    monkeypatch.setenv("OBJECT_STORE_CLIENT_RETRY_TIMEOUT", "60")
    assert place.client_options() is None
