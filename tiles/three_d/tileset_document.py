"""tileset.json of an implicit tileset whose tiles tell their own regions and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from tiles.three_d.facts import DerivedFacts, diagonals
from tiles.three_d.files import CONTENT_TEMPLATE, SUBTREE_TEMPLATE
from tiles.three_d.plan import TilePlan
from tiles.three_d.quadtree import Region
from tiles.three_d.subtree import TILE_SCHEMA, subtree_depth


def tileset_json(plan: TilePlan, facts: DerivedFacts, *, schema: Mapping[str, Any] | None = None) -> bytes:
    """The file. `schema`: the class of the objects, as the tiles carry it, so that clients know it before any tile."""
    document = tileset_document(plan, facts, schema=schema)
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def tileset_document(
    plan: TilePlan, facts: DerivedFacts, *, schema: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The same as a JSON object."""
    region = turned(plan.region)
    classes = {**TILE_SCHEMA["classes"], **(schema or {})}
    return {
        "asset": {"version": "1.1", "generator": "chengtu"},
        "schema": {**TILE_SCHEMA, "classes": classes},
        "geometricError": tileset_error(facts),
        "root": {
            "boundingVolume": {
                "region": [
                    *(float(np.radians(degrees)) for degrees in region),
                    float(facts.bottoms.min()),
                    float(facts.tops.max()),
                ]
            },
            "geometricError": root_error(facts),
            "refine": plan.refinement.value,
            "content": {"uri": CONTENT_TEMPLATE},
            "implicitTiling": {
                "subdivisionScheme": "QUADTREE",
                "subtreeLevels": subtree_depth(plan.levels),
                "availableLevels": plan.levels,
                "subtrees": {"uri": SUBTREE_TEMPLATE},
            },
        },
    }


def root_error(facts: DerivedFacts) -> float:
    """The error (m) of the root, from which clients that do not read tile metadata halve those of the levels below."""
    level = facts.tiles().level
    return float((facts.errors * 2.0**level).max())


def tileset_error(facts: DerivedFacts) -> float:
    """The error (m) when nothing is drawn: all that there is."""
    low = np.append(facts.regions[:, :2].min(axis=0), facts.bottoms.min())
    high = np.append(facts.regions[:, 2:].max(axis=0), facts.tops.max())
    return max(root_error(facts), float(diagonals(low[None], high[None])[0]))


def turned(region: Region) -> Region:
    """A region with longitudes between -180 and 180; west > east across the antimeridian."""
    return Region(turned_longitude(region.west), region.south, turned_longitude(region.east), region.north)


def turned_longitude(longitude: float) -> float:
    """A longitude between -180 and 180."""
    if longitude > 180.0:
        return longitude - 360.0
    return longitude + 360.0 if longitude < -180.0 else longitude
