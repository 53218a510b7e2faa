"""`outcrop delete` and `update-metadata`: changes to documents that are there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text

from outcrop import Collection
from outcrop.filters import Filter
from outcrop.model import WriteResult
from outcrop.surfaces.cli.arguments import AsJson, CollectionName, Quiet, Where, Yes, filter_of
from outcrop.surfaces.cli.program import WrongUsage, invocation
from outcrop.surfaces.cli.reading import say_missing
from outcrop.surfaces.cli.rendering import counted, show, write_json
from outcrop.surfaces.cli.standard_input import lines

#: A filter that selects more than this share of the documents is asked about: as much may be missing before a gate refuses.
_SHARE_MAX = 0.1
_LOOKED_UP = 500


def delete(
    context: typer.Context,
    collection: CollectionName,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Document ids.", show_default=False)] = None,
    ids_from: Annotated[
        str | None,
        typer.Option(
            "--ids-from", metavar="FILE", help="Ids from a file, one a line; - is the standard input.", show_default=False
        ),
    ] = None,
    where: Where = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many documents would go.")] = False,
    yes: Yes = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Take documents out of a live collection.

    By their ids or by a filter. One write, done whole or not at all. A rollback does not bring them back, and a build that is
    under way leaves them out. An id that is not there counts nothing.

    A filter that selects more than a tenth of the documents needs --yes, or on a terminal an answer.

    Examples:
      outcrop delete papers p-9 p-3
      outcrop delete papers --ids-from gone.txt
      outcrop delete papers --where "year < 1990" --dry-run
    """
    if sum((bool(ids), ids_from is not None, bool(where))) != 1:
        raise WrongUsage("name the documents by their ids, by --ids-from or by --where: by one of these")
    condition = filter_of(where)
    wanted = list(dict.fromkeys(ids if ids else [] if ids_from is None else lines(ids_from)))
    missing: list[str] | None = []
    with invocation(context).opened(read_only=dry_run) as db:
        opened = db.collection(collection)
        if dry_run:
            _say_what_would_go(opened, wanted, condition, json=json)
            return
        if condition is not None:
            if not yes:
                _ask_about_many(opened, condition)
            result = opened.delete(where=condition)
        else:
            missing = _missing(opened, wanted) if len(wanted) <= _LOOKED_UP else None
            result = opened.delete(wanted)
    _tell("Deleted", collection, result, missing, json=json, quiet=quiet)


def update_metadata(
    context: typer.Context,
    collection: CollectionName,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Document ids.", show_default=False)],
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A value: JSON if it can be read as JSON, else text. May be repeated.",
            show_default=False,
        ),
    ] = None,
    metadata: Annotated[
        str | None, typer.Option("--metadata", metavar="JSON", help="Several at once, as a JSON object.", show_default=False)
    ] = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Set metadata of documents.

    The keys that are given get these values, the others stay. One write, done whole or not at all; nothing is embedded again. A
    key cannot be removed, only set to null. An id that is not there counts nothing.

    Examples:
      outcrop update-metadata papers p-9 p-3 --set retracted=true --set "note=see p-12"
      outcrop update-metadata papers p-9 --metadata '{"tags": ["asthma", "trial"]}'
    """
    given = _metadata(values or (), metadata)
    wanted = list(dict.fromkeys(ids))
    with invocation(context).opened(read_only=False) as db:
        opened = db.collection(collection)
        missing = _missing(opened, wanted)
        result = opened.update_metadata(wanted, given)
    _tell("Updated", collection, result, missing, json=json, quiet=quiet)


def _metadata(pairs: Sequence[str], whole: str | None) -> dict[str, Any]:
    """What `--metadata` and then every `--set` gives. Raises `WrongUsage`."""
    if not pairs and whole is None:
        raise WrongUsage("nothing to set: give --set KEY=VALUE or --metadata JSON")
    found: dict[str, Any] = {}
    if whole is not None:
        try:
            found = msgspec.json.decode(whole.encode(errors="replace"), type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise WrongUsage(f"--metadata is a JSON object, found {whole!r:.80}: {error}") from error
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise WrongUsage(f"--set is KEY=VALUE, found {pair!r:.80}")
        found[key.strip()] = _value(value)
    return found


def _value(text: str) -> Any:
    """What stands behind the `=`.

    >>> _value("2015"), _value("true"), _value("see p-12"), _value('"2015"')
    (2015, True, 'see p-12', '2015')
    """
    try:
        return msgspec.json.decode(text.encode(errors="replace"))
    except (msgspec.MsgspecError, RecursionError):
        return text


def _say_what_would_go(collection: Collection, wanted: Sequence[str], condition: Filter | None, *, json: bool) -> None:
    there = 0 if collection.active is None else collection.count()
    missing = [] if condition is not None else _missing(collection, wanted)
    selected = collection.count(condition) if condition is not None and there else len(wanted) - len(missing)
    if json:
        write_json({"collection": collection.name, "documents": there, "would_delete": selected, "missing": missing})
        return
    show(Text(f"{selected:,} of the {counted(there, 'document')} of {collection.name} would go. Nothing was changed."))
    say_missing(collection.name, missing)


def _ask_about_many(collection: Collection, condition: Filter) -> None:
    """Have it confirmed if a filter selects much. Without a terminal there is nobody to ask."""
    there = 0 if collection.active is None else collection.count()
    selected = collection.count(condition) if there else 0
    if selected <= there * _SHARE_MAX:
        return
    many = f"the filter selects {selected:,} of the {counted(there, 'document')} of {collection.name}"
    if not sys.stdin.isatty():
        raise WrongUsage(f"{many}, more than a tenth: to delete them all the same, say --yes")
    typer.confirm(f"{many[0].upper()}{many[1:]}. Delete them?", abort=True, err=True)


def _missing(collection: Collection, wanted: Sequence[str]) -> list[str]:
    if collection.active is None:
        return list(wanted)
    places = range(0, len(wanted), _LOOKED_UP)
    known = {one.id for place in places for one in collection.get(wanted[place : place + _LOOKED_UP])}
    return [one for one in wanted if one not in known]


def _tell(verb: str, collection: str, result: WriteResult, missing: Sequence[str] | None, *, json: bool, quiet: bool) -> None:
    """What a write did. `missing` are the ids that are not there, or None if they were not looked for."""
    if json:
        write_json({"collection": collection, **msgspec.structs.asdict(result), "missing": missing})
    elif quiet:
        print(result.sequence)
    else:
        show(Text(f"{verb} {counted(result.deleted + result.updated, 'document')} of {collection}: sequence {result.sequence}."))
        say_missing(collection, missing or ())
