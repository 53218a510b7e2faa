"""What a collection must hold: a model in plain dictionaries that is told of every operation, before it and after it.

An operation that was begun and not acknowledged may have happened or not, so the model keeps every *world* that is possible. What
is seen afterwards must be one of them, whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

Stored: TypeAlias = tuple[str, str]
"""A document's text, and its metadata as JSON."""
State: TypeAlias = dict[str, Stored]
Outcome: TypeAlias = tuple[str, Stored | str | None]
"""("put", document), ("patch", metadata as JSON) or ("delete", None)."""
Write: TypeAlias = tuple[tuple[str, Outcome], ...]

KEPT_GENERATIONS = 2


def stored(document: Mapping[str, Any]) -> Stored:
    return document["text"], as_json(document["metadata"])


def as_json(metadata: Mapping[str, Any]) -> str:
    return json.dumps(metadata, sort_keys=True)


@dataclass(frozen=True)
class Generation:
    """What a generation was built from, and after how many writes its build began: all later ones reach it when it is active.

    Of the base `put` came by writes and not from a source; `gone` was deleted by writes.
    """

    base: tuple[tuple[str, Stored], ...]
    since: int
    put: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    previous: str | None = None  # the generation that was active before it, when it was last promoted
    promoted: bool = False


@dataclass(frozen=True)
class World:
    """One possible past. A generation is known by the id of the operation that made it."""

    writes: tuple[Write, ...] = ()
    begun: tuple[tuple[str, Generation], ...] = ()
    ready: tuple[tuple[str, Generation], ...] = ()
    active: str | None = None
    history: tuple[str, ...] = ()  # every promotion and rollback

    def generation(self, key: str) -> Generation:
        return dict(self.ready)[key]

    def state(self, key: str | None = None) -> State:
        """The documents of a generation when it is active; by default of the one that is."""
        key = self.active if key is None else key
        if key is None:
            return {}
        generation = self.generation(key)
        state: State = dict(generation.base)
        for write in self.writes[generation.since :]:
            for document_id, outcome in write:
                _apply(state, document_id, outcome)
        return state

    def directly_written(self) -> tuple[frozenset[str], frozenset[str]]:
        """Of the active generation: the ids put in by writes, and those deleted, since the last build that kept no writes."""
        if self.active is None:
            return frozenset(), frozenset()
        generation = self.generation(self.active)
        state, put, gone = dict(generation.base), set(generation.put), set(generation.gone)
        for document_id, outcome in (entry for write in self.writes[generation.since :] for entry in write):
            if outcome[0] == "delete":
                put.discard(document_id)
                gone.add(document_id)
            elif outcome[0] == "put" or document_id in state:
                put.add(document_id)
                gone.discard(document_id)
            _apply(state, document_id, outcome)
        return frozenset(put), frozenset(gone)

    def with_kept_writes(self, base: State) -> State:
        """A source in which what was written directly takes the place of what it says."""
        put, gone = self.directly_written()
        state = self.state()
        return {one: value for one, value in base.items() if one not in put | gone} | {one: state[one] for one in put}

    def written(self, write: Write) -> World:
        return replace(self, writes=(*self.writes, write)) if write else self

    def beginning(self, key: str, base: State, *, keeps: bool = False) -> World:
        put, gone = self.directly_written() if keeps else (frozenset[str](), frozenset[str]())
        generation = Generation(base=tuple(base.items()), since=len(self.writes), put=put, gone=gone)
        return replace(self, begun=(*self.begun, (key, generation)))

    def finished(self, key: str) -> World:
        begun = dict(self.begun)
        return replace(self, ready=(*self.ready, (key, begun.pop(key))), begun=tuple(begun.items()))

    def promoted(self, key: str) -> World:
        if key == self.active:
            return self
        ready = dict(self.ready)
        ready[key] = replace(ready[key], previous=self.active, promoted=True)
        return replace(self, ready=tuple(ready.items()), active=key, history=(*self.history, key))

    def waiting(self) -> list[str]:
        """The generations that were never promoted, oldest first."""
        return [key for key, one in self.ready if not one.promoted]

    def collectable(self) -> set[str]:
        """The generations that a collector need not keep: all that wait but the newest, and that too if it is older than the active
        one, and of the archived ones those that were promoted before the last two."""
        archived = [key for key in dict.fromkeys(reversed(self.history)) if key != self.active]
        built = [key for key, _ in self.ready]
        waiting = self.waiting()
        awaited = [key for key in waiting[-1:] if self.active is None or built.index(key) > built.index(self.active)]
        return {*waiting, *archived[KEPT_GENERATIONS:]} - {*awaited}


