"""How the program runs: global options before or after the command, errors in one line, an exit code for each kind."""

from __future__ import annotations

import inspect
import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

import outcrop
from outcrop import Config, Database, OutcropError
from outcrop.errors import BuildCancelled, GateFailed, InvalidFilter, NotFound
from outcrop.surfaces.cli import exit_codes
from outcrop.surfaces.cli.rendering import note, output_closed, plain, screen

#: The options that stand before the command or after it.
GLOBAL_OPTIONS = ("db", "mode", "debug")
_SEARCH_MODES = ("lexical", "vector", "hybrid")


class Invocation(msgspec.Struct, frozen=True):
    """What the global options say. `db_origin` is the option or the variable that named the folder."""

    db: Path
    db_origin: str
    mode: str | None
    debug: bool

    @property
    def config(self) -> Config | None:
        """The configuration of `--mode`; None leaves the mode to the environment and the folder's file."""
        return None if self.mode is None else getattr(Config, self.mode)()

    def command(self, name: str) -> str:
        """How a command on the same database begins, for advice."""
        return f"outcrop {name}" if self.db_origin == "default" else f"outcrop --db {shlex.quote(str(self.db))} {name}"

    @contextmanager
    def opened(self, *, read_only: bool, makes: bool = False) -> Iterator[Database]:
        """The database, closed at the end. A folder that does not exist is an error, unless the command `makes` one."""
        if not makes and not self.db.exists():
            advice = "build a collection to make one (outcrop build), or name the folder of another (outcrop --db FOLDER ...)"
            raise NotFound(f"there is no database at {self.db}; {advice}", path=self.db)
        with outcrop.open(self.db, config=self.config, read_only=read_only) as db:
            yield db


class WrongUsage(Exception):
    """The command line makes no sense, in a way that its grammar does not show."""

    ctx: Any = None

    def format_message(self) -> str:
        """As typer's own errors have it."""
        return str(self)


def invocation(context: typer.Context) -> Invocation:
    """What the global options of this call say."""
    found = context.obj
    if not isinstance(found, Invocation):
        raise TypeError("the global options have not been read")
    return found


class Command(TyperCommand):
    """A command that takes the global options too, so that `outcrop search papers rocks --db kb` works as one expects."""

    def __init__(self, name: str | None, *, help: str | None = None, **settings: Any) -> None:  # noqa: A002 - typer's name
        super().__init__(name, help=_with_examples_as_written(help), **settings)

    def get_params(self, ctx: Any) -> list[Any]:
        """The command's own options, then the program's."""
        shared = [option for option in ctx.find_root().command.params if option.name in GLOBAL_OPTIONS]
        *own, help_option = super().get_params(ctx)
        return [*own, *shared, help_option]

    def invoke(self, ctx: Any) -> Any:
        """Run it, with what was said after its name in place of what was said before."""
        given = {name: ctx.params.pop(name) for name in GLOBAL_OPTIONS}
        said = {name: value for name, value in given.items() if said_here(ctx, name)}
        if "mode" in said:
            check_mode(said["mode"])
        if "db" in said:
            said["db_origin"] = "--db"
        root = ctx.find_root()
        root.obj = ctx.obj = msgspec.structs.replace(root.obj, **said)
        try:
            return super().invoke(ctx)
        except WrongUsage as error:
            error.ctx = ctx  # whose help to name
            raise


