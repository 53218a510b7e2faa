"""What must be true of a collection that a crash left: it holds one possible world, searches agree with it, and work goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence

from outcrop import Collection
from tests.crash.model import Model, State, World, as_json, number_of, word_of
from tests.crash.workload import Dice, Driver, vector_of

_EVERYTHING = 1000


def check(driver: Driver) -> None:
    """Raise `AssertionError` unless what the collection shows is one of the model's worlds; keep the worlds that agree."""
    collection = driver.open()
    number, state = seen(collection)
    agreeing = driver.model.observed(number, state)
    if number is not None:
        check_history(driver, collection, number, agreeing)
        check_searches(driver, collection, number, state)
    there = {info.number for info in collection.generations()}
    for world in driver.model.worlds:
        wanted = {number_of(driver.model.keys, key) for key in set(world.waiting()) - driver.model.collected} - {None}
        missing = wanted - there
        assert not missing, f"generations {sorted(missing)} were finished and are gone"


def check_and_go_on(driver: Driver, seed: str) -> None:
    """Check, do one thing more, check, open again, check."""
    check(driver)
    dice = Dice(driver.setting, seed)
    interrupted = driver.model.interrupted[-1:]
    for operation in [*interrupted, dice.write(driver.model), *([] if interrupted else [dice.next(driver.model)])]:
        done = driver.run(operation) or (driver.refused and not seen(driver.open())[1])  # of no documents nothing can be built
        if not done:
            raise AssertionError(f"after the crash {operation['op']} failed: {driver.error!r}") from driver.error
        driver.model.observed(*seen(driver.open()))
    driver.close()
    check(driver)
    faults = [report for report in driver.open().verify() if not report.healthy]
    assert not faults, faults
    driver.close()


def seen(collection: Collection) -> tuple[int | None, State]:
    """The active generation's number and its documents."""
    active = collection.active
    if active is None:
        return None, {}
    state: State = {}
    for document in collection.scan():
        assert document.id not in state, f"{document.id} is there twice"
        state[document.id] = document.text, as_json(document.metadata)
    assert collection.count() == len(state), (collection.count(), len(state))
    assert {one.id for one in collection.get(list(state))} == set(state)
    return active.number, state


def check_history(driver: Driver, collection: Collection, number: int, agreeing: Sequence[World]) -> None:
    """The record of promotions says where a rollback would lead."""
    previous = [entry.previous for entry in collection.history() if entry.generation == number][-1]
    before = [world.generation(world.active).previous for world in agreeing if world.active is not None]
    wanted = {None if key is None else number_of(driver.model.keys, key) for key in before}
    unknown = any(key is not None and number_of(driver.model.keys, key) is None for key in before)
    assert previous in wanted or unknown, f"generation {number} was promoted from {previous}, not from {wanted}"


def check_searches(driver: Driver, collection: Collection, number: int, state: State) -> None:
    """Every living document is found by both legs, with the text and the metadata that it has now; no other is."""
    given = driver.setting.embedder == "given"
    k = {"k": _EVERYTHING, "candidates": _EVERYTHING}
    answers = [collection.search("granite", mode="lexical", **k)]
    if given:
        answers += [collection.search(vector=vector_of("granite"), mode="vector", **k)] if state else []
    elif driver.setting.embedder != "none":
        answers.append(collection.search("granite", mode="vector", **k))
    for hits in answers:
        assert hits.generation == number, "a search answers from another generation"
        assert {hit.document_id for hit in hits} == set(state), (
            f"{hits.mode}: {_difference({hit.document_id for hit in hits}, state)}"
        )
        for hit in hits:
            assert as_json(hit.metadata) == state[hit.document_id][1], f"{hits.mode}: {hit.document_id} has old metadata"
            assert hit.text in state[hit.document_id][0], f"{hits.mode}: {hit.document_id} has an old text"
    _check_words(driver.model, collection, state)
    if given:
        _check_vectors(collection, state)
    groups = {json.loads(metadata).get("group") for _, metadata in state.values()}
    for group in groups:
        found = {hit.document_id for hit in collection.search("granite", where={"group": group}, **k, mode="lexical")}
        assert found == {one for one in state if json.loads(state[one][1]).get("group") == group}, f"group {group}: {found}"


def _check_words(model: Model, collection: Collection, state: State) -> None:
    alive = {word_of(text): document_id for document_id, (text, _) in state.items()}
    for word in sorted(model.words | alive.keys()):
        found = [hit.document_id for hit in collection.search(word, mode="lexical")]
        wanted = [alive[word]] if word in alive else []
        assert found == wanted, f"{word!r} finds {found}, wanted {wanted}"


def _check_vectors(collection: Collection, state: State) -> None:
    for document_id, (text, _) in state.items():
        hits = collection.search(vector=vector_of(text), mode="vector", k=1)
        assert [hit.document_id for hit in hits] == [document_id], f"the vector of {document_id} finds {hits[:1]}"


def _difference(found: set[str], state: State) -> str:
    return f"missing {sorted(state.keys() - found)}, too many {sorted(found - state.keys())}"
