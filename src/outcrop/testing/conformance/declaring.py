"""What an engine cannot do: which tests, why, and whether that is for ever."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Cannot(msgspec.Struct, frozen=True):
    """Tests that must fail, and why. Made by `not_implemented`, `not_possible_upstream` or `never`.

    A test is named by its function, `test_some_sentence`, which means it with every parameter, or `test_some_sentence[l2]`.
    """

    kind: str
    reason: str
    tests: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.reason.strip() or not self.tests:
            raise ValueError(f"{self.kind}: a declaration gives a reason and the tests that it is about; found {self!r}")

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}. A test that passes is no longer to be declared: delete it from `cannot`"


def not_implemented(reason: str, *tests: str) -> Cannot:
    """We could, and have not."""
    return Cannot("not implemented by us", reason, tests)


def not_possible_upstream(reason: str, *tests: str) -> Cannot:
    """The engine's library cannot do it yet; another release of it may."""
    return Cannot("not possible upstream yet", reason, tests)


def never(reason: str, *tests: str) -> Cannot:
    """It is against what the engine is."""
    return Cannot("never", reason, tests)


def declared(cannot: Iterable[Cannot], *names: str) -> Cannot | None:
    """The declaration about a test with one of these names."""
    return next((one for one in cannot if not set(names).isdisjoint(one.tests)), None)
