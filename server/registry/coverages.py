"""What the registry tells of a coverage whose data change in place: its extent, its interval, its properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Engine

from server.errors import PublishLost
from server.registry.catalogue import Interval, RepresentationKind
from server.registry.models import GenerationState
from server.registry.writing import collection_row, generation_in, writing


def update_coverage(
    engine: Engine,
    tenant: str,
    collection: str,
    generation: int,
    bbox: Sequence[float],
    interval: Interval | None,
    properties: Mapping[str, Any],
) -> None:
    """Bring the current generation's coverage up to date; when it became current stays as it is.

    Raises PublishLost where another generation has become current.
    """
    with writing(engine, "update-coverage", tenant, collection, generation) as write:
        row = collection_row(write.session, tenant, collection)
        current = None if row is None else generation_in(write.session, row, GenerationState.CURRENT)
        if row is None or current is None or current.number != generation:
            raise PublishLost(f"generation {generation} of {tenant}.{collection} is not served any more")
        current.bbox = list(bbox)
        current.interval = None if interval is None else list(interval)
        for representation in current.representations:
            if representation.kind == RepresentationKind.COVERAGE:
                representation.properties = dict(properties)
        row.revision = write.revision
