"""Files that are read while nobody can write them, and then somebody can."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from outcrop import sqlite_files
from outcrop.errors import StorageFailed
from outcrop.sqlite_files import Connections, readable, writable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "one.sqlite"
    with closing(writable(file)) as connection:
        connection.execute("CREATE TABLE numbers (number)")
        connection.execute("INSERT INTO numbers VALUES (1)")
    return file


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """While this holds something, SQLite can make no files beside the one that it opens."""
    disk = [True]
    real = sqlite_files._reading

    def reading(path: Path, parameters: str, kind: Any) -> Any:
        if disk and "immutable" not in parameters:
            raise sqlite3.OperationalError("disk I/O error")
        return real(path, parameters, kind)

    monkeypatch.setattr(sqlite_files, "_reading", reading)
    return disk


@pytest.mark.parametrize("folded", [True, False], ids=["folded in", "in the log"])
def test_what_is_read_on_a_full_disk_is_not_what_is_read_for_ever(path: Path, full: list[bool], folded: bool) -> None:
    with closing(Connections(path)) as connections:
        assert connections.fetch_all("SELECT number FROM numbers", ()) == [(1,)]
        assert connections.fetch_all("SELECT number FROM numbers", ()) == [(1,)]
        full.clear()
        with closing(writable(path)) as writing:
            writing.execute("INSERT INTO numbers VALUES (2)")
            if folded:
                writing.close()
            assert connections.fetch_all("SELECT number FROM numbers", ()) == [(1,), (2,)]
            with connections.borrowed() as connection:
                assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (2,)


@pytest.mark.usefixtures("full")
def test_a_file_whose_log_cannot_be_read_is_refused(path: Path) -> None:
    with closing(writable(path)) as writing, closing(Connections(path)) as connections:
        writing.execute("INSERT INTO numbers VALUES (2)")
        with pytest.raises(StorageFailed):
            connections.fetch_all("SELECT number FROM numbers", ())


@pytest.mark.usefixtures("full")
def test_a_file_that_is_not_there_is_no_other_error_than_before(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        readable(tmp_path / "missing.sqlite")
