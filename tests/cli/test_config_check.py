"""`outcrop config check`: a file is looked at before it is put in its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

Cli = Callable[..., Result]


def _given(tmp_path: Path, text: str, current: str = "") -> Path:
    (tmp_path / "kb").mkdir()
    (tmp_path / "kb" / "outcrop.toml").write_text(current, encoding="utf-8")
    (tmp_path / "new.toml").write_text(text, encoding="utf-8")
    return tmp_path / "new.toml"


def test_what_would_change_and_what_would_wait_is_told(cli: Cli, tmp_path: Path) -> None:
    new = _given(tmp_path, "candidates = 60\nmode = 'production'\n[server]\nk_max = 20\n", "candidates = 50\n")
    command = ("config", "check", str(new), "--db", str(tmp_path / "kb"))

    found = json.loads(cli(*command, "--json").stdout)
    assert [(one["key"], one["before"], one["after"]) for one in found["changed"]] == [
        ("candidates", 50, 60),
        ("server.k_max", 1000, 20),
    ]
    assert [one["key"] for one in found["needs_restart"]] == ["mode", "use_lancedb"]
    shown = cli(*command).stdout
    assert "takes it" in shown
    assert "keeps the old one" in shown
    assert (tmp_path / "kb" / "outcrop.toml").read_text() == "candidates = 50\n"


def test_a_file_that_cannot_be_used_is_an_error_that_names_the_line(cli: Cli, tmp_path: Path) -> None:
    new = _given(tmp_path, "candidates = 60\nfusion = 'mean'\n")

    done = cli("config", "check", str(new), "--db", str(tmp_path / "kb"))
    assert done.exit_code == 3
    assert "new.toml:2: fusion must be" in done.stderr
    assert cli("config", "check", str(tmp_path / "gone.toml"), "--db", str(tmp_path / "kb")).exit_code == 4


def test_without_a_file_it_is_the_one_that_is_there(cli: Cli, tmp_path: Path) -> None:
    _given(tmp_path, "", "candidates = 50\n")

    done = cli("config", "check", "--db", str(tmp_path / "kb"))
    assert (done.exit_code, done.stdout.strip()) == (0, "It can be used, and changes nothing.")
    (tmp_path / "kb" / "outcrop.toml").write_text("candidates = 5\n")
    assert cli("config", "check", "--db", str(tmp_path / "kb")).exit_code == 3
    mended = cli("config", "check", str(tmp_path / "new.toml"), "--db", str(tmp_path / "kb"))
    assert mended.exit_code == 0
    assert "the file that is there cannot be used" in mended.stderr


def test_show_says_what_needs_a_restart(cli: Cli) -> None:
    listed = {one["key"]: one["needs_restart"] for one in json.loads(cli("config", "show", "--json").stdout)}
    assert listed["candidates"] is None
    assert listed["server.threads"] is None
    assert listed["mode"]
