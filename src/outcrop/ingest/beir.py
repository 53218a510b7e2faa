"""A BEIR folder: `corpus.jsonl` (plain or compressed) beside queries and judgements."""

from __future__ import annotations

from pathlib import Path

from outcrop.ingest.jsonl import JsonLines, open_jsonl
from outcrop.ingest.streams import COMPRESSIONS


def beir_corpus(folder: Path) -> Path | None:
    """The corpus file of a BEIR folder, or None when the folder is not one."""
    for name in ("corpus.jsonl", *(f"corpus.jsonl{suffix}" for suffix in COMPRESSIONS)):
        if (folder / name).is_file():
            return folder / name
    return None


def open_beir(corpus: Path) -> JsonLines:
    """The source for a BEIR corpus: JSONL with `_id`, `title`, `text` and `metadata`."""
    source = open_jsonl(corpus)
    return JsonLines(source.path, f"the BEIR folder {corpus.parent}", source.size_bytes)
