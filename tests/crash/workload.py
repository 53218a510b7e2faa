"""A random workload from a seed: which operation comes next, and carrying it out with a note before it and after it."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import outcrop
from outcrop import Collection, Config, Database, Document, Gate
from outcrop.errors import BuildFailed, CollectionExists, IllegalState, NotFound, OutcropError
from tests.crash.model import KEPT_GENERATIONS, Model, World, number_of

NAME = "rocks"
EMBEDDERS = ("hashing:16", "none", "given", "hashing:16")
DIMENSION = 16
_WORLDS_MAX = 64
OPERATIONS = ("upsert", "delete", "update_metadata", "build", "promote", "rollback", "optimize", "gc")
ROCKS = ("granite", "basalt", "gneiss", "marble", "slate", "schist", "chert", "dolomite")


class Setting(msgspec.Struct, frozen=True):
    """What a seed decides before anything happens."""

    seed: int
    symlinks: str
    length: int = 18
    without: tuple[str, ...] = ()  # operations that are left out
    mode: str = "test"  # or "production": LanceDB is written too

    @property
    def embedder(self) -> str:
        return EMBEDDERS[self.seed % len(EMBEDDERS)]

    def __str__(self) -> str:
        return f"seed {self.seed}, symlinks {self.symlinks}{'' if self.mode == 'test' else f', mode {self.mode}'}"

    def config(self) -> Config:
        small: dict[str, Any] = {
            "tail_chunks_max": 12,
            "batch_documents": 5,
            "kept_generations": KEPT_GENERATIONS,
            "kept_days": 0.0,
        }
        if self.mode == "test":
            return Config.test(symlinks=self.symlinks, **small)  # type: ignore[arg-type]
        patient: dict[str, Any] = {"background": False, "breaker_open_seconds": 0.0, "lancedb_apply_seconds": 20.0}
        return Config.production(symlinks=self.symlinks, **small, **patient)  # type: ignore[arg-type]


def missing() -> list[str]:
    """The operations that a collection does not have yet."""
    return [name for name in OPERATIONS if not hasattr(Collection, name)]


class Driver:
    """Carries out operations on one collection, and tells the model and whoever takes notes."""

    def __init__(
        self, setting: Setting, folder: Path, model: Model, note: Callable[[bytes], None] = lambda _: None, label: str = "o"
    ) -> None:
        self.setting = setting
        self.folder = folder
        self.model = model
        self.error: OutcropError | None = None  # the last operation's
        self._note = note
        self._label = label
        self._count = 0
        self.db: Database | None = None

    def open(self) -> Collection:
        """The collection, made if it is not there."""
        if self.db is None:
            self.db = outcrop.open(self.folder, config=self.setting.config())
        if NAME in self.db.collections():
            return self.db.collection(NAME)
        embedder = "none" if self.setting.embedder == "given" else self.setting.embedder
        try:
            return self.db.create_collection(NAME, embedder=embedder, chunker="tokens:40/8")
        except CollectionExists:
            return self.db.collection(NAME)

    def close(self) -> None:
        db, self.db = self.db, None
        if db is not None:
            db.close()

    @property
    def refused(self) -> bool:
        """Whether the last operation was answered with the reason why it makes no sense: then it changed nothing."""
        return isinstance(self.error, IllegalState | NotFound) and not isinstance(self.error, BuildFailed)

    def run(self, operation: dict[str, Any]) -> bool:
        """Carry out one operation; whether it was acknowledged. Errors that are not Outcrop's come out."""
        self._count += 1
        key = f"{self._label}{self._count}"
        self._tell({"begin": key, "operation": operation})
        self.error = None
        try:
            result = self._carry_out(operation)
        except OutcropError as error:
            self.error = error
            self._tell({"fail": key, "changed": not self.refused, "error": repr(error)})
            return False
        self._tell({"end": key, "result": result})
        return True

    def _tell(self, event: dict[str, Any]) -> None:
        self._note(json.dumps(event).encode())
        tell(self.model, event)

    def _carry_out(self, operation: dict[str, Any]) -> dict[str, Any]:
        collection = self.open()
        match operation["op"]:
            case "create":
                return {}
            case "reopen":
                self.close()
                self.open()
            case "upsert":
                return _counts(collection.upsert([self._document(one) for one in operation["documents"]]))
            case "delete":
                return _counts(collection.delete(operation["ids"]))
            case "delete_where":
                return _counts(collection.delete(where={"group": operation["group"]}))
            case "update_metadata":
                return _counts(collection.update_metadata(operation["ids"], operation["metadata"]))
            case "build":
                return self._build(collection, operation)
            case "promote":
                return {"generation": collection.promote(operation["generation"], gate=Gate(vanished_share_max=1.0)).number}
            case "rollback":
                return {"generation": collection.rollback().number}
            case "optimize":
                collection.optimize()
            case "gc":
                gone = {item.generation for item in collection.gc().removed}
                left = gone & {info.number for info in collection.generations()}
                assert not left, f"generations {left} were removed and are there"
        return {}

    def _build(self, collection: Collection, operation: dict[str, Any]) -> dict[str, Any]:
        waiting = list(operation["meanwhile"])

        def meanwhile(_: object) -> None:
            if waiting:
                one = waiting.pop(0)
                if operation["thread"]:
                    with ThreadPoolExecutor(1) as thread:
                        thread.submit(self.run, one).result()
                else:
                    self.run(one)

        documents = operation["documents"]
        source = None if documents is None else [self._document(one) for one in documents]
        info = collection.build(
            source,
            promote=operation["promote"],
            keep_writes=operation["keep_writes"],
            gate=Gate(vanished_share_max=1.0),
            progress=meanwhile,
            **operation["recipe"],
        )
        return {"generation": info.number}

    def _document(self, one: dict[str, Any]) -> Document:
        vector = vector_of(one["text"]) if self.setting.embedder == "given" else None
        return Document(one["id"], one["text"], metadata=one["metadata"], vector=vector)


