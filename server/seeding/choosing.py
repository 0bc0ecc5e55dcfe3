"""From what a person names (collections, style, grids, levels, an area) to a plan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from server.errors import InvalidIdentifier, UnknownCollection
from server.registry.catalogue import Catalogue, Collection, RepresentationKind
from server.seeding.errors import SeedingError
from server.seeding.plan import Box, Layer, SeedingPlan, check_box

type Kind = Literal["map", "tiles"]

_KINDS: dict[str, RepresentationKind] = {"map": RepresentationKind.MAP, "tiles": RepresentationKind.TILES}
_LEVELS = re.compile(r"(\d{1,2})(?:-(\d{1,2}))?")
_MOST_BYTES = 20 << 20  # of a coverage file


def plan_of(
    catalogue: Catalogue,
    collections: Sequence[str],
    *,
    kind: str | None,
    style: str | None,
    extension: str,
    grids: Sequence[str],
    levels: str,
    area: Box | None = None,
    coverage: str | None = None,
) -> SeedingPlan:
    """The plan; `kind` None: what the collections have. `coverage` is WKT. Raises SeedingError, UnknownCollection, InvalidIdentifier."""
    layers = [
        layer for name in collections for layer in _layers(_found(catalogue, name), kind, style, extension)
    ]
    low, high = parse_levels(levels)
    return SeedingPlan(tuple(layers), tuple(grids), low, high, area, coverage)


def parse_levels(text: str) -> tuple[int, int]:
    """Lowest and highest of "12" or "0-14". Raises SeedingError."""
    match = _LEVELS.fullmatch(text)
    if match is None or int(match[1]) > int(match[2] or match[1]):
        raise SeedingError(f"levels {text!r}; allowed: one as in 12, or the lowest and highest as in 0-14")
    return int(match[1]), int(match[2] or match[1])


def parse_box(text: str) -> Box:
    """A CRS84 box of "west,south,east,north". Raises SeedingError."""
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise SeedingError(f"box {text!r}; allowed: west,south,east,north in degrees") from None
    check_box((west, south, east, north))
    return west, south, east, north


def read_coverage(path: Path) -> str:
    """The polygons of a GeoJSON file as WKT, their union. Raises SeedingError, OSError."""
    import orjson
    import shapely
    from shapely.geometry import shape

    if path.stat().st_size > _MOST_BYTES:
        raise SeedingError(
            f"{path} has more than {_MOST_BYTES >> 20} MB: simplify it, or give its box by --bbox"
        )
    try:
        document = orjson.loads(path.read_bytes())
        given = document.get("features", [document])
        shapes = [shape(one.get("geometry", one)) for one in given]
    except (ValueError, TypeError, AttributeError, KeyError, shapely.errors.ShapelyError) as error:
        raise SeedingError(f"{path} is no GeoJSON with polygons: {error}") from error
    covered = shapely.union_all([one for one in shapes if one.geom_type in ("Polygon", "MultiPolygon")])
    if covered.is_empty or not covered.is_valid:
        raise SeedingError(
            f"{path} has no valid polygons; allowed: Polygon, MultiPolygon, or features of these"
        )
    check_box(covered.bounds)
    return str(covered.wkt)


def _found(catalogue: Catalogue, name: str) -> Collection:
    tenant, dot, collection = name.partition(".")
    if not dot or not tenant or not collection:
        raise InvalidIdentifier(f"{name!r} does not name a collection; allowed: TENANT.COLLECTION")
    found = catalogue.find(tenant, collection)
    if found is None:
        raise UnknownCollection(f"there is no collection {name}; `chengtu collections` lists them")
    return found


def _layers(collection: Collection, kind: str | None, style: str | None, extension: str) -> list[Layer]:
    if kind is not None and _KINDS[kind] not in collection.representations:
        has = ", ".join(representation.value for representation in collection.representations)
        raise SeedingError(f"{collection.qualified_id} has no {kind}; it has: {has}")
    if not collection.bbox:
        raise SeedingError(f"{collection.qualified_id} has no extent, so nothing to seed")
    half = len(collection.bbox) // 2
    box = (*collection.bbox[:2], *collection.bbox[half : half + 2])
    kinds = (
        [kind]
        if kind is not None
        else [one for one, needed in _KINDS.items() if needed in collection.representations]
    )
    return [
        Layer(
            collection.qualified_id,
            one,
            extension if one == "map" else "mvt",
            style if one == "map" else None,
            (box[0], box[1], box[2], box[3]),
        )
        for one in kinds
    ]
