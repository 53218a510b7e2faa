"""Writes that follow from their number alone, so that whoever knows how many were made knows what must be there."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from outcrop.engines.builtin import BuiltinSnapshot
from tests.engines.living import DIMENSION, Item

QUERY = np.ones(DIMENSION, np.float32)
Model = Mapping[str, Item]


def step(number: int) -> tuple[list[Item], list[str]]:
    """What the write with this number puts and deletes, among 40 documents; each says which write it is from."""
    rng = random.Random(number)
    ids = rng.sample(range(40), rng.randint(1, 5))
    put, gone = ids[: (len(ids) + 1) // 2], ids[(len(ids) + 1) // 2 :]
    return [_item(f"d{n}", number, rng) for n in put], [f"d{n}" for n in gone]


def model_after(numbers: range) -> Model:
    model: dict[str, Item] = {}
    for number in numbers:
        items, gone = step(number)
        model = {key: item for key, item in model.items() if key not in gone} | {item.id: item for item in items}
    return model


def shown(snapshot: BuiltinSnapshot) -> tuple[set[tuple[str, object]], set[tuple[str, object]]]:
    """Id and number of what the lexical leg finds, and of what the vector leg finds."""
    legs = snapshot.lexical("granite", 1000, None).slots.tolist(), snapshot.nearest(QUERY, 1000, None).slots.tolist()
    found = [{(chunk.document_id, chunk.metadata["number"]) for chunk in snapshot.fetch(slots)} for slots in legs]
    return found[0], found[1]


def expected(model: Model) -> tuple[set[tuple[str, object]], set[tuple[str, object]]]:
    """The same of a model."""
    every = {(item.id, item.metadata["number"]) for item in model.values()}
    return every, every


def _item(document_id: str, number: int, rng: random.Random) -> Item:
    vector: NDArray[np.float32] = np.array([[rng.gauss(0, 1) for _ in range(DIMENSION)]], np.float32)
    return Item(document_id, [f"granite {document_id}"], {"number": number}, vector)
