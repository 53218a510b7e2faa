"""`outcrop eval`: how good the search is, on judged queries."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from outcrop import evaluation, files
from outcrop.evaluation import Evaluation
from outcrop.surfaces.cli.arguments import AsJson, CollectionName, GenerationNumber, generation_of
from outcrop.surfaces.cli.program import invocation
from outcrop.surfaces.cli.rendering import counted, note, plain, screen, show, write_json


def evaluate(
    context: typer.Context,
    collection: CollectionName,
    judged: Annotated[
        Path,
        typer.Argument(
            metavar="BEIR_FOLDER", help="A folder with queries.jsonl and qrels/test.tsv, or a golden.jsonl.", show_default=False
        ),
    ],
    search_mode: Annotated[
        list[str] | None,
        typer.Option(
            "--search-mode",
            "-m",
            metavar="NAME",
            help="Only lexical, vector or hybrid; may be repeated. All three if not given.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Which file of qrels/ to judge by.")] = "test",
    per_query: Annotated[
        Path | None, typer.Option("--per-query", metavar="FILE.csv", help="Write every query's measures here.", show_default=False)
    ] = None,
    run_file: Annotated[
        Path | None,
        typer.Option("--run-file", metavar="DIR", help="Write a TREC run file per search mode here.", show_default=False),
    ] = None,
    generation: GenerationNumber = None,
    json: AsJson = False,
) -> None:
    """Measure how good the search is, on judged queries.

    Gives nDCG@10, recall@100 and MRR@10 of each search mode, and says whether the hybrid is better than its better leg. Queries
    without hits count as zero. Needs the extra: pip install 'outcrop[eval]'

    Example:
      outcrop eval papers scifact/ --per-query queries.csv --run-file runs/
    """
    with invocation(context).opened(read_only=True) as db, screen(stderr=True).status("searching every judged query"):
        modes = {} if search_mode is None or not search_mode else {"modes": tuple(dict.fromkeys(search_mode))}
        queries = evaluation.load(judged, split=split)
        found = evaluation.evaluate(db.collection(collection), queries, generation=generation_of(generation), **modes)  # type: ignore[arg-type]  # its protocol names what it reads
    if per_query is not None:
        _write_per_query(found, per_query)
    if run_file is not None:
        _write_runs(found, run_file)
    if json:
        write_json(_as_object(found))
    else:
        _show(found)


def _show(found: Evaluation) -> None:
    queries = found.modes[0].query_count
    show(
        Text(
            plain(
                f"{found.name}: {counted(queries, 'judged query', 'judged queries')} on generation {found.generation}",
                one_line=True,
            )
        )
    )
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("search mode")
    for name in ("nDCG@10", "recall@100", "MRR@10", "ms/query"):
        table.add_column(name, justify="right")
    for one in found.modes:
        measures = (f"{value:.4f}" for value in (one.ndcg_at_10, one.recall_at_100, one.mrr_at_10))
        table.add_row(one.mode, *measures, f"{one.took_seconds * 1e3 / one.query_count:.1f}")
    show(table)
    if found.verdict is not None:
        show(Text(str(found.verdict)))
    for one_note in found.notes:
        note(f"note: {plain(one_note, one_line=True)}")


def _as_object(found: Evaluation) -> dict[str, object]:
    modes = [
        {name: value for name, value in msgspec.structs.asdict(one).items() if name not in ("per_query", "run")}
        for one in found.modes
    ]
    verdict = None if found.verdict is None else {**msgspec.to_builtins(found.verdict), "conclusion": found.verdict.conclusion}
    return {"name": found.name, "generation": found.generation, "modes": modes, "verdict": verdict, "notes": found.notes}


def _write_per_query(found: Evaluation, path: Path) -> None:
    with files.storage_errors(path), path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["search_mode", "query_id", "ndcg_at_10", "recall_at_100", "mrr_at_10"])
        for one in found.modes:
            table.writerows([one.mode, *msgspec.structs.astuple(scores)] for scores in one.per_query)


def _write_runs(found: Evaluation, folder: Path) -> None:
    with files.storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for one in found.modes:
        evaluation.write_trec(one.run, folder / f"{one.mode}.trec")
