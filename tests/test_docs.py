"""The documentation is true: its Python runs, its commands run, its links lead somewhere.

In a file's fenced blocks, from top to bottom, in one folder and one namespace of that file's own:

- ```` ```python ```` runs; in the form of a session (`>>> `) its answers are compared too.
- ```` ```console ````, ```` ```bash ```` and ```` ```sh ````: every line that calls `outcrop` (after a `$ `, if there are prompts)
  runs and must succeed; other lines are for the reader.
- `no-run` after the language: not run, but Python must still compile.

A block inside an HTML comment runs like any other, so a page can prepare what its examples need out of the reader's sight.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import outcrop

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md") for path in ROOT.glob(pattern))
EXAMPLES = [page for page in PAGES if page.name == "README.md" or "docs" in page.relative_to(ROOT).parts]
SHELLS = {"console", "bash", "sh"}

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$")
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?: +\"[^\"]*\")?\)|^\[[^\]]+\]: *(\S+)", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: `line` is the 1-based line of its first line of text."""

    line: int
    words: tuple[str, ...]
    text: str

    @property
    def language(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def runs(self) -> bool:
        return "no-run" not in self.words


def split(text: str) -> tuple[list[Block], str]:
    """A page's fenced blocks, and the page with them blanked out (its line numbers unchanged)."""
    blocks: list[Block] = []
    prose: list[str] = []
    opened: re.Match[str] | None = None
    inside: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None:
            opened = fence
            prose.append("" if fence else line)
            inside = []
        elif fence and fence["fence"].startswith(opened["fence"]) and not fence["info"].strip():
            blocks.append(Block(number - len(inside), tuple(opened["info"].split()), "\n".join(inside) + "\n"))
            prose.append("")
            opened = None
        else:
            inside.append(line.removeprefix(opened["indent"]))
            prose.append("")
    assert opened is None, f"a block that opens with {opened and opened[0]!r} is never closed"
    return blocks, "\n".join(prose)


def commands(block: Block) -> list[list[str]]:
    """The arguments of each `outcrop` command in a shell block."""
    lines = re.sub(r"\\\n", " ", block.text).splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    calls = (shlex.split(line, comments=True) for line in lines if line.split()[:1] == ["outcrop"])
    return [call[1:] for call in calls]


def run_command(arguments: list[str], where: str) -> None:
    piped = {"|", ">", "<", "&&", ";", "&"} & set(arguments)
    assert not piped, f"{where}: {sorted(piped)} needs a shell, which examples do not have; mark the block no-run"
    done = subprocess.run(
        [sys.executable, "-m", "outcrop", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, (
        f"{where}: outcrop {shlex.join(arguments)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    )


def run_python(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    if block.text.lstrip().startswith(">>> "):
        example = doctest.DocTestParser().get_doctest(block.text, namespace, page.name, str(page), block.line - 1)
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        failed, _ = runner.run(example, out=said.append, clear_globs=False)
        namespace |= example.globs
        assert not failed, "".join(said)
        return
    code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
    if block.runs:
        exec(code, namespace)


def slug(heading: str) -> str:
    """The anchor that code hosts give a heading."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = page.read_text(encoding="utf-8")
    _, prose = split(text)
    found: set[str] = set(re.findall(r'<a (?:id|name)="([^"]+)"', prose))
    for line in prose.splitlines():
        if heading := HEADING.match(line):
            name, count = slug(heading[1]), 0
            while (numbered := f"{name}-{count}" if count else name) in found:
                count += 1
            found.add(numbered)
    return found


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.slow
@pytest.mark.parametrize("page", EXAMPLES, ids=name_of)
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, _ = split(page.read_text(encoding="utf-8"))
    for variable in [name for name in os.environ if name.startswith("OUTCROP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PYTHONUTF8", "1")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    try:
        for block in blocks:
            where = f"{name_of(page)}:{block.line}"
            if block.language == "python":
                run_python(block, page, namespace)
            elif block.language in SHELLS and block.runs:
                for arguments in commands(block):
                    run_command(arguments, where)
    finally:
        for value in namespace.values():
            if isinstance(value, outcrop.Database):  # a page need not close what a script would only end with
                value.close()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    _, prose = split(page.read_text(encoding="utf-8"))
    prose = re.sub(r"`[^`\n]+`", "", prose)
    broken = []
    for match in LINK.finditer(prose):
        target = match[1] or match[2]
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue  # an address elsewhere; the tests stay on this machine
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            broken.append(f"{target}: no such file")
        elif ROOT not in [file, *file.parents]:
            broken.append(f"{target}: leads out of the repository")
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            broken.append(f"{target}: no such heading; there are {sorted(anchors(file))}")
    assert not broken, f"{name_of(page)}:\n" + "\n".join(broken)


def test_the_front_page_shows_python_and_commands_that_run() -> None:
    blocks, _ = split((ROOT / "README.md").read_text(encoding="utf-8"))
    assert any(block.language == "python" and block.runs for block in blocks), "README.md has no Python example that runs"
    assert any(commands(block) for block in blocks if block.language in SHELLS and block.runs), "README.md has no command that runs"


SAMPLE = """# One `two`, [three](x.md)!

<!--
```python
hidden = 1
```
-->

```console
$ outcrop search papers "a b" \\
    --k 3   # three
outcrop is quoted here as an answer
$ make demo
```

~~~bash no-run
outcrop serve kb
~~~

# One two three
"""


def test_a_page_is_split_into_its_blocks() -> None:
    blocks, prose = split(SAMPLE)
    assert [(block.line, block.language, block.runs) for block in blocks] == [
        (5, "python", True),
        (10, "console", True),
        (17, "bash", False),
    ]
    assert commands(blocks[1]) == [["search", "papers", "a b", "--k", "3"]]
    assert "outcrop" not in prose
    assert len(prose.splitlines()) == len(SAMPLE.splitlines())


def test_headings_have_the_anchors_that_code_hosts_give_them(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(SAMPLE, encoding="utf-8")
    assert anchors(tmp_path / "page.md") == {"one-two-three", "one-two-three-1"}


def test_a_session_with_a_wrong_answer_is_noticed() -> None:
    namespace: dict[str, Any] = {}
    run_python(Block(1, ("python",), ">>> a = 2\n>>> a\n2\n"), ROOT / "made_up.md", namespace)
    assert namespace["a"] == 2
    with pytest.raises(AssertionError, match="Expected"):
        run_python(Block(1, ("python",), ">>> a\n3\n"), ROOT / "made_up.md", namespace)


def test_an_example_that_is_not_run_must_still_be_python() -> None:
    run_python(Block(1, ("python", "no-run"), "raise SystemExit\n"), ROOT / "made_up.md", {})
    with pytest.raises(SyntaxError):
        run_python(Block(1, ("python", "no-run"), "raise raise\n"), ROOT / "made_up.md", {})


def test_an_example_that_fails_names_its_line() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_python(Block(7, ("python",), "a = 1\na / 0\n"), ROOT / "made_up.md", {})
    assert caught.traceback[-1].lineno == 7  # 0-based: the page's eighth line
