"""Routes for the map of a generation's vectors."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
from litestar import Request, Response, get, post
from litestar.params import FromPath, QueryParameter

from outcrop import Collection
from outcrop.retrieval.map_values import MapColours, Placed, VectorMap
from outcrop.surfaces.http import replies
from outcrop.surfaces.http.access import READ
from outcrop.surfaces.http.bodies import PlaceBody, read
from outcrop.surfaces.http.describing import described
from outcrop.surfaces.http.served import served

_MAP = "/v1/collections/{name:str}/map"
_DECIMALS = 4


class ColoursObject(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a field says of each point: `codes` into `names` (-1: nothing), or `values` from `least` to `most` (null: nothing)."""

    field: str
    kind: str
    names: tuple[str, ...] = ()
    codes: list[int] | None = None
    values: list[float | None] | None = None
    least: float | None = None
    most: float | None = None


class MapObject(msgspec.Struct, frozen=True):
    """A map: arrays with an entry for each point."""

    generation: int
    generation_uuid: str
    sequence: int
    chunk_count: int
    point_count: int
    variance_share: float
    neighbours_kept: float | None
    x: list[float]
    y: list[float]
    ids: tuple[str, ...]
    titles: tuple[str | None, ...]
    texts: tuple[str, ...]
    colours: ColoursObject | None


@get(_MAP, opt=READ | described(MapObject), summary="Where the vectors lie", tags=["map"])
async def vector_map(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    *,
    generation: Annotated[int | None, QueryParameter(description="Of this generation; without it the active one's.")] = None,
    color: Annotated[str | None, QueryParameter(description="A metadata field that says something of each point.")] = None,
    points_max: Annotated[int, QueryParameter(ge=1, le=50_000, description="Of more chunks an even sample.")] = 50_000,
) -> Response[Any]:
    """In the plane, laid out by their neighbourhoods. The first map of a state takes seconds; then it is kept."""

    def made(collection: Collection) -> tuple[bytes, str]:
        found = collection.vector_map(points_max, color=color, generation=generation)
        return msgspec.json.encode(_object(found)), f'W/"{found.generation_uuid[:12]}.{found.sequence}"'

    content, tag = await served(request).judged(name, made)
    headers = {"ETag": tag}
    if replies.is_known(tag, request.headers.get("if-none-match")):
        return replies.unchanged(headers)
    return Response(content, media_type=replies.JSON, headers=headers)


@post(
    f"{_MAP}/place",
    opt=READ | described(Placed, PlaceBody),
    status_code=200,
    summary="Where a query lies on the map",
    tags=["map"],
)
async def place(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """And where its nearest chunks do, whether they are among the points or not."""
    body = await read(request, PlaceBody)
    found = await served(request).judged(
        name,
        lambda collection: collection.place_on_map(
            body.query, vector=body.vector, k=body.k, points_max=body.points_max, generation=body.generation
        ),
    )
    return replies.json(found)


def _object(found: VectorMap) -> MapObject:
    values = {name: getattr(found, name) for name in MapObject.__struct_fields__ if name not in ("x", "y", "colours")}
    x, y = (np.round(one.astype(np.float64), _DECIMALS).tolist() for one in (found.x, found.y))
    return MapObject(x=x, y=y, colours=None if found.colours is None else _colours(found.colours), **values)


def _colours(found: MapColours) -> ColoursObject:
    values = None if found.values is None else [None if one != one else one for one in found.values.tolist()]  # noqa: PLR0124
    return ColoursObject(
        field=found.field,
        kind=found.kind,
        names=found.names,
        codes=None if found.codes is None else found.codes.tolist(),
        values=values,
        least=found.least,
        most=found.most,
    )


ROUTES = (vector_map, place)