class Model:
    """Every world that is possible after the events so far."""

    def __init__(self, worlds: Iterable[World] = (World(),)) -> None:
        self.worlds = tuple(worlds)
        self.keys: dict[int, str] = {}  # a generation's number -> the operation that made it
        self.running: dict[str, dict[str, Any]] = {}
        self.words: set[str] = set()  # every word that was ever to be written in a document of its own
        self.collected: set[str] = set()  # generations that may have been collected
        self.interrupted: list[dict[str, Any]] = []  # builds that a crash cut short
        self.created = False  # the collection is there, by an acknowledged operation
        self.unsettled = False  # something may be accepted and not visible yet: the next write shows it

    def begin(self, key: str, operation: dict[str, Any]) -> None:
        """An operation is about to be called."""
        self.running[key] = operation
        if operation["op"] == "gc":
            self.collected.update(key for world in self.worlds for key in world.collectable())
        documents = operation.get("documents")
        self.words.update(word_of(one["text"]) for one in documents or ())
        if operation["op"] == "build":
            self.worlds = tuple(world.beginning(key, _base(world, operation), keeps=_keeps(operation)) for world in self.worlds)

    def end(self, key: str, result: Mapping[str, Any]) -> None:
        """The operation was acknowledged."""
        operation = self.running.pop(key)
        self.created = True  # whatever was done, was done to it
        if operation["op"] == "build":
            self.keys[result["generation"]] = key
        self.worlds = _distinct(list(self._steps(world, key, operation))[-1] for world in self.worlds)
        if operation["op"] in ("upsert", "promote", "rollback"):
            self.unsettled = False
        if operation["op"] in ("promote", "rollback"):
            self.worlds = tuple(world for world in self.worlds if self.is_active(world, result["generation"]))
            assert self.worlds, f"{operation} made generation {result['generation']} active"

    def fail(self, key: str, *, changed: bool = True) -> None:
        """The operation raised an error; with `changed` it may have happened all the same."""
        operation = self.running.pop(key)
        self.unsettled = self.unsettled or changed
        self.worlds = _distinct(
            one for world in self.worlds for one in (self._steps(world, key, operation) if changed else [world])
        )

    def crash(self) -> None:
        """The process ended: whatever was running may have happened."""
        self.interrupted += [one for one in self.running.values() if one["op"] == "build"]
        for key in sorted(self.running, key=lambda one: self.running[one]["op"] == "build"):  # a build's writes come before it
            self.fail(key)

    def observed(self, number: int | None, state: State) -> tuple[World, ...]:
        """The worlds that agree with what was seen, which are all that remain. Raises `AssertionError` if there is none."""
        agreeing = tuple(world for world in self.worlds if self._agrees(world, number, state))
        assert agreeing, self._difference(number, state)
        if self.unsettled:  # one that disagrees now may turn out to be true
            return agreeing
        self.worlds = agreeing
        if number is not None and number not in self.keys and len({world.active for world in agreeing}) == 1:
            self.keys[number] = agreeing[0].active or ""  # made by the first write, which does not say its number
        return agreeing

    def _agrees(self, world: World, number: int | None, state: State) -> bool:
        return self.is_active(world, number) and world.state() == state

    def is_active(self, world: World, number: int | None) -> bool:
        """Whether the generation of this number may be the one that is active in a world."""
        if number is None or world.active is None:
            return number is None and world.active is None
        return self.keys.get(number, world.active) == world.active and number_of(self.keys, world.active) in (None, number)

    def _steps(self, world: World, key: str, operation: dict[str, Any]) -> Iterator[World]:
        """The worlds that an operation goes through; the last is the one that it promises."""
        yield world
        match operation["op"]:
            case "upsert" | "delete" | "delete_where" | "update_metadata":
                if world.active is None and operation["op"] == "upsert":
                    world = world.beginning(key, {}).finished(key).promoted(key)
                    yield world
                if world.active is not None:
                    yield world.written(_write(world, operation))
            case "build":
                world = world.finished(key)
                yield world
                if operation["promote"]:
                    yield world.promoted(key)
            case "promote":
                yield world.promoted(self.keys[operation["generation"]])
            case "rollback":
                target = None if world.active is None else world.generation(world.active).previous
                if target is not None:
                    yield world.promoted(target)

    def _difference(self, number: int | None, state: State) -> str:
        lines = [
            f"no possible world holds what is there: generation {number} ({self.keys.get(number or 0)}), {len(state)} documents"
        ]
        for world in self.worlds:
            wanted = world.state()
            wrong = [
                f"{one}: there {state.get(one)}, wanted {wanted.get(one)}"
                for one in sorted(state.keys() | wanted.keys())
                if state.get(one) != wanted.get(one)
            ]
            known = number_of(self.keys, world.active)
            lines.append(
                f"  active {world.active} (generation {known}), {len(world.writes)} writes, {len(wrong)} differ: {wrong[:4]}"
            )
        return "\n".join(lines)


def number_of(keys: Mapping[int, str], wanted: str | None) -> int | None:
    return next((number for number, key in keys.items() if key == wanted), None)


def word_of(text: str) -> str:
    """The word that only this version of a document has: its text's last."""
    return text.rsplit(" ", 1)[-1]


def _base(world: World, operation: Mapping[str, Any]) -> State:
    """What a build that begins now is made of."""
    if operation["documents"] is None:
        return world.state()
    base = {one["id"]: stored(one) for one in operation["documents"]}
    return world.with_kept_writes(base) if operation["keep_writes"] else base


def _keeps(operation: Mapping[str, Any]) -> bool:
    """Whether what was written directly is known as such in what is built."""
    return operation["documents"] is None or bool(operation["keep_writes"])


def _write(world: World, operation: Mapping[str, Any]) -> Write:
    state = world.state()
    match operation["op"]:
        case "upsert":
            return tuple((one["id"], ("put", stored(one))) for one in operation["documents"])
        case "delete":
            return tuple((one, ("delete", None)) for one in operation["ids"])
        case "delete_where":
            return tuple((one, ("delete", None)) for one in state if json.loads(state[one][1]).get("group") == operation["group"])
        case _:
            return tuple((one, ("patch", as_json(operation["metadata"]))) for one in operation["ids"] if one in state)


def _apply(state: State, document_id: str, outcome: Outcome) -> None:
    kind, value = outcome
    if kind == "put":
        assert isinstance(value, tuple)
        state[document_id] = value
    elif kind == "delete":
        state.pop(document_id, None)
    elif document_id in state:
        assert isinstance(value, str)
        text, metadata = state[document_id]
        state[document_id] = text, as_json({**json.loads(metadata), **json.loads(value)})


def _distinct(worlds: Iterable[World]) -> tuple[World, ...]:
    return tuple(dict.fromkeys(worlds))
