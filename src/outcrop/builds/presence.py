"""Which of the active generation's documents a new one lacks, and which deleted ones it brings back."""

from __future__ import annotations

import logging
from contextlib import closing

import msgspec

from outcrop.documents import Documents
from outcrop.errors import Damaged, StorageFailed
from outcrop.generations import catalog
from outcrop.generations.layout import CollectionFolder
from outcrop.judging.differences import marked

_log = logging.getLogger("outcrop")


class Presence(msgspec.Struct, frozen=True):
    """How many documents of the active generation are not in the new one, and how many that were deleted there are. None where
    there is no active generation."""

    vanished: int | None
    revived: int | None


def presence(folder: CollectionFolder, documents: Documents) -> Presence:
    """Compare a new generation's documents with the active one's, by their ids."""
    name = catalog.active_or_none(folder)
    if name is None:
        return Presence(vanished=None, revived=None)
    try:
        with closing(Documents(folder.generation(name))) as active:
            vanished = sum(not there for _, there in marked(active.ids(), documents.ids()))
            revived = sum(there for _, there in marked(active.gone_ids(), documents.ids()))
    except (Damaged, StorageFailed) as error:  # a new generation may be what heals the collection
        _log.warning("the new generation cannot be compared with the active one (%s)", error)
        return Presence(vanished=None, revived=None)
    return Presence(vanished=vanished, revived=revived)
