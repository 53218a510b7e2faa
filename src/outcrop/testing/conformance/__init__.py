"""What an engine must do, as tests: the protocol's docstrings, sentence by sentence.

A test file of an engine is a few lines. What the engine cannot do is declared with a reason, and strictly: once such a test passes,
the suite fails until the declaration is gone. The tests themselves cannot be overridden, skipped or marked.

    from outcrop.testing.conformance import EngineSuite, never

    class TestMine(EngineSuite):
        engine = MyEngine()
        needs = ("mylibrary",)
        cannot = (never("its index knows no euclidean distance", "test_the_nearest_are_those_of_the_oracle[l2]"),)

`EngineSuite` is all of it; each of its parts can be run alone in the same way, while an engine is being written. A test's
docstring is the sentence of the protocol that it is about. Runs on pytest, which Outcrop does not install.
"""

try:
    import pytest
except ImportError as error:
    from outcrop.errors import MissingExtra

    raise MissingExtra(
        "outcrop.testing.conformance runs on pytest, which is not installed. Install it: pip install pytest",
        extra=None,
        remedy="pip install pytest",
    ) from error

_TESTS = ("shape", "writing", "reading", "lexical", "vectors", "filtering", "snapshots", "absorbing", "keeping")
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _TESTS))  # before they are imported

from outcrop.testing.conformance.absorbing import Absorbing  # noqa: E402
from outcrop.testing.conformance.declaring import Cannot, never, not_implemented, not_possible_upstream  # noqa: E402
from outcrop.testing.conformance.filtering import Filtering  # noqa: E402
from outcrop.testing.conformance.generation import Generation, Generations, Item, item  # noqa: E402
from outcrop.testing.conformance.keeping import Keeping  # noqa: E402
from outcrop.testing.conformance.lexical import Lexical  # noqa: E402
from outcrop.testing.conformance.reading import Reading  # noqa: E402
from outcrop.testing.conformance.shape import Shape  # noqa: E402
from outcrop.testing.conformance.signatures import differences  # noqa: E402
from outcrop.testing.conformance.snapshots import Snapshots  # noqa: E402
from outcrop.testing.conformance.suite import Suite  # noqa: E402
from outcrop.testing.conformance.vectors import Vectors  # noqa: E402
from outcrop.testing.conformance.writing import Writing  # noqa: E402

__all__ = [
    "Absorbing",
    "Cannot",
    "EngineSuite",
    "Filtering",
    "Generation",
    "Generations",
    "Item",
    "Keeping",
    "Lexical",
    "Reading",
    "Shape",
    "Snapshots",
    "Suite",
    "Vectors",
    "Writing",
    "differences",
    "item",
    "never",
    "not_implemented",
    "not_possible_upstream",
]


class EngineSuite(Shape, Writing, Reading, Lexical, Vectors, Filtering, Snapshots, Absorbing, Keeping):
    """Every test of an engine. A subclass says which engine, what it needs, and what it cannot do: see `Suite`."""
