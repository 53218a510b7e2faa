"""The suite itself: it covers the protocol, cannot be changed from outside, and takes declarations at their word."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from outcrop.engines import protocol
from outcrop.engines.builtin import BuiltinEngine, BuiltinIndex
from outcrop.errors import MissingExtra
from outcrop.testing.conformance import (
    EngineSuite,
    Shape,
    Suite,
    Writing,
    differences,
    never,
    not_implemented,
    not_possible_upstream,
)
from outcrop.testing.conformance.suite import names_of_tests
from tests.engines import broken_searching, broken_writing

ROOT = Path(__file__).resolve().parents[2]

#: Sentences of the protocol that no test of an engine can show to be kept or broken.
NOT_TESTED = {
    "Of `fields`, a filter by one of `fields_without_column` may read more than it selects.": "it may, and an engine may have none",
    "`serving`, of an index in two engines, says how the first one does.": "an engine by itself has none",
    "Called once its legs are done by every search, with no slots by one that found nothing.": "it is about who calls it",
    "`choice` says how the vector index was chosen, if that is known.": "an engine may have but one kind",
    "An engine that measures the recall of what it builds may do so with `queries`.": "it may, and need not",
    "Costs microseconds when nothing was written since the last call.": "timing belongs to the benchmarks",
}
SUITES = [one for module in (broken_searching, broken_writing) for one in vars(module).values() if hasattr(one, "must_fail")]
#: A suite of a broken engine, and a test that must fail there.
BROKEN = [(suite.__name__, test) for suite in SUITES for test in suite.must_fail]
DECLARING = {
    "TestDeclares": ("test_what_the_terms_contribute_adds_up_to_the_score", "test_a_new_index_is_empty"),
    "TestDeclaresTooMuch": ("test_a_new_index_is_empty", "test_the_nearest_are_those_of_the_oracle"),
    "TestUnavailable": ("test_a_new_index_is_empty", "test_where_it_does_not_work_it_says_why_and_what_to_do"),
}


def sentences(text: str) -> list[str]:
    return [one for one in re.split(r"(?<=[.?!])\s+", " ".join(text.split())) if one]


def promises() -> list[str]:
    """Every sentence of the protocols' docstrings, and of the values that pass through them."""
    described = [getattr(protocol, name) for name in ("Ranking", "Availability", "IndexedChunk", "IndexStats")]
    for one in (protocol.Engine, protocol.GenerationIndex, protocol.IndexSnapshot):
        described += [one, *(member for name, member in vars(one).items() if callable(member) and not name.startswith("_"))]
    return [sentence for one in described for sentence in sentences(one.__doc__ or "")]


def test_every_sentence_of_the_protocol_has_a_test() -> None:
    tested = {
        sentence
        for name in names_of_tests(EngineSuite)
        if "[" not in name
        for sentence in sentences(getattr(EngineSuite, name).__doc__ or "")
    }
    found = promises()
    assert len(found) > 40, "too few sentences were read for this to mean anything"
    assert [one for one in found if one not in tested and one not in NOT_TESTED] == []
    assert not NOT_TESTED.keys() & tested
    assert NOT_TESTED.keys() <= set(found)


def test_every_test_says_which_sentence_it_is_about() -> None:
    known = {*promises(), "What an engine can do."}
    for name in names_of_tests(EngineSuite):
        if "[" not in name:
            said = sentences(getattr(EngineSuite, name).__doc__ or "")
            assert said, name
            assert set(said) <= known, name


def test_a_test_of_the_suite_cannot_be_redefined() -> None:
    with pytest.raises(TypeError, match="redefines test_a_new_index_is_empty"):
        type("TestMine", (EngineSuite,), {"engine": BuiltinEngine(), "test_a_new_index_is_empty": print})
    with pytest.raises(TypeError, match="redefines generations"):
        type("TestMine", (Writing,), {"generations": None})
    with pytest.raises(TypeError, match="redefines pytest_generate_tests"):
        type("TestMine", (Writing,), {"pytest_generate_tests": None})
    mine = type("TestMine", (Writing,), {"engine": BuiltinEngine(), "test_of_my_own": print})
    with pytest.raises(TypeError, match="redefines test_of_my_own"):
        type("TestMore", (mine,), {"test_of_my_own": None})


