"""What to change, and the numbers that say so. A rule speaks only where its thresholds are met, and says nothing otherwise.

Each is a function of the tally and the facts; the table at the end is their order, the most useful first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import TypeAlias

from outcrop.insights.counting import Spread
from outcrop.insights.facts import Facts
from outcrop.insights.tally import LARGE_K, OTHER_SHAPES, ShapeTally, Tally
from outcrop.insights.values import Advice

Rule: TypeAlias = Callable[[Tally, Facts], Iterator[Advice]]

SEARCHES_MIN = 100
"""Below so many searches of the kind in question no share means much."""

EMPTY_LEG_SHARE = 0.2
STOP_WORDS_SHARE = 0.05
UNKNOWN_WORDS_SHARE = 0.1
CONTRIBUTED_SHARE = 0.1
NOTHING_SHARE = 0.1
REPEATS_SHARE = 0.1
DEGRADED_SHARE = 0.01
ZEROS_MIN = 30
SHAPE_OF_ZEROS_SHARE = 0.6
SHAPE_LIFT = 2.0
SHAPE_ZERO_SHARE = 0.9
UNKNOWN_FIELD_SEARCHES = 10
FILTER_RATIO = 2.0
FILTER_EXTRA_MS = 5.0
EMBED_SHARE = 0.5
EMBED_MS = 5.0
WAITING_SHARE = 0.2
WAITING_MS = 1.0
LARGE_K_SHARE = 0.2
FETCH_SHARE = 0.3
SUGGESTED_SECONDS = 3600
LOG_FULL_SHARE = 0.9
REACHED_SHARE = 0.9
_SECONDS_PER_DAY = 86_400.0
_SHARE_MIN = 0.001
_PLAIN_SHARE = 0.1  # smaller ones are told with a decimal


def advice(tally: Tally, facts: Facts) -> tuple[Advice, ...]:
    """Everything that the numbers carry, in the order of the rules."""
    return tuple(one for rule in RULES for one in rule(tally, facts))


def unknown_field(tally: Tally, facts: Facts) -> Iterator[Advice]:
    """Filters that name a field which no document has: they select nothing."""
    searches: dict[str, int] = {}
    for one in tally.shapes.values():
        for field in unknown(one.fields, facts):
            searches[field] = searches.get(field, 0) + one.searches
    for field, count in sorted(searches.items(), key=lambda item: -item[1]):
        if count >= UNKNOWN_FIELD_SEARCHES:
            near = get_close_matches(field, facts.fields, n=1)
            hint = f"Name {near[0]!r} in the filter, if that is meant; otherwise" if near else "Drop it from the filter, or"
            yield Advice(
                "unknown-field",
                f"{count:,} searches filtered by {field!r}, a field that no document has.",
                f"{hint} write the field with the documents. Fields there are: outcrop stats {facts.collection}",
            )


def degraded(tally: Tally, facts: Facts) -> Iterator[Advice]:
    """Another engine or generation stood in."""
    failing, behind = tally.degraded["failing"], tally.degraded["behind"]
    if failing and failing >= DEGRADED_SHARE * tally.searches:
        yield Advice(
            "degraded",
            f"{_share(failing, tally.searches)} of searches ({failing:,}) were answered by a stand-in, because something failed.",
            f"See outcrop stats {facts.collection} for what failed; outcrop doctor for whether LanceDB works here; outcrop repair"
            f" {facts.collection} builds its index anew.",
        )
    elif behind >= max(SEARCHES_MIN, NOTHING_SHARE * tally.searches):
        yield Advice(
            "behind",
            f"{_share(behind, tally.searches)} of searches ({behind:,}) were answered by the built-in index, because LanceDB's"
            " lacked the newest writes.",
            "Write larger batches (each is a version of LanceDB's table), or raise lancedb_apply_seconds.",
        )


def nothing_without_vectors(tally: Tally, facts: Facts) -> Iterator[Advice]:
    """Many searches by words alone find nothing, and there are no vectors."""
    searches, zeros = tally.counts["lexical_alone"], tally.counts["zero_lexical_alone"]
    if not facts.has_vectors and searches >= SEARCHES_MIN and zeros >= EMPTY_LEG_SHARE * searches:
        yield Advice(
            "nothing-without-vectors",
            f"{_share(zeros, searches)} of searches by words ({zeros:,} of {searches:,}) find nothing: no document has their"
            " words.",
            f"Search by meaning too: outcrop build {facts.collection} --embedder static --promote"
            " (or minilm), and compare before with outcrop compare.",
        )


def lexical_empty(tally: Tally, facts: Facts) -> Iterator[Advice]:
    """The words of many hybrid searches are in no document."""
    searches, empty = tally.counts["hybrid_unfiltered"], tally.legs["lexical"].empty
    if searches >= SEARCHES_MIN and empty >= EMPTY_LEG_SHARE * searches:
        other = (
            "one with the language's stemmer (outcrop build {0} --analyzer german --promote, for example)"
            if facts.analyzer in ("english", "simple")
            else "simple or english"
        )
        yield Advice(
            "lexical-empty",
            f"{_share(empty, searches)} of hybrid searches without a filter ({empty:,} of {searches:,}) find nothing by their words"
            f" (analyzer {facts.analyzer}): only the vector leg answers them.",
            f"Look at such queries (the list of silent legs): if they are in another language than the analyzer's, build with"
            f" {other.format(facts.collection)}; if their words are misspelt or are not in the documents, the vector leg is right"
            " to answer.",
        )


def stop_words(tally: Tally, facts: Facts) -> Iterator[Advice]:
    """Queries of stop words alone."""
    searches, count = tally.counts["lexical_searches"], tally.counts["no_term"]
    if searches >= SEARCHES_MIN and count >= STOP_WORDS_SHARE * searches and facts.analyzer != "simple":
        yield Advice(
            "stop-words",
            f"{_share(count, searches)} of searches by words ({count:,}) have nothing to search for: the analyzer"
            f" {facts.analyzer} drops all their words as stop words, or they are punctuation.",
            f"Build with an analyzer without stop words: outcrop build {facts.collection} --analyzer simple --promote (it has no"
            " stemming either: compare before).",
        )


def unknown_words(tally: Tally, facts: Facts) -> Iterator[Advice]:
    """Queries of which the embedder knows no word."""
    searches, count = tally.counts["embedded_searches"], tally.counts["no_vector"]
    if facts.embedder is not None and searches >= SEARCHES_MIN and count >= UNKNOWN_WORDS_SHARE * searches:
        yield Advice(
            "unknown-words",
            f"The embedder {facts.embedder} knows no word of {_share(count, searches)} of the queries ({count:,}): they get no"
            " vector.",
            f"Build with an embedder of another vocabulary: outcrop build {facts.collection} --embedder minilm, then outcrop"
            " compare.",
        )


def silent_leg(tally: Tally, facts: Facts) -> Iterator[Advice]:
    """A leg that has hardly any part in what is shown."""
    searches, hits = tally.counts["hybrid_shown"], tally.counts["hybrid_hits"]
    if searches < SEARCHES_MIN:
        return
    for name, leg in tally.legs.items():
        if leg.hits <= CONTRIBUTED_SHARE * hits:
            other = "lexical" if name == "vector" else "vector"
            steps = [tally.steps[step] for step in (("embed", "vector") if name == "vector" else ("lexical",))]
            saved = sum(step.percentile(50) for step in steps)
            yield Advice(
                f"{name}-silent",
                f"The {name} leg has found {_share(leg.hits, hits)} of the hits shown by hybrid searches, and none of those of"
                f" {_share(leg.silent, searches)} of them ({leg.silent:,} of {searches:,}).",
                f"See whether it is worth its {saved:.1f} ms: outcrop eval {facts.collection} QUERIES compares the legs on judged"
                f" queries. If the hybrid is no better, search with mode {other!r}; if it is, its weight is too low or too high"
                " (fusion's vector_weight).",
            )


def zero_results_by_filter(tally: Tally, facts: Facts) -> Iterator[Advice]:
    """Filters with which nothing is found, or which most searches that find nothing have in common."""
    zeros = tally.counts["zero_results"]
    for shape, one in sorted(tally.shapes.items(), key=lambda item: -item[1].zero_results):
        if one.zero_results < ZEROS_MIN or shape == OTHER_SHAPES or unknown(one.fields, facts):
            continue
        of_all = one.searches / tally.searches
        common = one.zero_results >= max(SHAPE_OF_ZEROS_SHARE, SHAPE_LIFT * of_all) * zeros
        if common or one.zero_results >= SHAPE_ZERO_SHARE * one.searches:
            yield Advice(
                "zero-results-by-filter",
                f"{_share(one.zero_results, one.searches)} of searches filtered by {shape} find nothing ({one.zero_results:,} of"
                f" {one.searches:,}); they are {_share(one.zero_results, zeros)} of all that find nothing.",
                "Values or their types may not be those of the documents: count what each value selects (outcrop count"
                f' {facts.collection} --where "..."). The log keeps no values.',
            )


def repeats(tally: Tally, facts: Facts) -> Iterator[Advice]:
    """The same searches again, from the same state of the collection, and the cache did not answer."""
    cacheable = tally.counts["cacheable"]
    soon, late = tally.queries.total("soon"), tally.queries.total("late")
    seconds = facts.config.query_cache_seconds
    if cacheable < SEARCHES_MIN:
        return
    most = next(iter(tally.queries.top("searches", 1)), None)
    example = "" if most is None else f" The one asked most, {most[0]!r:.60}, came {most[2].searches:,} times."
    cached = f"{_share(tally.counts['cached'], cacheable)} of searches were answered from the cache"
    if late >= REPEATS_SHARE * cacheable:
        now = "off (0)" if not seconds else f"{seconds:g}"
        yield Advice(
            "cache-too-short",
            f"{_share(late, cacheable)} of searches ({late:,}) were asked before, with nothing written in between, and searched"
            f" anew; {cached}.{example}",
            f"Raise query_cache_seconds, which is {now}, to {SUGGESTED_SECONDS} for example. Cached answers are never out of date.",
        )
    if soon >= REPEATS_SHARE * cacheable:
        yield Advice(
            "cache-too-small",
            f"{_share(soon, cacheable)} of searches ({soon:,}) were asked less than {seconds:g} s before, with nothing written in"
            f" between, and searched anew; {cached}.{example}",
            "The cache seems to be off where searches run: query_cache_seconds is 0 there, or they say cache=False."
            if not tally.counts["cached"]
            else f"If query_cache in the server's stats is full (GET /v1/collections/{facts.collection}), raise memory_budget"
            f" ({facts.config.memory_budget / 1e6:,.0f} MB; a fifth is for answers). Each process has a cache of its own, so fewer"
            " processes find more in it.",
        )


def slow_filter(tally: Tally, facts: Facts) -> Iterator[Advice]:
    """Filters that make searches much slower."""
    for shape, one in tally.shapes.items():
        ratio, extra = against_unfiltered(tally, one)
        if ratio is None or ratio < FILTER_RATIO or extra < FILTER_EXTRA_MS:
            continue
        without_column = [field for field in one.fields if field in facts.slow_fields]
        if without_column:
            change = (
                f"LanceDB's table, which has columns for 200 fields at most, has none for {', '.join(without_column)}: write fewer"
                f" different metadata fields, and build anew (outcrop build {facts.collection} --promote)."
            )
        elif one.negated:
            change = (
                "It says what must not be, which selects by two ranges or from all rows: store a field that says what must be, and"
                " filter by its equality."
            )
        else:
            change = (
                f"See where the time goes (outcrop search {facts.collection} ... --where ... --explain shows each step); a filter"
                " used by most searches may be worth a collection of its own."
            )
        yield Advice(
            "slow-filter",
            f"Searches filtered by {shape} take {ratio:.1f} times as long as those without a filter (median, {extra:+.1f} ms;"
            f" {one.searches:,} searches).",
            change,
        )


def slow_embedding(tally: Tally, facts: Facts) -> Iterator[Advice]:
    """Most of the time goes into embedding queries."""
    step = tally.steps["embed"]
    if step.count >= SEARCHES_MIN and step.total >= EMBED_SHARE * tally.total_ms and step.percentile(50) >= EMBED_MS:
        remote = facts.embedder is not None and facts.embedder.startswith("openai:")
        yield Advice(
            "slow-embedding",
            f"Embedding the query takes {step.total / tally.total_ms:.0%} of the time of searches (median"
            f" {step.percentile(50):.1f} ms, {facts.embedder}).",
            "Embeddings of queries are cached for query_cache_seconds"
            f" ({facts.config.query_cache_seconds:g} now): raise it; or build with an embedder"
            f" that is {'local' if remote else 'faster'}"
            f" (outcrop build {facts.collection} --embedder static, then outcrop compare).",
        )


def waiting(tally: Tally, facts: Facts) -> Iterator[Advice]:  # noqa: ARG001 - a rule's form
    """Searches wait for cores."""
    step = tally.steps["waiting"]
    if step.count >= SEARCHES_MIN and step.total >= WAITING_SHARE * tally.total_ms and step.percentile(95) >= WAITING_MS:
        yield Advice(
            "waiting",
            f"{step.total / tally.total_ms:.0%} of the time of searches is spent waiting, above all for a core (95th percentile"
            f" {step.percentile(95):.1f} ms).",
            "One more search runs at once than there are cores: give the machine more cores, or it fewer searches"
            " (query_cache_seconds; a smaller candidates).",
        )


def large_pages(tally: Tally, facts: Facts) -> Iterator[Advice]:  # noqa: ARG001 - a rule's form
    """Many searches fetch many hits."""
    run = sum(spread.count for spread in tally.by_mode.values())
    large, fetched = tally.large_k, tally.large_k_fetch
    if large.count >= max(SEARCHES_MIN, LARGE_K_SHARE * run) and fetched.total >= FETCH_SHARE * large.total:
        yield Advice(
            "large-k",
            f"{_share(large.count, run)} of searches ask for {LARGE_K} hits or more, and fetching their texts takes"
            f" {fetched.total / large.total:.0%} of their time (median {fetched.percentile(50):.1f} ms).",
            "Ask for fewer (k) and page on with offset: scores and order do not depend on k.",
        )


def log_too_small(tally: Tally, facts: Facts) -> Iterator[Advice]:
    """The log is full, and does not reach back as far as is looked."""
    reaches = (tally.last_at - tally.first_at) / _SECONDS_PER_DAY
    full = facts.log_bytes >= LOG_FULL_SHARE * facts.config.query_log_bytes_max
    if tally.searches >= SEARCHES_MIN and full and reaches < REACHED_SHARE * facts.days:
        reached = f"{reaches:.1f} days" if reaches >= 1 else f"{reaches * 24:.1f} hours"
        share = tally.searches / tally.estimated * max(reaches / facts.days, _SHARE_MIN)
        yield Advice(
            "log-too-small",
            f"The log is full ({facts.log_bytes / 1e6:,.0f} MB) and reaches back {reached} of the {facts.days:g} days asked for.",
            f"Log fewer searches (query_log_share = {share:.2g} would reach back all of them), or raise query_log_bytes_max.",
        )


def unknown(fields: tuple[str, ...], facts: Facts) -> tuple[str, ...]:
    """Those of a filter's fields that no document has."""
    known = facts.fields
    return tuple(field for field in fields if not any(one == field or one.startswith(f"{field}.") for one in known))


def against_unfiltered(tally: Tally, shape: ShapeTally) -> tuple[float | None, float]:
    """How many times as long searches with a filter take as those without in the same mode, at the median, and how many ms more.

    In the mode in which there are most; None where there are too few.
    """
    mode, filtered = max(shape.by_mode.items(), key=lambda item: item[1].count, default=("", Spread()))
    plain = tally.unfiltered.get(mode)
    if plain is None or min(plain.count, filtered.count) < SEARCHES_MIN // 2:
        return None, 0.0
    before, after = plain.percentile(50), filtered.percentile(50)
    return (after / before if before else None), after - before


def _share(part: int, whole: int) -> str:
    share = part / whole if whole else 0.0
    return f"{share:.0%}" if share >= _PLAIN_SHARE or not share else f"{share:.1%}"


RULES: tuple[Rule, ...] = (
    degraded,
    unknown_field,
    zero_results_by_filter,
    nothing_without_vectors,
    lexical_empty,
    stop_words,
    unknown_words,
    silent_leg,
    repeats,
    slow_filter,
    slow_embedding,
    waiting,
    large_pages,
    log_too_small,
)
