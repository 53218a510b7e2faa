"""The budgets of the house rules, measured. Above a soft limit a thing needs a reason in EXCEPTIONS; above a hard limit none helps.

The list only shrinks: an entry that is back within its budget must be deleted, and a test says so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "tests", "benchmarks")

FILE_LINES, FILE_LINES_HARD = 400, 600
BODY_LINES, BODY_LINES_HARD = 40, 70
PROTOCOL_METHODS = 8
POSITIONAL_ARGUMENTS, POSITIONAL_ARGUMENTS_HARD = 4, 8

#: What is over a soft limit, and why splitting it would be worse. "file", "file::Class.function body" or "... arguments".
EXCEPTIONS = {
    "src/outcrop/collection.py": "one class is the public interface, and most of it are the docstrings that say what it promises",
    "src/outcrop/config.py": "the keys, their rules and their defaults are one table, and belong beside the code that reads them",
}


def python_files() -> list[Path]:
    return [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py")) if "__pycache__" not in file.parts]


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, bool]]:
    """(qualified name, function, whether it is a method) for every function, nested ones too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", node, isinstance(tree, ast.ClassDef)
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        else:
            yield from functions(node, prefix)


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return statements[-1].end_lineno - statements[0].lineno + 1 if statements else 0


def positional_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef, method: bool) -> int:
    static = any(isinstance(item, ast.Name) and item.id == "staticmethod" for item in function.decorator_list)
    return len(function.args.posonlyargs) + len(function.args.args) - (method and not static)


def is_command(file: Path) -> bool:
    """Whether the file declares commands: typer reads their options from the arguments, which no Python caller ever passes."""
    return "surfaces/cli" in file.as_posix()


def measured(file: Path, text: str) -> Iterator[tuple[str, int, int, int]]:
    """(what, size, soft limit, hard limit) of everything in a file that has a budget."""
    name = name_of(file)
    yield name, len(text.splitlines()), FILE_LINES, FILE_LINES_HARD
    testing = name.startswith("tests/")
    for qualified, function, method in functions(ast.parse(text)):
        yield f"{name}::{qualified} body", body_lines(function), BODY_LINES, BODY_LINES_HARD
        if not testing and not is_command(file):  # a test's arguments are fixtures
            size = positional_arguments(function, method)
            yield f"{name}::{qualified} arguments", size, POSITIONAL_ARGUMENTS, POSITIONAL_ARGUMENTS_HARD
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).split("[")[0].endswith("Protocol") for base in node.bases):
            methods = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
            yield f"{name}::{node.name} protocol", len(methods), PROTOCOL_METHODS, PROTOCOL_METHODS


def all_measured() -> list[tuple[str, int, int, int]]:
    return [item for file in python_files() for item in measured(file, file.read_text(encoding="utf-8"))]


def test_everything_keeps_its_budget() -> None:
    found = all_measured()
    assert len(found) > 100, "the measure found too little to be right"
    over = [
        f"{what}: {size}, limit {soft} (never over {hard})"
        for what, size, soft, hard in found
        if size > hard or (size > soft and what not in EXCEPTIONS)
    ]
    assert not over, "over budget; split it, or give the reason in tests/tidy/test_budgets.py:\n" + "\n".join(over)


def test_the_list_of_exceptions_only_shrinks() -> None:
    needed = {what for what, size, soft, _ in all_measured() if size > soft}
    settled = sorted(set(EXCEPTIONS) - needed)
    assert not settled, f"within budget again, or gone; delete from EXCEPTIONS: {settled}"


@pytest.mark.parametrize(
    ("source", "what", "size"),
    [
        ("def f():\n    '''Doc.\n\n    More.\n    '''\n    a = 1\n    return a\n", "f body", 2),
        ("class A:\n    def f(self, a, b, /, c, *, d): ...\n", "A.f arguments", 3),
        ("class A:\n    @staticmethod\n    def f(a, b): ...\n", "A.f arguments", 2),
        ("def f():\n    def g():\n        a = 1\n        b = 2\n        return a, b\n", "f.g body", 3),
        ("class A(Protocol[T]):\n    def f(self): ...\n    @property\n    def g(self): ...\n", "A protocol", 2),
    ],
)
def test_the_measures_themselves(source: str, what: str, size: int) -> None:
    sizes = {name.partition("::")[2]: found for name, found, _, _ in measured(ROOT / "src" / "made_up.py", source)}
    assert sizes[what] == size
