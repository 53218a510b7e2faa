"""Writes results into docs/benchmarks.md, each into its section, and draws their plots, so that no number is typed.

What is between the two comments of a result is replaced; the rest of the page stays. Plots need matplotlib (make bench installs
it); without it the old ones stay.
Run: python -m benchmarks.render build/bench/peers.json build/bench/curves.json
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.common import ROOT, Result, markdown_table
from benchmarks.peers.measuring import THREADS
from benchmarks.peers.preparing import SELECTIVITIES
from benchmarks.peers.registry import HYBRID, LEXICAL, LIMIT, OUTCROP, VECTOR

PAGE = ROOT / "docs" / "benchmarks.md"
PLOTS = ROOT / "docs" / "images"
_MEGABYTE = 1_000_000
_TITLES = {
    HYBRID: "Hybrid, the 100 best of each leg",
    "hybrid of 10": "Hybrid, the 10 best of each leg",
    VECTOR: "Vector",
    LEXICAL: "Lexical",
}
Peers = dict[str, dict[str, Any]]
_LINE_COLOURS = ("#9aa5b1", "#5c6b7a", "#c0a36e", "#7d9c65", "#b07aa1", "#4e79a7", "#e15759")


def peers_section(found: dict[str, Any]) -> str:
    """The section on the peers, in Markdown."""
    peers: Peers = {name: one for name, one in found["peers"].items() if "failed" not in one}
    failed = [f"{name} failed and is left out." for name, one in found["peers"].items() if "failed" in one]
    parts = [_measured_on(found), *failed, "![Hybrid p50 of each peer](images/peers.svg)"]
    for what, title in _TITLES.items():
        parts += [f"**{title}**", _searches(peers, what, found["environment"]["cores"])]
    parts += ["**Hybrid with a filter**, p50 ms (over the one without)", _filters(peers, HYBRID)]
    parts += ["**Vector with a filter**, p50 ms (over the one without, recall@10)", _filters(peers, VECTOR)]
    parts += ["**Building, opening, writing, memory**", _costs(peers)]
    parts += ["**How each is used**", _settings(peers)]
    return "\n\n".join(parts)


def curves_section(found: dict[str, Any]) -> str:
    """The section on recall and latency, in Markdown: for each corpus, milliseconds at the recall that is asked for."""
    parts = [_measured_on(found, "curves")]
    for name, curves in found["corpora"].items():
        rows = [(one, *(_at_recall(curve, wanted) for wanted in (0.9, 0.95, 0.97, 0.99))) for one, curve in curves.items()]
        parts += [f"![Recall and latency, {name}](images/curves-{_slug(name)}.svg)", f"**{name}**, p50 ms at a recall@10 of"]
        parts.append(markdown_table(("index", ".90", ".95", ".97", ".99"), rows))
    return "\n\n".join(parts)


def million_section(found: dict[str, Any]) -> str:
    """The section on a million chunks, in Markdown."""
    result = msgspec.convert(found["result"], Result)
    notes = "\n".join(f"- {one}" for one in (*result.targets, *result.notes))
    return "\n\n".join((_measured_on(found, "million"), f"{result.corpus}.", markdown_table(result.columns, result.rows), notes))


def replaced(page: str, name: str, section: str) -> str:
    """The page with what stands between the comments `name: begin` and `name: end` replaced."""
    begin, end = f"<!-- {name}: begin, by benchmarks.render -->", f"<!-- {name}: end -->"
    if begin not in page or end not in page:
        raise SystemExit(f"{PAGE} has no comments for {name}: add {begin} and {end}")
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{section}\n\n{end}{rest.partition(end)[2]}"


def _measured_on(found: dict[str, Any], what: str = "peers") -> str:
    machine = found["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    size = f"{found['rows']:,} rows, {found['queries']} queries; " if what == "peers" else ""
    load = "" if machine.get("load") is None else f", load {machine['load']:.1f} of other programs when it began"
    return (
        f"{size}{machine['cores']} cores of {machine['processor']}, Python {machine['python']}, {machine['date'][:10]}{load};"
        f" {versions}. Made by `{machine['command']}`."
    )


def _searches(peers: Peers, what: str, cores: int) -> str:
    base = peers[OUTCROP][what]
    rows = []
    for name, one in peers.items():
        if what not in one:
            continue
        took, rate = one[what], one.get(f"{what} rate", {})
        ratios = sorted(theirs / ours for theirs, ours in zip(took["blocks_ms"], base["blocks_ms"], strict=True))
        between = f"{_short(ratios[len(ratios) // 10])} to {_short(ratios[-1 - len(ratios) // 10])}"
        rates = (rate.get(str(threads), {}).get("median") for threads in THREADS)
        times = (took["p50_ms"], took["p95_ms"], took["p99_ms"])
        recall = None if what == LEXICAL else _recall(one, what)
        rows.append((name, *times, took["p50_ms"] / base["p50_ms"], between, *rates, _of_the_cores(rate, cores), recall))
    threads = tuple(f"queries/s, {count} thread{'s' * (count > 1)}" for count in THREADS)
    columns = ("", "p50 ms", "p95 ms", "p99 ms", "x Outcrop", "in the blocks", *threads, "of the cores", "recall@10")
    return _without_empty(columns, rows)


def _of_the_cores(rate: dict[str, Any], cores: int) -> float | None:
    """Queries a second of most threads over what all cores could answer, by the processor's time of a query from one thread."""
    return float(rate[str(THREADS[-1])]["median"] * rate[str(THREADS[0])]["cpu_ms"] / 1e3 / cores) if rate else None