def tell(model: Model, event: dict[str, Any]) -> None:
    """Tell the model an event as it was noted."""
    if "crash" in event:
        model.crash()
    elif "begin" in event:
        model.begin(event["begin"], event["operation"])
    elif "end" in event:
        model.end(event["end"], event["result"])
    else:
        model.fail(event["fail"], changed=event["changed"])


def vector_of(text: str) -> NDArray[np.float32]:
    """The vector given with a text."""
    drawn: NDArray[np.float32] = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(DIMENSION).astype(np.float32)
    return drawn / np.float32(np.linalg.norm(drawn))


def work(driver: Driver, after: Callable[[dict[str, Any], bool], None]) -> None:
    """Carry out a setting's workload from the beginning; after each operation tell whether it was acknowledged."""
    dice = Dice(driver.setting, f"work {driver.setting.seed}")
    operation: dict[str, Any] = {"op": "create"}
    begun = ["upsert", "optimize"] if driver.setting.seed % 2 == 0 else []  # a first generation that gets a part of its own
    for _ in range(driver.setting.length):
        after(operation, driver.run(operation))
        if begun and begun[0].removesuffix("_where") not in (*missing(), *driver.setting.without):
            operation = dice.forced(begun.pop(0), driver.model)
            continue
        if len(driver.model.worlds) > _WORLDS_MAX:  # one failure after another, each of which may have been a success
            break
        operation = dice.next(driver.model)
    driver.close()


