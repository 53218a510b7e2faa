"""What the demo searches: this project's own pages where there is a checkout, and the reference that its docstrings are."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import outcrop
from outcrop import Document, errors, evaluation

_PAGES = ("README.md", "ARCHITECTURE.md", "docs/**/*.md")


def documents() -> list[Document]:
    """The project's documentation: pages, if this is a checkout, and the reference of the public API, which is always here."""
    return [*_pages(Path(outcrop.__file__).parents[2]), *_reference()]


def _pages(root: Path) -> Iterator[Document]:
    if not (root / "src" / "outcrop").is_dir() or not (root / "ARCHITECTURE.md").is_file():
        return
    for file in (file for pattern in _PAGES for file in sorted(root.glob(pattern))):
        text = file.read_text(encoding="utf-8")
        name = file.relative_to(root).as_posix()
        title = next((line.lstrip("# ") for line in text.splitlines() if line.startswith("# ")), name)
        yield Document(id=name, text=text, title=title, source=name, metadata={"kind": "page", "format": "markdown"})


def _reference() -> Iterator[Document]:
    """A document for each public class and function: its docstrings under Markdown headings."""
    for module in (outcrop, evaluation, errors):
        names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
        for name in names:
            item = getattr(module, name)
            if not (inspect.isclass(item) or inspect.isfunction(item)) or not item.__module__.startswith("outcrop"):
                continue
            full_name = f"{module.__name__}.{name}"
            if module is not errors and inspect.isclass(item) and issubclass(item, errors.OutcropError):
                continue  # it comes with the others
            source = f"{item.__module__.replace('.', '/')}.py"
            text = "\n\n".join([f"# {full_name}", *_sections(item, name)])
            yield Document(
                id=full_name, text=text, title=full_name, source=source, metadata={"kind": "reference", "format": "markdown"}
            )


def _sections(item: type | object, name: str) -> Iterator[str]:
    described = inspect.getdoc(item)
    if described is not None:
        yield described
    if not inspect.isclass(item):
        return
    for member_name, member in vars(item).items():
        written = inspect.isroutine(member) or isinstance(member, property | classmethod)
        described = inspect.getdoc(member) if written and not member_name.startswith("_") else None
        if described is not None:
            yield f"## {name}.{member_name}\n\n{described}"
