"""How good is a collection's search? Judged queries in; nDCG@10, recall@100, MRR@10, TREC run files and a verdict out.

```python
from outcrop import evaluation

judged = evaluation.load("scifact")
result = evaluation.evaluate(collection, judged)
print(result)
evaluation.write_trec(result.mode("hybrid").run, "hybrid.trec")
```
"""

from __future__ import annotations

from outcrop.evaluation.agreement import overlap, rank_biased_overlap
from outcrop.evaluation.beir import JudgedQueries, golden, load, load_golden
from outcrop.evaluation.judged import Evaluation, ModeEvaluation, Searchable, evaluate
from outcrop.evaluation.measures import Measures, QueryScores, measure, require_measures
from outcrop.evaluation.runs import RankedDocument, Run, read_trec, write_trec
from outcrop.evaluation.verdict import Verdict, paired_bootstrap

__all__ = [
    "Evaluation",
    "JudgedQueries",
    "Measures",
    "ModeEvaluation",
    "QueryScores",
    "RankedDocument",
    "Run",
    "Searchable",
    "Verdict",
    "evaluate",
    "golden",
    "load",
    "load_golden",
    "measure",
    "overlap",
    "paired_bootstrap",
    "rank_biased_overlap",
    "read_trec",
    "require_measures",
    "write_trec",
]
