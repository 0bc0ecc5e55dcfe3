"""`python -m server.publish.point_cloud_requests`: one edit of a point cloud for a running server, in a process of its own.

Reads a JSON document on standard input, writes one on standard output. A worker of the server neither imports what publishes nor
holds the points of an edit in its memory, and a damaged file that crashes a decoder ends this process alone.

    {"edit": "reclassify", "tenant": ..., "collection": ..., "who": ..., "area": GeoJSON geometry, "crs": ..., "to": 6,
     "from": [1, 2] | null, "low": number | null, "high": number | null, "above": "z" | "ground", "most_points": number}
    {"edit": "remove", "tenant": ..., "collection": ..., "who": ..., "names": [...]}

    {"entry": {...}, "generation": 7, "changed": true, "warnings": [...]}
    {"error": "in progress" | "bad" | "unknown" | "full" | "failed", "detail": ...}
"""

from __future__ import annotations

import os
import resource
import sys
from typing import Any, Final

import orjson

from server.errors import ChengtuError, PublishInProgress, UnknownCollection, UnknownTenant
from server.publish.errors import InputError, StorageFull
from server.settings import Settings, load_settings

_ADDRESS_SPACE: Final = 4 << 30
"""At least; maps of node tables and the decoder's threads count too."""
_KINDS: Final = (
    (PublishInProgress, "in progress"),
    ((UnknownCollection, UnknownTenant), "unknown"),
    (StorageFull, "full"),
    (InputError, "bad"),
    (ChengtuError, "failed"),
)


def answer(document: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Make the edit that a document describes; what came of it."""
    try:
        return _made(document, settings)
    except ChengtuError as error:
        kind = next(kind for classes, kind in _KINDS if isinstance(error, classes))
        return {"error": kind, "detail": str(error)}


def _made(asked: dict[str, Any], settings: Settings) -> dict[str, Any]:
    from server.publish.point_cloud_edits import remove_tiles
    from server.publish.point_cloud_reclassify import ClassChange, area_of_geojson, reclassify
    from server.registry.registry import open_registry_that_is_there

    where = (asked["tenant"], asked["collection"])
    with open_registry_that_is_there(settings) as registry:
        if asked["edit"] == "remove":
            edit = remove_tiles(registry, settings, *where, asked["names"], asked["who"])
        else:
            change = ClassChange(
                area=area_of_geojson(asked["area"]),
                to=asked["to"],
                from_classes=None if asked["from"] is None else frozenset(asked["from"]),
                low=asked["low"],
                high=asked["high"],
                ground="points" if asked["above"] == "ground" else None,
                crs=asked["crs"],
            )
            edit = reclassify(
                registry, settings, *where, change, asked["who"], most_points=asked["most_points"]
            )
    return {
        "entry": dict(edit.entry),
        "generation": edit.collection.generation,
        "changed": edit.is_new,
        "warnings": list(edit.warnings),
    }


def main() -> int:
    """Answer standard input; the exit code of this process."""
    settings = load_settings((), os.environ)
    most = max(_ADDRESS_SPACE, 4 * settings.points.build_memory_bytes)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard)
    )
    told = answer(orjson.loads(sys.stdin.buffer.read()), settings)
    sys.stdout.buffer.write(orjson.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