def _recall(one: dict[str, Any], what: str) -> float | None:
    """Of the vector search itself, as timed; of the hybrid one its vector leg's, as found when the effort was chosen."""
    if what == VECTOR:
        return float(one[what]["recall"])
    chosen = one.get("effort", {}).get("10" if what == "hybrid of 10" else "100")
    return None if chosen is None else float(chosen["recall"])


def _filters(peers: Peers, mode: str) -> str:
    """Milliseconds with each filter, and in brackets what they are of those without one, and the recall of a vector search."""
    rows = []
    for name, one in peers.items():
        found = [one.get(f"{mode}, {share}") for share in SELECTIVITIES]
        if all(found):
            rows.append((name, *(_filtered(took, one[mode]["p50_ms"]) for took in found)))
    return markdown_table(("", *(f"{share} selected" for share in SELECTIVITIES)), rows)


def _filtered(took: dict[str, Any], unfiltered_ms: float) -> str:
    recall = f", {took['recall']:.3f}" if "recall" in took else ""
    return f"{took['p50_ms']:.3g} ({took['p50_ms'] / unfiltered_ms:.2g} x{recall})"


def _costs(peers: Peers) -> str:
    ours = peers[OUTCROP].get("build", {}).get("seconds")
    rows = []
    for name, one in peers.items():
        build, opening, searching = one.get("build", {}), one.get("open", {}), one.get("searching", {})
        seconds = build.get("seconds")
        ratio = seconds / ours if seconds and ours else None
        sizes = [_megabytes(build, "own_bytes"), _megabytes(build, "disk_bytes")]
        sizes += [_megabytes(searching, "own_bytes"), _megabytes(searching, "files_bytes")]
        rows.append((name, seconds, ratio, opening.get("total_ms"), one.get("upsert", {}).get("median"), *sizes))
    times = ("build s", "x Outcrop", "open + first answer ms", "upserts/s")
    return markdown_table(("", *times, "build, own MB", "disk MB", "searching, own MB", "mapped files MB"), rows)


def _settings(peers: Peers) -> str:
    lines = []
    for name, one in peers.items():
        efforts = {depth: chosen["effort"] for depth, chosen in one.get("effort", {}).items() if chosen["effort"]}
        chosen = "; effort " + ", ".join(f"{effort} for {depth}" for depth, effort in efforts.items()) if efforts else ""
        lines.append(f"- {name}: {one['settings']}{chosen}.")
    return "\n".join(lines)


