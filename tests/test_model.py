"""The values themselves."""

from __future__ import annotations

import numpy as np

from outcrop import Document


def test_documents_are_equal_or_unequal_by_their_content() -> None:
    one, same = (Document("a", "x", metadata={"n": 1}, vector=np.ones(2)) for _ in range(2))
    assert one == same
    assert not one != same  # noqa: SIM202 - the operator is what is tested
    for other in (Document("a", "y"), Document("a", "x", metadata={"n": 1}), Document("a", "x", metadata={"n": 1}, vector=[1, 2])):
        assert one != other
        assert not one == other  # noqa: SIM201 - as above
    assert one != "a"
