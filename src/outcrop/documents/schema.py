"""The tables of documents.sqlite, and how the file is made and recognised."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from outcrop.errors import Damaged
from outcrop.sqlite_files import mapped_errors, writable

FILE_NAME = "documents.sqlite"
_APPLICATION_ID = 0x4F757443  # "OutC"
_FORMAT = 1
_SCHEMA = """
CREATE TABLE documents (
    row INTEGER PRIMARY KEY,          -- never reused
    id TEXT NOT NULL,
    title TEXT, source TEXT,
    text TEXT,                        -- null: the only chunk has the whole text
    metadata BLOB NOT NULL,           -- JSON
    born INTEGER NOT NULL, died INTEGER,
    vector BLOB                       -- float32, if the vector came with the document: nothing else could bring it back
);
CREATE UNIQUE INDEX documents_alive ON documents (id) WHERE died IS NULL;
CREATE INDEX documents_died ON documents (died) WHERE died IS NOT NULL;
CREATE TABLE chunks (
    slot INTEGER PRIMARY KEY,         -- never reused; what it holds never changes
    document INTEGER NOT NULL REFERENCES documents (row),
    ordinal INTEGER NOT NULL,
    text TEXT NOT NULL, heading TEXT, page INTEGER,
    start INTEGER NOT NULL, stop INTEGER NOT NULL,
    born INTEGER NOT NULL, died INTEGER,
    vector BLOB                       -- float32, only until a part has it
);
CREATE INDEX chunks_document ON chunks (document, ordinal);
CREATE INDEX chunks_tail ON chunks (slot) WHERE vector IS NOT NULL;
CREATE INDEX chunks_died ON chunks (died) WHERE died IS NOT NULL;
CREATE TABLE gone (id TEXT PRIMARY KEY, died INTEGER NOT NULL) WITHOUT ROWID;  -- deletes of documents that were not here
CREATE TABLE unembedded (slot INTEGER PRIMARY KEY);       -- chunks that should have a vector and have none
CREATE TABLE fields (path TEXT PRIMARY KEY) WITHOUT ROWID;  -- metadata fields of what was written after the build
CREATE TABLE parts (uuid TEXT PRIMARY KEY, first_slot INTEGER NOT NULL, row_count INTEGER NOT NULL, facts BLOB NOT NULL);
CREATE TABLE marks (sequence INTEGER NOT NULL, at REAL NOT NULL);  -- when the head was where, for the purge of dead rows
CREATE TABLE build (checkpoint BLOB NOT NULL);            -- how far an unfinished build has come
CREATE TABLE head (
    sequence INTEGER NOT NULL,        -- the last write that these rows hold
    next_row INTEGER NOT NULL, next_slot INTEGER NOT NULL,
    documents INTEGER NOT NULL, chunks INTEGER NOT NULL,  -- how many are alive
    publications INTEGER NOT NULL,    -- how often the list of parts changed
    purged INTEGER NOT NULL           -- chunks that ended after this write are all remembered
);
INSERT INTO head VALUES (0, 1, 1, 0, 0, 0, 0);
"""


def create(path: Path) -> sqlite3.Connection:
    """Make the file with its empty tables; a connection that may write it."""
    with mapped_errors(path):
        connection = writable(path)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
        connection.executescript(_SCHEMA)
    return connection


def open_existing(path: Path) -> sqlite3.Connection:
    """A connection that may write a file made by `create`. Raises `Damaged`."""
    missing(path)
    with mapped_errors(path):
        connection = writable(path)
        check(path, connection)
    return connection


def check(path: Path, connection: sqlite3.Connection) -> None:
    """Raise `Damaged` unless this is a file of documents."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise Damaged(f"{path} is not a file of documents; restore it or roll back to another generation", path=path)


def missing(path: Path) -> None:
    """Raise `Damaged` if there is no such file."""
    if not path.is_file():
        raise Damaged(f"{path} is missing; restore the folder or roll back to another generation", path=path)