class Program(TyperGroup):
    """The whole command line. Whatever goes wrong in it ends as one line on stderr and an exit code."""

    def __init__(self, *, help: str | None = None, **settings: Any) -> None:  # noqa: A002 - typer's name
        super().__init__(help=_with_examples_as_written(help), **settings)

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run and exit. Queries are no file patterns, so `rock*` reaches us as it is on Windows too."""
        extra |= {"standalone_mode": False, "windows_expand_args": False}
        for stream in (sys.stdout, sys.stderr):
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="replace")  # a console that cannot show a character shows another one
        try:
            ended = super().main(args=args, prog_name=prog_name, **extra)
        except SystemExit:  # typer's only one here: what reads our output went away while it showed the help
            sys.exit(exit_codes.OUTPUT_CLOSED)
        except typer.Abort:
            _say_stopped()
            sys.exit(exit_codes.INTERRUPTED)
        except Exception as error:
            if not _is_usage(error):
                raise
            _say_usage(error)
            sys.exit(exit_codes.USAGE)
        sys.exit(ended if isinstance(ended, int) else exit_codes.OK)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say_stopped()
            raise typer.Exit(exit_codes.INTERRUPTED) from None
        except BrokenPipeError:
            output_closed()
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if _is_usage(error):
                raise
            _say(error, debug=_debugging(ctx))
            raise typer.Exit(exit_codes.exit_code(error)) from None


def said_here(context: Any, name: str) -> bool:
    """Whether an option stood on the command line at this place: not a default, not a variable."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def check_mode(mode: str | None) -> None:
    """Refuse what is no configuration mode."""
    from outcrop.config import MODES

    if mode is None or mode in MODES:
        return
    hint = "; how to search is --search-mode" if mode in _SEARCH_MODES else ""
    raise WrongUsage(f"--mode is one of {', '.join(MODES)}, found {mode!r}{hint}")


def _with_examples_as_written(text: str | None) -> str | None:
    """A docstring in which paragraphs with indented lines carry the mark by which typer leaves their lines alone."""
    if text is None:
        return None
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(f"\b\n{one}" if "\n  " in one else one for one in paragraphs)


def _debugging(context: Any) -> bool:
    found = context.find_root().obj
    return isinstance(found, Invocation) and found.debug


def _is_usage(error: Exception) -> bool:
    """Whether typer raised it: the command line cannot be understood. Releases differ in the class, not in this method."""
    return callable(getattr(error, "format_message", None))


def _say(error: Exception, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, GateFailed):
        _say_refused(error)
    elif isinstance(error, BuildCancelled):
        note(f"stopped: {plain(str(error), one_line=True)}", style="bold red")
    elif isinstance(error, InvalidFilter) and screen(stderr=True).is_terminal:
        note(f"error: {plain(str(error))}", style="bold red")  # its own lines, because one of them points at a place in another
    elif isinstance(error, OutcropError | OSError):
        text = _with_place_in_words(error) if isinstance(error, InvalidFilter) else _as_options(str(error))
        note(f"error: {plain(text, one_line=True)}", style="bold red")
    else:
        found = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        advice = "" if debug else "; --debug shows where"
        note(f"error: unexpected, so this is a bug in Outcrop: {plain(found, one_line=True)}{advice}", style="bold red")


def _as_options(message: str) -> str:
    """Advice for Python, as options."""
    return message.replace("With allow_lexical=True", "With --allow-lexical").replace("force=True", "--force")


def _say_refused(error: GateFailed) -> None:
    """The whole report, a line for each check, and then what came of it."""
    report = error.report
    screen(stderr=True).print(Text(plain(str(report))), soft_wrap=True)
    count = f"{len(report.failed)} of {len(report.checks)} checks failed"
    note(
        f"error: {count}: generation {report.generation} was not promoted, and searches are as they were; to promote it all the"
        f" same: outcrop promote {error.collection} {report.generation} --force",
        style="bold red",
    )


def _with_place_in_words(error: InvalidFilter) -> str:
    """The message in a form that survives as one line: the filter in quotes, and from where on it cannot be read."""
    lines = str(error).splitlines()
    caret = next((number for number, line in enumerate(lines) if line.strip() == "^"), None)
    if caret is None:
        return str(error)
    shown, place = lines[caret - 1], lines[caret].index("^")
    at = f"at `{shown[place:].strip()}` " if shown[:place].strip() else ""
    return f"{' '.join(lines[: caret - 1])} ({at}in `{shown.strip()}`). {' '.join(lines[caret + 1 :])}"


def _say_usage(error: Any) -> None:
    context = getattr(error, "ctx", None)
    path = "outcrop" if context is None else context.command_path
    message = plain(error.format_message(), one_line=True).replace("Value error, ", "", 1)
    ends = "" if message.endswith(("?", ".")) else "."
    note(f"error: {message}{ends} Help: {path} --help", style="bold red")


def _say_stopped() -> None:
    note("stopped", style="bold red")
