from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import Result

import outcrop
from outcrop.surfaces.cli.exit_codes import EXIT_CODES

Cli = Callable[..., Result]

COMMANDS = (
    "build search upsert delete update-metadata generations promote rollback compare history optimize gc verify repair stats"
    " insights count get collections drop eval mcp doctor demo"
).split()


def test_the_help_lists_every_command_and_every_exit_code(cli: Cli) -> None:
    shown = cli("--help").stdout
    for command in (*COMMANDS, "config"):
        assert f"\n  {command} " in shown
    for row in EXIT_CODES:
        assert f"{row.number}  {row.meaning}" in shown


@pytest.mark.parametrize("command", [*([name] for name in COMMANDS), ["config"], ["config", "show"]], ids=" ".join)
def test_every_command_explains_itself_with_an_example(cli: Cli, command: list[str]) -> None:
    done = cli(*command, "--help")
    assert done.exit_code == 0
    _, _, examples = done.stdout.partition("Example")
    assert f"\n    outcrop {command[0]}" in examples
    assert "\b" not in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_global_options_are_in_every_commands_help(cli: Cli, command: str) -> None:
    shown = cli(command, "--help").stdout
    assert all(option in shown for option in ("--db", "--mode", "--debug"))


def test_no_arguments_show_the_help(cli: Cli) -> None:
    done = cli()
    assert done.exit_code == 0
    assert done.stdout == cli("--help").stdout


def test_every_short_help_is_shown_whole(cli: Cli) -> None:
    listed = cli("--help").stdout.partition("Commands:")[2].partition("Exit codes")[0]
    assert len(listed.splitlines()) > len(COMMANDS)
    assert "..." not in listed


def test_the_version_is_the_packages(cli: Cli) -> None:
    assert cli("--version").stdout == f"outcrop {outcrop.__version__}\n"


def test_help_needs_neither_the_sql_parser_nor_a_model() -> None:
    program = "import sys; import outcrop.surfaces.cli.app; print([name for name in sys.modules if name in %r])"
    heavy = ["sqlglot", "onnxruntime", "pandas", "pyarrow", "ir_measures", "httpx", "tokenizers", "mcp"]
    done = subprocess.run([sys.executable, "-c", program % heavy], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
