"""Who may do what: the guards of the routes.

Where there are keys, every route but those of health needs one (`Authorization: Bearer oc_...`), also on loopback. Where there
never was one, everybody is let in but the pages of other sites: whoever starts the server decides whether that is right.
"""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from outcrop.surfaces.addresses import is_loopback, name_in
from outcrop.surfaces.http.border import header
from outcrop.surfaces.http.observing import note_key
from outcrop.surfaces.http.problems import Forbidden, Unauthenticated
from outcrop.surfaces.http.served import Served
from outcrop.surfaces.keys import Key, Scope

_OPEN = "open"
_PAGE = "page"
_ANYWHERE = "anywhere"
_BEARER = "bearer "

#: For a route that needs no key.
OPEN = {_OPEN: True}
#: For what a browser shows before it has a key.
PAGE = {_PAGE: True}
#: For a route that a key of some collections may use; it sees those only.
ANYWHERE = {_ANYWHERE: True}
READ: dict[str, Scope] = {"scope": "read"}
WRITE: dict[str, Scope] = {"scope": "write"}
ADMIN: dict[str, Scope] = {"scope": "admin"}


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let a request in, or raise `Unauthenticated` or `Forbidden`. Asynchronous, or the framework would run it on a thread."""
    _check(connection, handler)


def _check(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    door: Served = connection.app.state.served
    if handler.opt.get(_OPEN):
        return
    if door.keys is None or not door.keys.wanted:
        _check_host(connection, door)
        _check_origin(connection)
        return
    if _methods(handler) == {"OPTIONS"}:
        return
    if handler.opt.get(_PAGE):
        return
    key = _key(connection, door)
    scope: Scope = handler.opt.get("scope", "read" if "GET" in _methods(handler) else "admin")
    collection = connection.path_params.get("name")
    if handler.opt.get(_ANYWHERE) and key.collections is not None:
        collection = next(iter(key.collections), None)
    if not key.allows(scope, collection):
        where = "the whole database" if collection is None else f"collection {collection!r}"
        raise Forbidden(f"the key {key.name!r} does not let you {scope} in {where}")


def _methods(handler: BaseRouteHandler) -> frozenset[str]:
    return frozenset(getattr(handler, "http_methods", ()))


def check_again(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """As `guard`, in the middle of a request that takes long: its key may have been revoked. Raises `Unauthenticated`."""
    _check(connection, connection.route_handler)


def _check_host(connection: ASGIConnection[Any, Any, Any, Any], door: Served) -> None:
    host = header(connection.scope, b"host")
    if door.is_local and not is_loopback(name_in(host)):
        raise Forbidden(f"this server is for this machine alone and was asked as {host!r:.100}; ask it as localhost, or make a key")


def _check_origin(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Browsers say which site a page is of that asks; a page of another site may ask nothing, not even blindly."""
    origin, host = header(connection.scope, b"origin"), header(connection.scope, b"host")
    is_told = any(name == b"origin" for name, _ in connection.scope["headers"])  # also one that says nothing
    if is_told and origin.lower().partition("://")[2] != host.lower():
        raise Forbidden(
            f"a page of {origin!r:.100} asks a server at {host!r:.100}; a proxy between them must pass the header Host on as it is"
        )


def holder(connection: ASGIConnection[Any, Any, Any, Any]) -> Key | None:
    """The key of a request that was let in; None where no key is wanted."""
    door: Served = connection.app.state.served
    return None if door.keys is None or not door.keys.wanted else _key(connection, door)


def visible(connection: ASGIConnection[Any, Any, Any, Any], names: list[str]) -> list[str]:
    """Those of the collections that the request's key opens."""
    key = holder(connection)
    return names if key is None or key.collections is None else [name for name in names if name in key.collections]


def is_limited(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Whether the request's key opens some collections only."""
    key = holder(connection)
    return key is not None and key.collections is not None


def _key(connection: ASGIConnection[Any, Any, Any, Any], door: Served) -> Key:
    assert door.keys is not None
    given = header(connection.scope, b"authorization")
    if not given:
        raise Unauthenticated("this server wants a key: Authorization: Bearer oc_... (outcrop keys create makes one)")
    found = door.keys.holder(given[len(_BEARER) :].strip()) if given.lower().startswith(_BEARER) else None
    if found is None:
        raise Unauthenticated("the key is not known here; it may have been revoked")
    note_key(connection.scope, found.name)
    return found
