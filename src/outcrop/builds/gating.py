"""Holds a generation that is to be promoted against the active one, and refuses it if the gate says so."""

from __future__ import annotations

from contextlib import ExitStack

import msgspec

from outcrop.builds.stage import Stage
from outcrop.errors import Damaged
from outcrop.generations import catalog
from outcrop.judging import Gate, Side, refusal, run_gate, searcher
from outcrop.retrieval.executor import Executor
from outcrop.retrieval.fusion import usual
from outcrop.retrieval.generation import OpenGeneration, pinned


def judge(stage: Stage, executor: Executor, gate: Gate | None, candidate: OpenGeneration, *, forced: bool) -> str:
    """The gate's report as JSON. Raises `GateFailed` if a check failed, unless `forced`."""
    with ExitStack() as held:
        active, none_active = None, "there is no active generation"
        try:
            opened = stage.openings.pin_active(rescue=False)
            if opened is not None:
                held.enter_context(pinned(opened))
                active = None if opened.name == candidate.name else side(stage, executor, opened)
        except Damaged as error:  # this promotion mends it
            none_active = f"the active generation cannot be opened ({error.message})"
        report = run_gate(gate, side(stage, executor, candidate), active, none_active=none_active)
    if not report.passed and not forced:
        raise refusal(report, stage.folder.path.name)
    return msgspec.json.encode(report.to_dict()).decode()


def side(stage: Stage, executor: Executor, opened: OpenGeneration) -> Side:
    """A pinned generation as one of two that are compared."""
    config = stage.config
    search = searcher(executor, opened, candidates=config.candidates, fusion=usual(config.fusion, config.vector_weight))
    return Side(info=catalog.info(stage.folder, opened.name), documents=opened.documents, search=search)