@pytest.mark.parametrize("name", ["test_that_is_not_there", "test_the_nearest_are_those_of_the_oracle[hamming]"])
def test_a_test_that_does_not_exist_cannot_be_declared(name: str) -> None:
    with pytest.raises(TypeError, match="does not have"):
        type("TestMine", (EngineSuite,), {"cannot": (never("no reason", name),)})


def test_a_test_is_declared_once() -> None:
    every, one = "test_the_nearest_are_those_of_the_oracle", "test_the_nearest_are_those_of_the_oracle[l2]"
    for twice in ((every, one), (one, one), (every, every)):
        with pytest.raises(TypeError, match="more than once"):
            type("TestMine", (EngineSuite,), {"cannot": tuple(never("it is so", name) for name in twice)})


def test_a_declaration_needs_a_reason_and_says_which_kind_of_no_it_is() -> None:
    for declare in (never, not_implemented, not_possible_upstream):
        with pytest.raises(ValueError, match="reason"):
            declare(" ", "test_a_new_index_is_empty")
        with pytest.raises(ValueError, match="tests"):
            declare("it is so")
    said = {str(declare("it is so", "test_x")).partition(":")[0] for declare in (never, not_implemented, not_possible_upstream)}
    assert said == {"never", "not implemented by us", "not possible upstream yet"}


def test_the_names_of_the_tests_are_those_that_pytest_gives_them() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "tests/engines/test_builtin_conformance.py"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    collected = {line.partition("::TestBuiltin::")[2] for line in listed.splitlines() if "::TestBuiltin::" in line}
    assert len(collected) > 90
    assert collected <= set(names_of_tests(EngineSuite))
    assert {name.partition("[")[0] for name in names_of_tests(EngineSuite)} == {name.partition("[")[0] for name in collected}


def test_each_part_can_be_run_alone() -> None:
    assert issubclass(EngineSuite, Shape)
    parts = EngineSuite.__bases__
    assert sum(len(names_of_tests(part)) for part in parts) == len(names_of_tests(EngineSuite))
    assert all(issubclass(part, Suite) for part in parts)


class Drifting(BuiltinEngine):
    def open(self, recipe: object, folder: Path) -> BuiltinIndex: ...

    def verify(self, *, recipe: object, directory: Path) -> None: ...

    drop = None


class DriftingIndex:
    def absorb(
        self, publishing: object, *, keep_seconds: float = 1.0, floor: int | None = None, timeout_seconds: float = 0.0
    ) -> int: ...


def test_a_method_that_drifted_from_the_protocol_is_named() -> None:
    assert differences(BuiltinEngine(), protocol.Engine) == []
    found = differences(Drifting(), protocol.Engine)
    assert [one.partition("(")[0] for one in found] == ["Drifting.open", "Drifting.verify", "Drifting has no method drop"]
    assert "folder [positional or keyword]" in found[0]
    assert "recipe [keyword-only]" in found[1]
    assert "DriftingIndex.absorb" in "\n".join(differences(DriftingIndex(), protocol.GenerationIndex))
    assert "keep_seconds [keyword-only] = 1.0" in "\n".join(differences(DriftingIndex(), protocol.GenerationIndex))


