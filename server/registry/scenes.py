"""What the registry tells of the 3D tileset of a collection that is served already."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine

from server.errors import PublishLost
from server.registry.catalogue import Representation, RepresentationKind
from server.registry.models import GenerationState, RepresentationRow
from server.registry.writing import collection_row, generation_in, writing


def attach_tileset(
    engine: Engine,
    tenant: str,
    collection: str,
    generation: int,
    bbox: Sequence[float],
    tileset: Representation,
) -> None:
    """Give the current generation a 3D tileset, in the place of the one it has; its extent is `bbox` from then on.

    Raises PublishLost where another generation has become current.
    """
    with writing(engine, "attach-tileset", tenant, collection, generation) as write:
        row = collection_row(write.session, tenant, collection)
        current = None if row is None else generation_in(write.session, row, GenerationState.CURRENT)
        if row is None or current is None or current.number != generation:
            raise PublishLost(f"generation {generation} of {tenant}.{collection} is not served any more")
        kind = str(RepresentationKind.TILESET_3D)
        found = next((item for item in current.representations if item.kind == kind), None)
        if found is None:
            found = RepresentationRow(generation_key=current.key, kind=kind)
            current.representations.append(found)
        found.path = tileset.path
        found.built_generation, found.built_change = generation, tileset.built_change
        found.properties = dict(tileset.properties)
        current.bbox = list(bbox)
        row.revision = write.revision
