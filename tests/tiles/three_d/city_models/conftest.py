"""A box as CityJSON and as CityGML, and a way to bring files into a models store and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiles.three_d.city_models import (
    ModelStore,
    ModelStoreWriter,
    common_crs,
    import_city_models,
    open_city_model,
)
from tiles.three_d.city_models.prepare import PreparedBatch
from tiles.three_d.city_models.shapes import ModelTriangles
from tiles.three_d.objects import MeshPart
from tiles.three_d.placement import LocalFrame
from tiles.three_d.report import ObjectProblem, ProblemLog
from tiles.three_d.vertical import VerticalReference

EAST, NORTH = 84_700.0, 447_500.0
# 10 x 20 x 6 m, faces outwards: ground, roof, four walls.
CORNERS = [[0, 0, 0], [10, 0, 0], [10, 20, 0], [0, 20, 0], [0, 0, 6], [10, 0, 6], [10, 20, 6], [0, 20, 6]]
FACES = [[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]]
KINDS = ["GroundSurface", "RoofSurface", "WallSurface", "WallSurface", "WallSurface", "WallSurface"]
GML_HEAD = {
    2: 'xmlns="http://www.opengis.net/citygml/2.0" xmlns:bldg="http://www.opengis.net/citygml/building/2.0" '
    'xmlns:con="http://www.opengis.net/citygml/building/2.0" xmlns:gen="http://www.opengis.net/citygml/generics/2.0" '
    'xmlns:frn="http://www.opengis.net/citygml/cityfurniture/2.0" xmlns:dem="http://www.opengis.net/citygml/relief/2.0" '
    'xmlns:app="http://www.opengis.net/citygml/appearance/2.0" xmlns:gml="http://www.opengis.net/gml" '
    'xmlns:xlink="http://www.w3.org/1999/xlink"',
    3: 'xmlns="http://www.opengis.net/citygml/3.0" xmlns:bldg="http://www.opengis.net/citygml/building/3.0" '
    'xmlns:con="http://www.opengis.net/citygml/construction/3.0" xmlns:gen="http://www.opengis.net/citygml/generics/3.0" '
    'xmlns:app="http://www.opengis.net/citygml/appearance/3.0" xmlns:gml="http://www.opengis.net/gml/3.2" '
    'xmlns:xlink="http://www.w3.org/1999/xlink"',
}


def cityjson(**changes: Any) -> dict[str, Any]:
    """One building, a level 1 box with semantics, in EPSG:7415."""
    solid = {
        "type": "Solid",
        "lod": "1.2",
        "boundaries": [[[face] for face in FACES]],
        "semantics": {"surfaces": [{"type": kind} for kind in KINDS], "values": [[0, 1, 2, 3, 4, None]]},
    }
    return {
        "type": "CityJSON",
        "version": "2.0",
        "metadata": {"referenceSystem": "https://www.opengis.net/def/crs/EPSG/0/7415"},
        "transform": {"scale": [0.001] * 3, "translate": [EAST, NORTH, 1.0]},
        "vertices": [[1000 * part for part in corner] for corner in CORNERS],
        "CityObjects": {"b1": {"type": "Building", "attributes": {"storeys": 2}, "geometry": [solid]}},
        **changes,
    }


def ring(corners: list[list[float]], *, north_first: bool = False) -> str:
    """A closed posList."""
    closed = [*corners, corners[0]]
    order = (1, 0, 2) if north_first else (0, 1, 2)
    return " ".join(f"{place[axis]:.3f}" for place in closed for axis in order)


def moved(corners: list[list[float]]) -> list[list[float]]:
    """Corners in the CRS."""
    return [[x + EAST, y + NORTH, z + 1.0] for x, y, z in corners]


def polygon(corners: list[list[float]], name: str = "", *, north_first: bool = False) -> str:
    """A gml:Polygon of one ring, whose id is that of the polygon with -r."""
    ids = (f' gml:id="{name}"', f' gml:id="{name}-r"') if name else ("", "")
    return (
        f"<gml:Polygon{ids[0]}><gml:exterior><gml:LinearRing{ids[1]}><gml:posList>{ring(corners, north_first=north_first)}"
        "</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon>"
    )


def faces() -> list[list[list[float]]]:
    """The box's faces as corners in the CRS."""
    places = moved([[float(part) for part in corner] for corner in CORNERS])
    return [[places[corner] for corner in face] for face in FACES]


