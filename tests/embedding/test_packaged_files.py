from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from outcrop.embedding.packaged import PackagedFile, locate, missing_packages, require
from outcrop.errors import EmbeddingFailed, MissingExtra

pytestmark = pytest.mark.usefixtures("package")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "stratapack"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('this package must not be imported')")
    (folder / "weights.bin").write_bytes(b"quartz")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_file_is_found_without_importing_its_package(package: Path) -> None:
    file = PackagedFile("stratapack", "weights.bin", hashlib.sha256(b"quartz").hexdigest())
    assert locate(file, extra="strata") == package / "weights.bin"


def test_a_file_with_another_content_is_refused_with_both_digests() -> None:
    wanted = hashlib.sha256(b"basalt").hexdigest()
    with pytest.raises(EmbeddingFailed) as caught:
        locate(PackagedFile("stratapack", "weights.bin", wanted), extra="strata")
    assert wanted in str(caught.value)
    assert hashlib.sha256(b"quartz").hexdigest() in str(caught.value)
    assert "pip install --force-reinstall 'outcrop[strata]'" in str(caught.value)


def test_a_file_that_is_not_in_the_package_is_named() -> None:
    with pytest.raises(EmbeddingFailed, match=r"other\.bin"):
        locate(PackagedFile("stratapack", "other.bin", "00"), extra="strata")


def test_a_missing_package_names_the_extra_to_install() -> None:
    with pytest.raises(MissingExtra) as caught:
        locate(PackagedFile("no_such_package_here", "weights.bin", "00"), extra="strata")
    assert caught.value.extra == "strata"
    assert caught.value.remedy == "pip install 'outcrop[strata]'"
    assert "no_such_package_here" in str(caught.value)


def test_a_module_that_cannot_be_imported_names_the_extra_to_install() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'outcrop\[strata\]'"):
        require("no_such_package_here", extra="strata")


def test_only_missing_packages_are_listed() -> None:
    assert missing_packages(["json", "no_such_package_here", "numpy"]) == ["no_such_package_here"]
