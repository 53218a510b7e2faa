"""The dashboard at `/`: a page of our own files, which asks the API for everything that it shows.

The files need no key, because there is nothing of the database in them. The page may load nothing from anywhere else, and runs no
script but these files: what documents hold is shown and never run.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath

from outcrop.errors import NotFound
from outcrop.surfaces.http import replies
from outcrop.surfaces.http.access import PAGE

_FOLDER = Path(__file__).parents[1] / "dashboard"
_PAGE = "index.html"
_KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'",
    "Cache-Control": "no-cache",  # asked for again each time, and not sent again: what belongs together is of one release
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _File(msgspec.Struct, frozen=True):
    content: bytes
    media_type: str
    tag: str


@get("/", opt=PAGE, include_in_schema=False)
async def page(request: Request[Any, Any, Any]) -> Response[Any]:
    """The page."""
    return _sent(request, _files()[_PAGE])


@get("/assets/{name:path}", opt=PAGE, include_in_schema=False)
async def asset(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """A file that the page consists of."""
    found = _files().get(name.removeprefix("/"))
    if found is None:
        raise NotFound(f"the dashboard has no file {name!r:.100}")
    return _sent(request, found)


def _sent(request: Request[Any, Any, Any], file: _File) -> Response[Any]:
    headers = {**_HEADERS, "ETag": file.tag}
    if replies.is_known(file.tag, request.headers.get("if-none-match")):
        return replies.unchanged(headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


@cache
def _files() -> dict[str, _File]:
    """Every file of the dashboard by its path. Only these are ever sent, so no path leads elsewhere."""
    return {path.relative_to(_FOLDER).as_posix(): _file(path) for path in sorted(_FOLDER.rglob("*")) if path.suffix in _KINDS}


def _file(path: Path) -> _File:
    content = path.read_bytes()
    tag = f'W/"{sha256(content).hexdigest()[:16]}"'  # weak: what is sent may be compressed
    return _File(content, _KINDS[path.suffix], tag)


ROUTES = (page, asset)