@dataclass
class Imported:
    """A models store and what was said while it was made."""

    store: ModelStore
    log: ProblemLog
    batches: list[PreparedBatch] = field(default_factory=list)

    @property
    def problems(self) -> list[ObjectProblem]:
        return self.log.listed

    def parts(self, *ids: str, lod_below: float | None = None) -> list[MeshPart]:
        """The surfaces of objects in a frame at the first one."""
        records = self.store.objects(list(ids))
        assert records["known"].all(), f"not stored: {ids}"
        box = records["box"][0]
        frame = LocalFrame.at(box[0], box[1], float(records["bottom"][0]))
        found = self.store.surfaces(records["number"].astype(np.int64), lod_below)
        rows = np.arange(len(ids))
        return ModelTriangles(found, rows, records["origin"], frame).parts(self.store)

    def volume(self, name: str, lod_below: float | None = None) -> float:
        """Signed volume (m3): triangles facing outwards count above 0."""
        total = 0.0
        for part in self.parts(name, lod_below=lod_below):
            a, b, c = (part.mesh.positions[part.mesh.triangles[:, corner]] for corner in range(3))
            total += float(np.sum(a * np.cross(b, c))) / 6.0
        return total

    def area(self, name: str) -> float:
        """Of all surfaces, m2."""
        total = 0.0
        for part in self.parts(name):
            a, b, c = (part.mesh.positions[part.mesh.triangles[:, corner]] for corner in range(3))
            total += float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2.0
        return total

    def ids(self) -> list[str]:
        return [batch.batch.heads[row].id for batch in self.batches for row in batch.rows.tolist()]


@pytest.fixture
def bring(tmp_path: Path) -> Callable[..., Imported]:
    """Bring files (paths, CityJSON documents, or texts of CityGML) into a store."""

    def call(*given: Any, crs: str | None = None) -> Imported:
        paths = []
        for number, item in enumerate(given):
            path = item
            if isinstance(item, dict):
                path = tmp_path / f"city-{number}.json"
                path.write_text(json.dumps(item), encoding="utf-8")
            elif isinstance(item, str):
                path = tmp_path / f"city-{number}.gml"
                path.write_text(item, encoding="utf-8")
            paths.append(path)
        result = Imported(None, ProblemLog())  # type: ignore[arg-type]  # set below
        files = [open_city_model(path, tmp_path) for path in paths]
        store = tmp_path / "scene" / "models.sqlite"
        with ModelStoreWriter(store) as writer:
            import_city_models(
                files,
                writer,
                common_crs(files, crs),
                VerticalReference.offset(43.0),
                result.log,
                take=lambda prepared, keep: result.batches.append(prepared),
                watch=lambda done: None,
            )
        result.store = ModelStore(store)
        return result

    return call


@pytest.fixture
def city() -> Callable[..., dict[str, Any]]:
    """A CityJSON document of one building."""
    return cityjson


@pytest.fixture
def gml() -> Callable[..., str]:
    """A CityGML document: members of the given version, with an srsName."""

    def call(*members: str, version: int = 2, srs: str = "EPSG:7415", more: str = "") -> str:
        inside = "".join(f"<cityObjectMember>{member}</cityObjectMember>" for member in members)
        envelope = (
            f'<gml:boundedBy><gml:Envelope srsName="{srs}" srsDimension="3"/></gml:boundedBy>' if srs else ""
        )
        return f'<?xml version="1.0"?><CityModel {GML_HEAD[version]}>{envelope}{inside}{more}</CityModel>'

    return call


@pytest.fixture
def shapes() -> Any:
    """The helpers that write polygons."""
    from types import SimpleNamespace

    return SimpleNamespace(polygon=polygon, faces=faces, moved=moved, ring=ring, kinds=KINDS, head=GML_HEAD)