def test_the_other_test_tools_do_without_pytest() -> None:
    program = (
        "import sys; sys.modules['pytest'] = None\n"
        "import outcrop.testing, outcrop.testing.samples\n"
        "from outcrop.errors import MissingExtra\n"
        "try:\n    import outcrop.testing.conformance\n"
        "except MissingExtra as error:\n    print(error, '|', error.remedy)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert "not installed" in said
    assert said.endswith("| pip install pytest\n")
    assert issubclass(MissingExtra, ImportError)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """What became of the tests of these suites: (suite, test) to what pytest says of it, "" if it passed."""
    report = tmp_path_factory.mktemp("broken") / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "-o", "junit_family=xunit1"]
    ids = [f"{suite.__module__.replace('.', '/')}.py::{suite.__name__}::{test}" for suite in SUITES for test in suite.must_fail]
    ids += [f"tests/engines/declaring_suites.py::{suite}::{test}" for suite, tests in DECLARING.items() for test in tests]
    done = subprocess.run([*command, *ids], check=False, capture_output=True, text=True, cwd=ROOT)
    assert report.exists(), done.stdout + done.stderr
    return {
        (case.attrib["classname"].rpartition(".")[2], case.attrib["name"]): " ".join(
            f"{found.tag}: {found.attrib.get('message', '')}" for found in case if found.tag in ("failure", "error", "skipped")
        )
        for case in ET.parse(report).iter("testcase")
    }


@pytest.mark.slow
def test_a_broken_engine_fails(outcomes: dict[tuple[str, str], str]) -> None:
    assert len(BROKEN) > 90
    assert {broken: outcomes[broken] for broken in BROKEN if not outcomes[broken].startswith("failure")} == {}


def test_there_is_no_test_that_cannot_fail() -> None:
    failed = {test.partition("[")[0] for _, test in BROKEN}
    assert {name for name in names_of_tests(EngineSuite) if "[" not in name} == failed


@pytest.mark.slow
def test_what_is_declared_is_expected_and_the_rest_must_pass(outcomes: dict[tuple[str, str], str]) -> None:
    expected = outcomes["TestDeclares", "test_what_the_terms_contribute_adds_up_to_the_score"]
    assert expected.startswith("skipped: never: its library keeps no term statistics")
    assert outcomes["TestDeclares", "test_a_new_index_is_empty"] == ""


@pytest.mark.slow
def test_a_declaration_that_is_not_true_any_more_fails_and_says_that_it_must_go(outcomes: dict[tuple[str, str], str]) -> None:
    for test in ("test_a_new_index_is_empty", "test_the_nearest_are_those_of_the_oracle[l2]"):
        assert outcomes["TestDeclaresTooMuch", test].startswith("failure: [XPASS(strict)] never: it is said to be slow.")
        assert "delete it from `cannot`" in outcomes["TestDeclaresTooMuch", test]
    assert outcomes["TestDeclaresTooMuch", "test_the_nearest_are_those_of_the_oracle[dot]"] == ""


@pytest.mark.slow
def test_an_engine_that_does_not_work_here_is_skipped_in_its_own_words(outcomes: dict[tuple[str, str], str]) -> None:
    assert outcomes["TestUnavailable", "test_a_new_index_is_empty"] == "skipped: builtin: it is not installed; install it"
    assert outcomes["TestUnavailable", "test_where_it_does_not_work_it_says_why_and_what_to_do"] == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("TestMine.test_a_new_index_is_empty = None", "redefines test_a_new_index_is_empty"),
        (
            "class Mixed:\n    test_a_new_index_is_empty = None\nclass TestMixed(Mixed, TestMine): ...",
            "redefines test_a_new_index_is_empty",
        ),
        ("import pytest\nTestMine = pytest.mark.skip(TestMine)", "is marked skip; declare it in `cannot`"),
        ("import pytest\npytestmark = pytest.mark.xfail", "is marked xfail; declare it in `cannot`"),
    ],
)
def test_a_suite_that_was_changed_after_it_was_made_is_not_collected(tmp_path: Path, change: str, said: str) -> None:
    file = tmp_path / "test_mine.py"
    file.write_text(
        "from outcrop.engines.builtin import BuiltinEngine\nfrom outcrop.testing.conformance import Writing\n"
        f"class TestMine(Writing):\n    engine = BuiltinEngine()\n{change}\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