class Dice:
    """Chooses what comes next. The same seed and the same world give the same operation."""

    def __init__(self, setting: Setting, seed: str) -> None:
        self._setting = setting
        self._rng = random.Random(seed)
        self._label = zlib.crc32(seed.encode())
        self._words = 0
        self._without = {*missing(), *setting.without}

    def next(self, model: Model) -> dict[str, Any]:
        """The next operation; of those that the collection has and that make sense in the model's first world."""
        world = model.worlds[0]
        weights = {"build": 3, "promote": 2, "rollback": 2, "reopen": 1, "optimize": 1, "gc": 2}
        weights |= {"upsert": 6, "delete": 2, "delete_where": 1, "update_metadata": 2}
        there = [number_of(model.keys, key) for key in world.waiting() if key not in model.collected]
        ready = [number for number in there if number is not None]
        if world.active is None:
            for name in ("delete", "delete_where", "update_metadata", "rollback", "optimize", "gc", "reopen"):
                del weights[name]
        if not ready:
            weights.pop("promote", None)
        if world.active is None or world.generation(world.active).previous is None:
            weights.pop("rollback", None)
        chosen = {name: weight for name, weight in weights.items() if name.removesuffix("_where") not in self._without}
        name = self._rng.choices(list(chosen), list(chosen.values()))[0]
        if name == "promote":
            return {"op": "promote", "generation": self._rng.choice(ready)}
        return self._build(world) if name == "build" else self._write(name, world)

    def forced(self, name: str, model: Model) -> dict[str, Any]:
        """An operation of this name."""
        return self._write(name, model.worlds[0])

    def write(self, model: Model) -> dict[str, Any]:
        """A plain write, which shows whatever was accepted before it."""
        world = model.worlds[0]
        return self._build(world) if "upsert" in self._without else self._write("upsert", world)

    def _write(self, name: str, world: World) -> dict[str, Any]:
        rng, there = self._rng, sorted(world.state())
        match name:
            case "upsert":
                old = rng.sample(there, min(len(there), rng.randrange(3)))
                new = [f"d{rng.randrange(40)}" for _ in range(rng.choice((1, 1, 2, 4)))]
                return {"op": "upsert", "documents": [self._version(one) for one in dict.fromkeys([*old, *new])]}
            case "delete":
                return {"op": "delete", "ids": [*rng.sample(there, min(len(there), rng.choice((1, 1, 3)))), "never-there"]}
            case "delete_where":
                return {"op": "delete_where", "group": rng.randrange(6)}
            case "update_metadata":
                key = rng.choice(("stamp", "colour"))
                ids = rng.sample(there, min(len(there), rng.choice((1, 2, 4))))
                return {"op": "update_metadata", "ids": ids, "metadata": {key: rng.randrange(1000)}}
        return {"op": name}

    def _build(self, world: World) -> dict[str, Any]:
        rng = self._rng
        own = world.active is not None and bool(world.state()) and rng.random() < 0.4
        ids = dict.fromkeys(f"d{rng.randrange(40)}" for _ in range(rng.randint(4, 14)))
        recipe = rng.choice(({}, {}, {"chunker": "tokens:20/4"}, {"analyzer": "simple"}))
        if self._setting.embedder == "hashing:16" and rng.random() < 0.3:
            recipe = recipe | {"embedder": rng.choice(("hashing:8", "hashing:16"))}
        writes = [
            name
            for name in ("upsert", "delete", "delete_where", "update_metadata")
            if name.removesuffix("_where") not in self._without
        ]
        possible = writes if world.active is not None else []
        return {
            "op": "build",
            "documents": None if own else [self._version(one) for one in ids],
            "promote": rng.random() < 0.6,
            "keep_writes": rng.random() < 0.3,
            "recipe": recipe,
            "thread": rng.random() < 0.5,
            "meanwhile": [self._write(rng.choice(possible), world) for _ in range(rng.randrange(4))] if possible else [],
        }

    def _version(self, document_id: str) -> dict[str, Any]:
        """A new version of a document: its last word is in no other."""
        rng = self._rng
        self._words += 1
        word = f"w{self._label:08x}x{self._words}"
        length = rng.choice((3, 8, 8, 60))
        text = " ".join(["granite", *(rng.choice(ROCKS) for _ in range(length)), word])
        return {"id": document_id, "text": text, "metadata": {"group": rng.randrange(6), "stamp": self._words}}


def _counts(result: Any) -> dict[str, Any]:
    return {name: getattr(result, name) for name in ("upserted", "deleted", "updated")}
