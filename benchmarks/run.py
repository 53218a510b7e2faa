"""All benchmarks of speed in a row, each a file of this folder. Prints Markdown and writes build/bench/results.json.

Each file of this folder measures one question, says in its header on what, and runs alone too. Quality is `benchmarks.quality`.
Run: python -m benchmarks.run [--quick] [--only latency,build]
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import (
    build,
    engines,
    latency,
    memory,
    opening,
    promotion,
    recall,
    serving,
    sharing,
    streaming,
    throughput,
    writes,
)
from benchmarks.common import Result, Settings, environment, settings, write_json

BENCHMARKS: dict[str, Callable[[Settings], Result]] = {
    "latency": latency.measure,
    "throughput": throughput.measure,
    "recall": recall.measure,
    "opening": opening.measure,
    "build": build.measure,
    "streaming": streaming.measure,
    "promotion": promotion.measure,
    "writes": writes.measure,
    "serving": serving.measure,
    "engines": engines.measure,
    "memory": memory.measure,
    "sharing": sharing.measure,
}


def main() -> None:
    """Run what was asked for; exit with 1 if a target was missed."""
    chosen, parsed = settings(__doc__, only={"help": f"some of {','.join(BENCHMARKS)}", "default": ",".join(BENCHMARKS)})
    names = parsed.only.split(",")
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise SystemExit(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    results: dict[str, Result] = {}
    for name in names:
        results[name] = BENCHMARKS[name](chosen)
        print(results[name].markdown(), end="\n\n", flush=True)
    _write(chosen, results)
    if not all(target.met for result in results.values() for target in result.targets):
        raise SystemExit(1)


def _write(chosen: Settings, results: dict[str, Result]) -> None:
    write_json(chosen.cache / "results.json", {"environment": environment(), "seed": chosen.seed, "results": results})


if __name__ == "__main__":
    main()
