"""I have a slot, give me its chunk: the SQLite file that holds one generation's documents and chunks.

Rows are versioned: `born` is the sequence of the write that made a row, `died` the sequence of the one that ended it (null while
it lives). A build writes every row with the sequence at which it began. Rows and slots are given out in ascending order and never
twice. The file is touched through SQLite only: opening it by other means and closing that descriptor would drop SQLite's locks.
"""

from outcrop.documents.reader import Documents
from outcrop.documents.rows import (
    Applied,
    Changes,
    Counts,
    DocumentRow,
    FileFact,
    Head,
    PartRow,
    StoredDocument,
    TailRow,
    View,
)
from outcrop.documents.schema import FILE_NAME
from outcrop.documents.writer import DocumentsWriter, list_part

__all__ = [
    "FILE_NAME",
    "Applied",
    "Changes",
    "Counts",
    "DocumentRow",
    "Documents",
    "DocumentsWriter",
    "FileFact",
    "Head",
    "PartRow",
    "StoredDocument",
    "TailRow",
    "View",
    "list_part",
]
