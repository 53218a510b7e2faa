"""How does a collection stand? What is on disk, and what serves it now."""

from __future__ import annotations

import msgspec

from outcrop.builds.stage import Shared, Stage
from outcrop.engines import registry
from outcrop.engines.registry import Choice
from outcrop.files import size_bytes
from outcrop.generations import catalog, pointer
from outcrop.memory import arrow_bytes
from outcrop.model import Stats
from outcrop.retrieval import answering
from outcrop.retrieval.answering import Answers
from outcrop.retrieval.generation import pinned


def stats(stage: Stage, shared: Shared, answers: Answers) -> Stats:
    """The state of a collection, with what it shares with the others of its database."""
    found = _own(stage, shared.choice, answers)
    active = next((one for one in found.generations if one.number == found.active), None)
    of_answers, of_embeddings = shared.cached.stats()
    return msgspec.structs.replace(
        found,
        live_recall=None if active is None else shared.executor.reruns.of(active.uuid),
        query_cache=of_answers,
        query_embeddings=of_embeddings,
        memory=shared.memory.used_bytes() | arrow_bytes(),
    )


def _own(stage: Stage, choice: Choice, answers: Answers) -> Stats:
    config = stage.config
    name = pointer.read(stage.folder)
    active = None if name is None else catalog.info(stage.folder, name)
    held = serving = None
    running = registry.running(choice, config)
    opened = None if active is None else stage.openings.pin_active()
    if opened is not None:
        with pinned(opened):
            held = opened.index.stats()
            serving = held.serving
            running = answering.running(opened.index, serving, config)
    degraded = stage.openings.degraded
    return Stats(
        collection=stage.folder.path.name,
        mode=config.mode,
        running=running,
        active=active.number if active else None,
        document_count=active.document_count if active else 0,
        chunk_count=active.chunk_count if active else 0,
        size_bytes=size_bytes(stage.folder.path),
        index_lag=0 if held is None else held.unindexed_count,
        fields=() if held is None else held.fields,
        generations=tuple(catalog.generations(stage.folder)),
        sequence=stage.journal.head(),
        journal_bytes=stage.journal.size_bytes(),
        degraded=running.reason if degraded is None else degraded.reason,
        serving=serving,
        answers=answers.by_engine(),
        fallback_rate=answers.fallback_rate() if config.use_lancedb else None,
        fallbacks=answers.fallbacks() if config.use_lancedb else {},
        index_choice=None if held is None else held.choice,
        fields_without_column=() if held is None else held.fields_without_column,
    )
