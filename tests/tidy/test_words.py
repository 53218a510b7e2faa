"""What must not be in any file of the repository, and what every public name must have."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import outcrop

ROOT = Path(__file__).resolve().parents[2]
THIS_FILE = "tests/tidy/test_words.py"
BINARY_OR_FOREIGN = ("LICENSE",)

#: name -> pattern. Paths of one machine, package registries, pinned addresses, work left lying about.
FORBIDDEN = {
    "a path of one machine": r"(?<![\w.~}/-])/(?:work|root|tmp|opt|home)/\w",
    "a registry's host": r"\b(?:pypi\.org|pythonhosted\.org|registry\.npmjs\.org|deb\.debian\.org)\b",
    "a dependency pinned to an address": r"(?m)^[\w.\[\]-]+ *@ *(?:https?|file|git\+\w+)://|--(?:extra-)?index-url|--find-links",
    "work left for later": r"\b(?:TODO|FIXME|XXX|HACK)\b",
}

VAGUE_FILES = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py", "manager.py", "base.py"}
VAGUE_CLASS = re.compile(r"(?:Manager|Service|Helper|Util|Utils|Handler|Processor)$")


def repository_files() -> list[str]:
    """The tracked files, and the new ones that git does not ignore."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: what belongs to the repository is not known")
    return sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file())


def texts() -> Iterator[tuple[str, str]]:
    for name in repository_files():
        if name == THIS_FILE or name in BINARY_OR_FOREIGN:
            continue
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture, an archive, a test's damaged file


def modules() -> list[ModuleType]:
    found = pkgutil.walk_packages(outcrop.__path__, "outcrop.")
    return [outcrop, *(importlib.import_module(item.name) for item in found if not item.name.endswith("__main__"))]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    read = list(texts())
    assert len(read) > 20, "too few files were read for this to mean anything"
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}"
        for name, text in read
        for match in pattern.finditer(text)
    ]
    assert not found, f"{what}:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("what", "offending", "innocent"),
    [
        ("a path of one machine", "open('/tmp/x')", "https://example.org/home/x and ./work/x and ~/tmp/x"),
        ("a registry's host", "see pypi.org", "see python.org"),
        ("a dependency pinned to an address", "numpy @ https://example.org/n.whl", "numpy==2.0"),
        ("work left for later", "# TODO later", "a mastodon"),
    ],
)
def test_the_patterns_themselves(what: str, offending: str, innocent: str) -> None:
    assert re.search(FORBIDDEN[what], offending)
    assert not re.search(FORBIDDEN[what], innocent)


def test_constraints_are_plain_pins_of_known_names() -> None:
    lines = [
        line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
    ]
    assert len(lines) > 20
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line)] == []
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(set(names))


def test_no_file_and_no_class_has_a_name_that_says_nothing() -> None:
    sources = [name for name in repository_files() if name.startswith("src/") and name.endswith(".py")]
    assert len(sources) > 10
    vague = [name for name in sources if Path(name).name in VAGUE_FILES]
    for name in sources:
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        vague += [
            f"{name}: {node.name}" for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and VAGUE_CLASS.search(node.name)
        ]
    assert not vague


def test_every_public_name_exists_and_is_documented() -> None:
    undocumented, checked = [], 0
    for module in modules():
        for name in getattr(module, "__all__", ()):
            item = getattr(module, name)  # an AttributeError here is a name that __all__ promises and nobody made
            if not (inspect.isclass(item) or inspect.isroutine(item)):
                continue
            checked += 1
            own = vars(item).get("__doc__") if inspect.isclass(item) else item.__doc__
            if not own or not own.strip():
                undocumented.append(f"{module.__name__}.{name}")
    assert not undocumented
    assert checked > 10, "no package exports anything: outcrop.__all__ is missing"


def test_the_package_exports_what_its_front_page_says() -> None:
    assert {"open", "Config", "Document"} <= set(outcrop.__all__)
