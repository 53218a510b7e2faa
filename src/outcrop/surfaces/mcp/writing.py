"""What the tools that write do. They are offered only to callers that may write."""

from __future__ import annotations

import msgspec

from outcrop import Document
from outcrop.surfaces.mcp.answers import WriteAnswer
from outcrop.surfaces.mcp.arguments import DeleteArguments, UpsertArguments
from outcrop.surfaces.mcp.reach import Reach


def upsert(db: Reach, asked: UpsertArguments) -> WriteAnswer:
    """Put the documents in, all or none."""
    documents = [Document(**msgspec.structs.asdict(one)) for one in asked.documents]
    result = db.collection(asked.collection).upsert(documents)
    return WriteAnswer(collection=asked.collection, sequence=result.sequence, upserted=result.upserted, replaced=result.replaced)


def delete(db: Reach, asked: DeleteArguments) -> WriteAnswer:
    """Take the documents out, and say if some were not there."""
    wanted = list(dict.fromkeys(asked.document_ids))
    result = db.collection(asked.collection).delete(wanted)
    unknown = len(wanted) - result.deleted
    note = f"{unknown} of the {len(wanted)} ids were not there." if unknown else None
    return WriteAnswer(collection=asked.collection, sequence=result.sequence, deleted=result.deleted, note=note)
