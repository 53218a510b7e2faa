"""A collection's methods as spans, by OpenTelemetry's conventions for databases: `search papers`, with what came of it.

The kind is INTERNAL, as the conventions have it for a database in the same process. Of a search over many queries the name begins
with BATCH; a write is one operation, however many documents it has, because it is one: all of them or none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from outcrop import spans
from outcrop.model import GenerationInfo, RollbackPlan, WriteResult
from outcrop.retrieval.hits import Hits
from outcrop.spans import Value
from outcrop.writes.streaming import BulkResult

#: The methods, and the name of the operation that each is.
OPERATIONS = {
    "search": "search",
    "search_many": "BATCH search",
    "get": "get",
    "count": "count",
    "upsert": "upsert",
    "upsert_many": "upsert_many",
    "delete": "delete",
    "update_metadata": "update_metadata",
    "build": "build",
    "promote": "promote",
    "rollback": "rollback",
    "compare": "compare",
    "optimize": "optimize",
    "gc": "gc",
    "verify": "verify",
    "repair": "repair",
}
_Class = TypeVar("_Class")


def traced(facade: type[_Class]) -> type[_Class]:
    """The class, whose methods are spans where somebody traces."""
    for method, operation in OPERATIONS.items():
        setattr(facade, method, _traced(getattr(facade, method), operation))
    return facade


def _traced(method: Callable[..., Any], operation: str) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, /, *args: Any, **options: Any) -> Any:
        if spans.tracer() is None:
            return method(self, *args, **options)
        known: dict[str, Value | None] = {
            "db.system.name": "outcrop",
            "db.namespace": self._open.folder.path.parent.name,
            "db.collection.name": self.name,
            "db.operation.name": operation,
        }
        if operation == "search" and spans.tells_queries():
            known["db.query.text"] = args[0] if args else options.get("query")
        with spans.operation(operation, f"{operation} {self.name}", known) as opened:
            result = method(self, *args, **options)
            if opened.is_recorded:
                opened.tell(_came_of_it(result))
            return result

    return call


def _came_of_it(result: Any) -> dict[str, Value | None]:
    match result:
        case Hits():
            return {"db.response.returned_rows": len(result), **_searched(result)}
        case [Hits(), *_]:
            size = len(result)
            rows = sum(map(len, result))
            return {
                "db.response.returned_rows": rows,
                **_searched(result[0]),
                "db.operation.batch.size": size if size > 1 else None,
            }
        case WriteResult() | BulkResult():
            names = ("sequence", "upserted", "replaced", "deleted", "updated", "chunks", "write_count", "skipped")
            return {f"outcrop.{name}": getattr(result, name, None) for name in names}
        case GenerationInfo():
            return {
                "outcrop.generation": result.number,
                "outcrop.engine": result.recipe.engine,
                "outcrop.documents": result.document_count,
                "outcrop.chunks": result.chunk_count,
            }
        case RollbackPlan():
            return {"outcrop.generation": result.generation}
        case int():
            return {"outcrop.documents": result}
        case _:
            return {}


def _searched(hits: Hits) -> dict[str, Value | None]:
    return {
        "outcrop.search_mode": hits.mode,
        "outcrop.generation": hits.generation,
        "outcrop.sequence": hits.sequence,
        "outcrop.engine": hits.engine,
        "outcrop.cached": hits.cached,
        "outcrop.candidates": hits.total_candidates,
        "outcrop.degraded": None if hits.degraded is None else hits.degraded.cause,
    }
