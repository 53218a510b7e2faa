"""What there is to choose from when a build is ordered, as this server has it."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath

from outcrop import Database, embedding
from outcrop.analysis import ANALYZERS
from outcrop.builds.ingredients import EngineFacts, Ingredients
from outcrop.embedding import EmbedderFacts
from outcrop.index_values import OptimizeFor
from outcrop.ingest.chunking import CHUNKERS
from outcrop.surfaces.http import replies
from outcrop.surfaces.http.access import ADMIN
from outcrop.surfaces.http.builds import sources
from outcrop.surfaces.http.describing import described
from outcrop.surfaces.http.served import served


class BuildChoices(msgspec.Struct, frozen=True):
    """What a build may name.

    Of `embedders` (`openai` wants a model: `openai:text-embedding-3-small`) and `engines` also whether they work here, and if not,
    why and what to do. A chunker but `none` may have sizes: `tokens:256/32`. `sources` are the files and folders that lie in the
    folders that the server may read; None where it may read none.
    """

    embedders: tuple[EmbedderFacts, ...]
    chunkers: tuple[str, ...]
    analyzers: tuple[str, ...]
    engines: tuple[EngineFacts, ...]
    optimize_for: tuple[OptimizeFor, ...]
    sources: tuple[str, ...] | None


@get(
    "/v1/collections/{name:str}/build-choices",
    opt=ADMIN | described(BuildChoices),
    summary="What a build may name",
    tags=["builds"],
)
async def build_choices(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[Any]:
    """For forms and for people: embedders, chunkers, analyzers, engines with their vector indexes, and the server's sources."""
    door = served(request)
    folders = door.builds.source_folders

    def look(db: Database) -> BuildChoices:
        db.collection(name)  # which is to be there
        config = db.config
        return BuildChoices(
            embedders=tuple(embedding.available(openai_base_url=config.openai_base_url)),
            chunkers=CHUNKERS,
            analyzers=ANALYZERS,
            engines=Ingredients(config).engines(),
            optimize_for=get_args(OptimizeFor),
            sources=sources.listed(folders) if folders else None,
        )

    return replies.json(await door.database(look))


ROUTES = (build_choices,)
