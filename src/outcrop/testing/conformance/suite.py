"""What all parts of the suite share: which engine, what it cannot do, and that nobody changes the tests.

They are classes that an engine inherits because that is how pytest shares tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from inspect import getattr_static
from pathlib import Path
from typing import ClassVar

import pytest

from outcrop.engines.protocol import Engine
from outcrop.testing.conformance.declaring import Cannot, declared
from outcrop.testing.conformance.generation import Generations

_SET_BY_SUBCLASSES = frozenset({"engine", "needs", "cannot"})
_REFUSED_MARKS = ("skip", "skipif", "xfail")


class Suite:
    """A set of tests for an engine. Subclass it (its name must begin with `Test`) and say:

    - `engine`: the engine. It must survive `pickle`, as other processes get a copy;
    - `needs`: the modules without which it is unavailable. They are hidden to see what `availability` says then;
    - `cannot`: what it cannot do, see `Cannot`.

    The tests are skipped, with its own words, where the engine is not available. Raises `TypeError` when the class is made for a
    subclass that redefines a test or declares a test that does not exist.
    """

    engine: ClassVar[Engine]
    needs: ClassVar[tuple[str, ...]] = ()
    cannot: ClassVar[tuple[Cannot, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _refuse_redefinitions(cls)
        _refuse_unknown_tests(cls)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Refuse, at collection, what was changed after the class was made."""
        _refuse_redefinitions(type(self))
        name = metafunc.definition.originalname
        marks = sorted({mark.name for mark in metafunc.definition.iter_markers() if mark.name in _REFUSED_MARKS})
        if marks and _origin(type(self), name).__module__.startswith(f"{__package__}."):
            raise TypeError(f"{type(self).__name__}.{name} is marked {', '.join(marks)}; declare it in `cannot` instead")

    @pytest.fixture(autouse=True)
    def _declaration(self, request: pytest.FixtureRequest) -> None:
        """Expect a declared test to fail, strictly."""
        found = declared(self.cannot, request.node.name, request.node.originalname)
        if found is not None:
            request.applymarker(pytest.mark.xfail(strict=True, reason=str(found)))

    @pytest.fixture
    def generations(self, tmp_path: Path, _declaration: None) -> Iterator[Generations]:
        """Makes generations of the engine, and closes them. Skips where the engine is not available."""
        found = self.engine.availability()
        if not found.available:
            pytest.skip(f"{self.engine.name}: {found.reason}; {found.remedy}")
        made = Generations(self.engine, tmp_path)
        yield made
        made.close()


def names_of_tests(suite: type[Suite]) -> list[str]:
    """The tests of a suite: of one with parameters the name alone, and with each of them."""
    found = []
    for name in dir(suite):
        if name.startswith("test_"):
            found += [name, *(f"{name}[{value}]" for value in _parameters(getattr(suite, name)))]
    return found


def _parameters(test: object) -> list[str]:
    """The suite's tests have one parameter at most, and its values are text."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    return [str(value) for mark in marks for value in mark.args[1]]


def _origin(suite: type, name: str) -> type:
    """The suite that first had this attribute; the class itself where none has."""
    return next((base for base in reversed(suite.__mro__) if issubclass(base, Suite) and name in vars(base)), suite)


def _refuse_redefinitions(suite: type[Suite]) -> None:
    inherited = {name for base in suite.__mro__[1:] if issubclass(base, Suite) for name in vars(base) if not name.startswith("__")}
    redefined = sorted(
        name for name in inherited - _SET_BY_SUBCLASSES if getattr_static(suite, name) is not vars(_origin(suite, name))[name]
    )
    if redefined:
        raise TypeError(
            f"{suite.__name__} redefines {', '.join(redefined)}. A test of the suite cannot be changed; what an engine cannot do"
            " is declared in `cannot`, with a reason"
        )


def _refuse_unknown_tests(suite: type[Suite]) -> None:
    listed = Counter(name for one in suite.cannot for name in one.tests)
    unknown = sorted(listed.keys() - set(names_of_tests(suite)))
    if unknown:
        raise TypeError(f"{suite.__name__} declares tests that it does not have: {', '.join(unknown)}")
    twice = sorted(name for name in listed if listed[name] > 1 or ("[" in name and name.partition("[")[0] in listed))
    if twice:
        raise TypeError(f"{suite.__name__} declares more than once: {', '.join(twice)}")
