"""Trees of the demo city: the mapped ones, and simulated ones where the map shows a park, a wood or scrub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from server.demo.ground import Ground
from server.demo.openstreetmap import Extract
from server.demo.vector_files import Column

Array = NDArray[np.float64]
TREE_COLUMNS = (
    Column("tree_id", "str:24"),
    Column("kind", "str:20"),
    Column("height", "float"),
    Column("crown", "float"),
    Column("origin", "str:10"),
    Column("genus", "str:40"),
    Column("species", "str:80"),
)
_SEED = 60171
_BUSHES_BELOW = 3.6


class _Planting(NamedTuple):
    """How a kind of area is planted: trees a hectare, least and largest height in metres."""

    per_hectare: float
    lowest: float
    highest: float


_PLANTINGS = {
    ("leisure", "park"): _Planting(35, 6.0, 16.0),
    ("leisure", "garden"): _Planting(45, 4.0, 10.0),
    ("natural", "wood"): _Planting(250, 8.0, 18.0),
    ("natural", "scrub"): _Planting(400, 1.5, 3.5),
}


@dataclass(frozen=True, slots=True)
class Trees:
    """Crowns as spheres: centre (x, y in the city grid), `radius` and `height` of the top above ground, in metres.

    All arrays have one value a tree. The first trees are the mapped ones: `mapped` has the id and the tags of each.
    """

    x: Array
    y: Array
    radius: Array
    height: Array
    mapped: tuple[tuple[str, Mapping[str, str]], ...] = ()


def find_trees(extract: Extract, obstacles: BaseGeometry) -> Trees:
    """Mapped trees with simulated sizes, and simulated trees in green areas clear of `obstacles`; always the same."""
    random = np.random.default_rng(_SEED)
    known = [one for one in extract.points if one.tags.get("natural") == "tree"]
    mapped = np.array([(one.planar.x, one.planar.y) for one in known]).reshape(-1, 2)
    parts = [(mapped, random.uniform(7.0, 14.0, len(mapped)))]
    for (key, value), planting in _PLANTINGS.items():
        area = unary_union([one.planar for one in extract.areas if one.tags.get(key) == value]).difference(
            obstacles
        )
        if area.is_empty:
            continue
        places = _scatter(area, int(area.area / 10_000 * planting.per_hectare), random)
        parts.append((places, random.uniform(planting.lowest, planting.highest, len(places))))
    places = np.vstack([part[0] for part in parts])
    height = np.concatenate([part[1] for part in parts])
    radius = np.clip(height * random.uniform(0.24, 0.36, len(height)), 0.6, 5.0)
    return Trees(places[:, 0], places[:, 1], radius, height, tuple((one.osm_id, one.tags) for one in known))


def tree_features(trees: Trees, ground: Ground) -> Iterator[tuple[BaseGeometry, dict[str, Any]]]:
    """Trees as points of the city grid on the ground, with the attributes of `TREE_COLUMNS`; all sizes are simulated."""
    level = ground.sample(trees.x, trees.y)
    for number, (x, y, radius, height) in enumerate(
        zip(trees.x.tolist(), trees.y.tolist(), trees.radius.tolist(), trees.height.tolist(), strict=True)
    ):
        is_mapped = number < len(trees.mapped)
        osm_id, tags = trees.mapped[number] if is_mapped else (f"T-{number:05d}", {})
        yield (
            Point(round(x, 2), round(y, 2), round(float(level[number]), 2)),
            {
                "tree_id": osm_id,
                "kind": _kind_of(tags, height),
                "height": round(height, 1),
                "crown": round(2.0 * radius, 1),
                "origin": "mapped" if is_mapped else "simulated",
                "genus": tags.get("genus"),
                "species": tags.get("species"),
            },
        )


def _kind_of(tags: Mapping[str, str], height: float) -> str:
    """The model that shows a tree."""
    if height < _BUSHES_BELOW:
        return "bush"
    return "conifer" if tags.get("leaf_type") == "needleleaved" else "broadleaf_tree"


def _scatter(area: BaseGeometry, count: int, random: np.random.Generator) -> Array:
    """About `count` random points inside `area`, shape (n, 2)."""
    west, south, east, north = area.bounds
    share = area.area / max((east - west) * (north - south), 1.0)
    tries = int(count / max(share, 0.01)) + 1
    x, y = random.uniform(west, east, tries), random.uniform(south, north, tries)
    shapely.prepare(area)
    inside = shapely.contains_xy(area, x, y)
    return np.column_stack([x[inside], y[inside]])
