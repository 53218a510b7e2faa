"""The commit point of a promotion."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from outcrop.errors import Damaged
from outcrop.generations import pointer
from outcrop.generations.layout import CollectionFolder, GenerationName


@pytest.fixture
def folder(tmp_path: Path) -> CollectionFolder:
    return CollectionFolder(tmp_path)


def name(number: int) -> GenerationName:
    return GenerationName(number=number, uuid=uuid4().hex)


def test_nothing_is_active_before_the_first_promotion(folder: CollectionFolder) -> None:
    assert pointer.read(folder) is None


@pytest.mark.parametrize("symlinks", [True, False])
def test_the_pointer_names_what_was_swapped_in_last(folder: CollectionFolder, symlinks: bool) -> None:
    first, second = name(1), name(2)

    pointer.swap(folder, first, symlinks=symlinks)
    assert pointer.read(folder) == first

    pointer.swap(folder, second, symlinks=symlinks)
    assert pointer.read(folder) == second
    assert folder.active.is_symlink() is symlinks


def test_a_folder_may_change_from_links_to_pointer_files_and_back(folder: CollectionFolder) -> None:
    for number, symlinks in ((1, True), (2, False), (3, True)):
        swapped = name(number)
        pointer.swap(folder, swapped, symlinks=symlinks)
        assert pointer.read(folder) == swapped


def test_where_links_cannot_be_made_a_pointer_file_is_written(folder: CollectionFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.symlink", refuse)
    first = name(1)
    pointer.swap(folder, first)

    assert pointer.read(folder) == first
    assert folder.active.is_file()
    assert not folder.active.is_symlink()


def test_a_swap_leaves_nothing_else_behind(folder: CollectionFolder) -> None:
    pointer.swap(folder, name(1))
    pointer.swap(folder, name(2))
    assert [path.name for path in folder.path.iterdir()] == ["active"]


@pytest.mark.parametrize("content", ["", "generations/", "../elsewhere", "generations/000001-xyz", "other/000001-" + "0" * 32])
def test_a_pointer_to_no_generation_is_damage_that_names_the_way_out(folder: CollectionFolder, content: str) -> None:
    folder.active.write_text(content)
    with pytest.raises(Damaged, match="promote one to mend it"):
        pointer.read(folder)
