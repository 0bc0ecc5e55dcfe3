"""What is simulated under the demo city beside its pipes: manholes, boreholes with the layers they meet, and a metro tunnel.

Layers follow the shape of the simulated ground: fill in the town, clay towards the shore, till, and bedrock that comes up
where the ground is high. It is plausible for the south coast of Finland, and observed nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, Point
from shapely.geometry.base import BaseGeometry

from server.demo.ground import Ground, smooth_noise
from server.demo.openstreetmap import Extract
from server.demo.pipes import NETWORKS, pipe_features
from server.demo.vector_files import Column

_SEED = 60175
MANHOLE_COLUMNS = (
    Column("manhole_id", "str:24"),
    Column("kind", "str:20"),
    Column("井深", "float"),
    Column("井径", "float"),
    Column("地面高程", "float"),
    Column("pipes", "int"),
)
BOREHOLE_COLUMNS = (
    Column("borehole_id", "str:24"),
    Column("孔口高程", "float"),
    Column("depth", "float"),
    Column("drilled", "int"),
    Column("intervals", "str:2000"),
)
TUNNEL_COLUMNS = (
    Column("name", "str:40"),
    Column("name_zh", "str:40"),
    Column("tube", "str:20"),
    Column("width", "float"),
    Column("height", "float"),
)
_LAYERS = (("fill", "杂填土"), ("clay", "黏土"), ("glacial till", "冰碛土"), ("granite", "花岗岩"))
_BOREHOLES_ACROSS = 7
_DRILLED_BELOW_ROCK = 24.0
_TUNNEL_DEPTH = 24.0
_TUNNEL_SPACING = 14.0
_TUNNEL_STEP = 20.0

type Feature = tuple[BaseGeometry, dict[str, Any]]
type Array = NDArray[np.float64]


def manhole_features(extract: Extract, ground: Ground) -> Iterator[Feature]:
    """Manholes (points with z, their covers) where three pipes or more of a network meet."""
    depths = {network.name: network.depth for network in NETWORKS}
    ends: Counter[tuple[str, float, float]] = Counter()
    for line, values in pipe_features(extract, ground):
        for x, y, *_ in (line.coords[0], line.coords[-1]):
            ends[values["kind"], round(x, 1), round(y, 1)] += 1
    for number, ((kind, x, y), count) in enumerate(sorted(ends.items())):
        if count < 3 or kind == "heat":
            continue
        level = round(float(ground.sample(np.array([x]), np.array([y]))[0]), 2)
        yield (
            Point(x, y, level),
            {
                "manhole_id": f"M-{number:05d}",
                "kind": kind,
                "井深": round(depths[kind] + 0.6, 2),
                "井径": 1.0 if count > 3 else 0.8,
                "地面高程": level,
                "pipes": count,
            },
        )


def borehole_features(ground: Ground) -> Iterator[Feature]:
    """Boreholes on a loose grid over the land, each with its intervals as a JSON list."""
    random = np.random.default_rng(_SEED)
    west, south, east, north = ground.bounds
    tops = _layer_tops(ground)
    number = 0
    for row in range(_BOREHOLES_ACROSS):
        for column in range(_BOREHOLES_ACROSS):
            shift = random.uniform(0.2, 0.8, 2)
            x = west + (column + shift[0]) / _BOREHOLES_ACROSS * (east - west)
            y = south + (row + shift[1]) / _BOREHOLES_ACROSS * (north - south)
            if ground.water.contains(Point(x, y)):
                continue
            number += 1
            levels = [_at(ground, top, x, y) for top in tops]
            levels.append(levels[-1] - _DRILLED_BELOW_ROCK)
            depths = [levels[0] - level for level in levels]
            intervals = [
                {"from": round(start, 2), "to": round(end, 2), "lithology": name, "岩土名称": chinese}
                for (start, end), (name, chinese) in zip(pairwise(depths), _LAYERS, strict=True)
                if round(end, 2) > round(start, 2)
            ]
            yield (
                Point(round(x, 2), round(y, 2), round(levels[0], 2)),
                {
                    "borehole_id": f"B-{number:03d}",
                    "孔口高程": round(levels[0], 2),
                    "depth": round(levels[0] - levels[-1], 2),
                    "drilled": 1985 + int(random.integers(0, 38)),
                    "intervals": orjson.dumps(intervals).decode(),
                },
            )


def _layer_tops(ground: Ground) -> tuple[Array, ...]:
    """Heights of the tops of fill, clay, till and bedrock, on the cells of the ground."""
    heights = ground.heights
    wave = [smooth_noise(heights.shape, 120 / ground.cell, _SEED + number) for number in range(3)]
    fill = 1.6 + 0.5 * wave[0]
    clay = np.clip(9.0 - heights, 0.0, 12.0) * (0.8 + 0.2 * wave[1])
    till = np.maximum(2.2 + 1.2 * wave[2], 0.0)
    below_fill = heights - np.maximum(fill, 0.3)
    below_clay = below_fill - np.maximum(clay, 0.0)
    return heights, below_fill, below_clay, below_clay - till


def _at(ground: Ground, heights: Array, x: float, y: float) -> float:
    layer = Ground(heights, ground.west, ground.north, ground.cell, ground.water)
    return float(layer.sample(np.array([x]), np.array([y]))[0])


def tunnel_features(ground: Ground) -> Iterator[Feature]:
    """Two tubes of a metro across the city, whose floor lies 24 m below the ground's mean, with a wide bend."""
    west, south, east, north = ground.bounds
    share = np.linspace(0.04, 0.96, 200)
    x = west + share * (east - west)
    y = south + (north - south) * (0.42 + 0.16 * np.tanh((share - 0.5) * 6.0))
    axis = LineString(np.column_stack((x, y)))
    floor = float(np.mean(ground.sample(x, y))) - _TUNNEL_DEPTH
    for tube, side in (("eastbound", -0.5), ("westbound", 0.5)):
        line = shapely.segmentize(axis.offset_curve(side * _TUNNEL_SPACING), _TUNNEL_STEP)
        places = shapely.get_coordinates(line)
        along = np.linspace(0.0, 1.0, len(places))
        z = floor - 4.0 * np.sin(np.pi * along)
        yield (
            LineString(np.round(np.column_stack((places, z)), 3)),
            {"name": "Metro line M", "name_zh": "地铁M线", "tube": tube, "width": 6.4, "height": 6.0},
        )


BOREHOLE_COLOURS: Mapping[str, str] = {
    "fill": "#9C8F7A",
    "clay": "#B5651D",
    "glacial till": "#8F9779",
    "granite": "#C98A94",
}