def _megabytes(found: dict[str, Any], name: str) -> float | None:
    return None if name not in found else float(round(found[name] / _MEGABYTE))


def _without_empty(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    kept = [index for index in range(len(columns)) if any(row[index] is not None for row in rows)]
    return markdown_table([columns[index] for index in kept], [[row[index] for index in kept] for row in rows])


def _at_recall(curve: list[dict[str, Any]], wanted: float) -> float | None:
    return min((float(one["p50_ms"]) for one in curve if one["recall"] >= wanted), default=None)


def _short(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2f}"


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower()).strip("-")


def draw_peers(found: dict[str, Any]) -> None:
    """Bars: each peer's hybrid p50 over Outcrop's."""
    peers = {name: one[HYBRID]["p50_ms"] for name, one in found["peers"].items() if HYBRID in one}
    figure, axes = _figure(4.2, 0.35 * len(peers) + 0.9)
    names = sorted(peers, key=peers.__getitem__, reverse=True)
    shades = ["0.2" if name == OUTCROP else "0.75" if name == LIMIT else "0.55" for name in names]
    bars = axes.barh(names, [peers[name] for name in names], color=shades)
    axes.bar_label(bars, [f"{peers[name] / peers[OUTCROP]:.3g} x" for name in names], padding=3, fontsize=8)
    axes.set(xscale="log", xlabel="hybrid p50, ms")
    axes.margins(x=0.25)
    _saved(figure, "peers")


def draw_curves(found: dict[str, Any]) -> None:
    """Milliseconds over recall, one plot for each corpus: lines, and a star for what Outcrop has chosen. Each nine is as wide."""
    recalls = (0.7, 0.9, 0.97, 0.99, 0.997, 0.999)
    for name, curves in found["corpora"].items():
        figure, axes = _figure(7, 3.6)
        for number, (one, curve) in enumerate(curves.items()):
            points = sorted((1 - min(point["recall"], 0.9995), point["p50_ms"]) for point in curve)
            marker, size = ("*", 9) if len(points) == 1 else (".", 5)
            colour = f"C{number % 10}" if len(points) == 1 else _LINE_COLOURS[number % len(_LINE_COLOURS)]
            axes.plot(*zip(*points, strict=True), marker=marker, markersize=size, linewidth=1, color=colour, label=one)
        axes.set(xscale="log", yscale="log", xlabel="recall@10", ylabel="p50, ms", xlim=(0.35, 0.0004))
        axes.set_xticks([1 - one for one in recalls], [f"{one:g}".removeprefix("0") for one in recalls])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        _saved(figure, f"curves-{_slug(name)}")


def _figure(width: float, height: float) -> Any:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "outcrop", "font.size": 8})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(width, height))
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _saved(figure: Any, name: str) -> None:
    PLOTS.mkdir(exist_ok=True)
    figure.savefig(PLOTS / f"{name}.svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})


_SECTIONS: dict[str, tuple[Callable[[dict[str, Any]], str], Callable[[dict[str, Any]], None] | None]] = {
    "peers": (peers_section, draw_peers),
    "curves": (curves_section, draw_curves),
    "million": (million_section, None),
}


def main(*paths: str) -> None:
    """Replace the section of each result, named by its file."""
    page = PAGE.read_text("utf-8")
    for path in map(Path, paths):
        if path.stem not in _SECTIONS:
            raise SystemExit(f"{path} is neither of {', '.join(f'{name}.json' for name in _SECTIONS)}")
        section, draw = _SECTIONS[path.stem]
        found = msgspec.json.decode(path.read_bytes())
        page = replaced(page, path.stem, section(found))
        if draw is not None and importlib.util.find_spec("matplotlib") is not None:
            draw(found)
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
