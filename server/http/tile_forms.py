"""Names of kept vector tiles, and what rights do to the name of any kept tile.

Two who see the same of a collection share its kept tiles, whoever they are: the name carries what is hidden from them and the
area they are held to, never who they are.
"""

from __future__ import annotations

import hashlib

from server.identity.decision import Decision
from server.registry.catalogue import Collection
from tiles.cache.tile import Tileset

VECTOR_FORM = "mvt"


def rights_digest(decision: Decision) -> str:
    """Eight letters that are others for other hidden fields or another area; "" where all of the collection is to be seen."""
    if not decision.hidden_fields and decision.area is None:
        return ""
    text = "\n".join((*sorted(decision.hidden_fields), "", decision.area or ""))
    return hashlib.blake2s(text.encode(), digest_size=4).hexdigest()


def vector_tileset(collection: Collection, decision: Decision, grid_id: str) -> Tileset:
    """The pyramid in which the vector tiles of a collection's present state are kept. Raises TileCacheError."""
    rights = rights_digest(decision)
    form = f"{VECTOR_FORM}-{rights}" if rights else VECTOR_FORM
    return Tileset(collection.tenant, collection.id, collection.generation, form, grid_id, "mvt")
