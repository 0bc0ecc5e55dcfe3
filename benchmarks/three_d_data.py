"""Inputs of the benchmark of 3D: footprints in an embedded store, an LoD2 city, a network of pipes, an elevation model.

Equal for equal arguments; made at the first run, taken again later.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from benchmarks.city import FIELDS
from benchmarks.dataset import batches
from providers.features.schema import FieldDefinition
from providers.features.store.writer import FeatureStoreWriter

ZONE = "EPSG:4547"
"""CGCS2000 / 3-degree Gauss-Kruger CM 114E: metres around the benchmark's city."""

_HOUSES_A_SIDE = 1000
_BATCH = 20_000
FOOTPRINT_FIELDS = ("kind", "height", "floors", "year_built", "energy")
PIPE_FIELDS = (
    FieldDefinition("kind", "string"),
    FieldDefinition("diameter", "number"),
    FieldDefinition("depth", "number"),
    FieldDefinition("material", "string"),
    FieldDefinition("laid", "string", "date"),
)


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """A file, made aside and then put in place, so that an interrupted start is begun anew."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"unfinished-{path.name}")
        aside.unlink(missing_ok=True)
        make(aside)
        aside.rename(path)
    return path


def footprints(count: int) -> Callable[[Path], None]:
    """Writes the benchmark's polygons and five of its attributes into an embedded store."""
    fields = [field for field in FIELDS if field.name in FOOTPRINT_FIELDS]

    def write(path: Path) -> None:
        with FeatureStoreWriter(path, fields=fields, storage_crs="EPSG:4326") as writer:
            for geometries, columns in batches(count):
                writer.add(geometries, {name: columns[name] for name in FOOTPRINT_FIELDS})
            writer.finish()

    return write


def extruded(folder: Path, count: int) -> int:
    """The first `count` of those polygons as closed bodies, a WKB file each, in geocentric metres: what py3dtiles reads."""
    folder.mkdir(parents=True, exist_ok=True)
    to_globe = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    written = 0
    for geometries, columns in batches(count):
        rings = shapely.get_coordinates(geometries).reshape(len(geometries), -1, 2)
        for ring, height in zip(rings, columns["height"], strict=True):
            (folder / f"{written:06d}.wkb").write_bytes(_body(ring, float(height), to_globe))
            written += 1
    return written


def _body(ring: NDArray[np.float64], height: float, to_globe: Transformer) -> bytes:
    """A ring (n, 2; closed; degrees) raised by `height` metres."""
    levels = [
        np.column_stack(to_globe.transform(ring[:, 0], ring[:, 1], np.full(len(ring), up)))
        for up in (0.0, height)
    ]
    low, high = levels
    faces = [low[::-1], high]
    faces += [
        np.array([low[one], low[one + 1], high[one + 1], high[one], low[one]]) for one in range(len(ring) - 1)
    ]
    body = shapely.MultiPolygon([shapely.Polygon(face) for face in faces])
    return bytes(shapely.to_wkb(body, output_dimension=3, flavor="iso"))


def city(count: int) -> Callable[[Path], None]:
    """Writes `count` houses with gabled roofs, semantic surfaces and five attributes as CityJSON 2.0."""

    def write(path: Path) -> None:
        random = np.random.default_rng(7)
        vertices, objects = [], {}
        for number in range(count):
            east, north = number % _HOUSES_A_SIDE * 25_000, number // _HOUSES_A_SIDE * 25_000
            width, depth = (int(one) for one in random.integers(6_000, 15_000, 2))
            eaves, ridge = int(random.integers(3_000, 9_000)), int(random.integers(1_000, 4_000))
            vertices += _corners(east, north, width, depth, eaves, eaves + ridge)
            objects[f"house-{number}"] = _house(10 * number, number, random)
        path.write_bytes(
            orjson.dumps(
                {
                    "type": "CityJSON",
                    "version": "2.0",
                    "transform": {"scale": [0.001] * 3, "translate": [500_000.0, 2_500_000.0, 4.0]},
                    "metadata": {"referenceSystem": f"https://www.opengis.net/def/crs/EPSG/0/{ZONE[5:]}"},
                    "CityObjects": objects,
                    "vertices": vertices,
                }
            )
        )

    return write


def _corners(x: int, y: int, width: int, depth: int, eaves: int, ridge: int) -> list[list[int]]:
    """Ten vertices: ground, eaves, and the two ends of the ridge."""
    plan = [(x, y), (x + width, y), (x + width, y + depth), (x, y + depth)]
    ground, top = ([[*corner, up] for corner in plan] for up in (0, eaves))
    middle = x + width // 2
    return [*ground, *top, [middle, y, ridge], [middle, y + depth, ridge]]


def _house(first: int, number: int, random: np.random.Generator) -> dict[str, object]:
    ground, sides = [3, 2, 1, 0], [[1, 2, 6, 5], [3, 0, 4, 7]]
    gables, roofs = [[0, 1, 5, 8, 4], [2, 3, 7, 9, 6]], [[5, 6, 9, 8], [7, 4, 8, 9]]
    faces = [ground, *sides, *gables, *roofs]
    solid = {
        "type": "Solid",
        "lod": "2.2",
        "boundaries": [[[[first + corner for corner in face]] for face in faces]],
        "semantics": {
            "surfaces": [{"type": "GroundSurface"}, {"type": "WallSurface"}, {"type": "RoofSurface"}],
            "values": [[0, 1, 1, 1, 1, 2, 2]],
        },
    }
    attributes = {
        "storeys": int(random.integers(1, 4)),
        "year_built": int(random.integers(1950, 2026)),
        "use": ("residential", "office", "school")[number % 3],
        "area": round(float(random.uniform(40, 300)), 1),
        "street": f"深南大道{number % 997}号",
    }
    return {"type": "Building", "attributes": attributes, "geometry": [solid]}


def pipes(segments: int) -> Callable[[Path], None]:
    """Writes lines of ten segments each, with kind, diameter, depth, material and date, into an embedded store."""

    def write(path: Path) -> None:
        random = np.random.default_rng(9)
        with FeatureStoreWriter(path, fields=PIPE_FIELDS, storage_crs=ZONE) as writer:
            for start in range(0, segments // 10, _BATCH):
                size = min(_BATCH, segments // 10 - start)
                starts = random.uniform((480_000, 2_490_000), (510_000, 2_510_000), (size, 1, 2))
                steps = random.normal(0, 1, (size, 10, 2)) + random.normal(0, 4, (size, 1, 2))
                lines = np.concatenate((starts, starts + np.cumsum(steps * 4, axis=1)), axis=1)
                day = random.integers(0, 9000, size)
                columns: dict[str, Any] = {
                    "kind": [("污水", "雨水", "给水", "燃气")[number % 4] for number in range(size)],
                    "diameter": random.choice([0.1, 0.2, 0.3, 0.6, 0.8], size),
                    "depth": np.round(random.uniform(0.8, 5.0, size), 2),
                    "material": [("PE", "铸铁", "混凝土")[number % 3] for number in range(size)],
                    "laid": [str(np.datetime64("2000-01-01") + np.timedelta64(int(one), "D")) for one in day],
                }
                names = [f"p{start + number}" for number in range(size)]
                writer.add(np.asarray(shapely.linestrings(lines)), columns, names)
            writer.finish()

    return write
