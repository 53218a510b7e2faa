"""One fresh process's first answer, for `benchmarks.opening`: python -m benchmarks.first_answer DATABASE COLLECTION MODE

Prints the milliseconds of each step as JSON. Nothing but the clock is imported before the clock runs.
"""

import sys
import time

_QUERY = "a small library for reading archives"


def main(database: str, collection_name: str, mode: str) -> None:
    """Import, open, answer two different queries, and print how long each took."""
    started = time.perf_counter()
    import outcrop  # its import is measured

    imported = time.perf_counter()
    db = outcrop.open(database)
    collection = db.collection(collection_name)
    opened = time.perf_counter()
    hits = collection.search(_QUERY, k=10, mode=mode, cache=False)
    answered = time.perf_counter()
    collection.search(_QUERY + " and packages", k=10, mode=mode, cache=False)
    again = time.perf_counter()
    if not len(hits):
        raise SystemExit("the first query found nothing, so that its time means nothing")
    db.close()
    import json

    times = {"import": imported - started, "open": opened - imported, "first": answered - opened, "second": again - answered}
    print(json.dumps({step: seconds * 1000 for step, seconds in times.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
