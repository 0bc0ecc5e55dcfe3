"""Rooms: IndoorGML and IMDF."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.publish.errors import CrsError, InputError
from server.publish.placement_options import PlacementOptions
from server.registry.catalogue import RepresentationKind
from tiles.three_d.check import check_tileset
from tiles.three_d.placement import LocalFrame
from tiles.three_d.read_glb import read_glb

LON, LAT = 114.3, 30.5
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<core:IndoorFeatures xmlns:core="http://www.opengis.net/indoorgml/1.0/core" '
    'xmlns:gml="http://www.opengis.net/gml/3.2" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'xmlns:nav="http://www.opengis.net/indoorgml/1.0/navigation"><core:primalSpaceFeatures><core:PrimalSpaceFeatures>'
)
TAIL = "</core:PrimalSpaceFeatures></core:primalSpaceFeatures></core:IndoorFeatures>"


def _solid(x: float, y: float, z: float, wide: float, deep: float, high: float, *, srs: str = "") -> str:
    a, b, c, d = (x, y), (x + wide, y), (x + wide, y + deep), (x, y + deep)
    low, top = z, z + high
    faces = [
        [(*p, low) for p in (a, d, c, b)],
        [(*p, top) for p in (a, b, c, d)],
        *([(*p, low), (*q, low), (*q, top), (*p, top)] for p, q in ((a, b), (b, c), (c, d), (d, a))),
    ]
    members = "".join(
        "<gml:surfaceMember><gml:Polygon><gml:exterior><gml:LinearRing><gml:posList>"
        + " ".join(f"{v:.7f}" for p in (*face, face[0]) for v in p)
        + "</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon></gml:surfaceMember>"
        for face in faces
    )
    return f'<gml:Solid{srs} srsDimension="3"><gml:exterior><gml:Shell>{members}</gml:Shell></gml:exterior></gml:Solid>'


def _cell(name: str, geometry: str, kind: str = "core:CellSpace", label: str = "") -> str:
    return (
        f'<core:cellSpaceMember><{kind} gml:id="{name}"><gml:name>{label or name}</gml:name><nav:usage>office</nav:usage>'
        f"<core:cellSpaceGeometry>{geometry}</core:cellSpaceGeometry></{kind}></core:cellSpaceMember>"
    )


def _three(solid: str) -> str:
    return f"<core:Geometry3D>{solid}</core:Geometry3D>"


def _metres(result: Any) -> np.ndarray:
    folder = result.collection.path_of(RepresentationKind.TILESET_3D).parent
    corners = [read_glb(file.read_bytes()).triangles()[0] for file in folder.rglob("*.glb")]
    return LocalFrame.at(LON, LAT, 0.0).to_local(np.concatenate(corners).reshape(-1, 3))


def _place(*place: float) -> dict[str, Any]:
    return {"placement": PlacementOptions(place=place), "vertical": "ellipsoidal"}


FLOOR = (
    "<core:Geometry2D><gml:Polygon><gml:exterior><gml:LinearRing><gml:posList srsDimension='3'>"
    "20 0 0 20 5 0 25 5 0 25 0 0 20 0 0</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon></core:Geometry2D>"
)


def test_cells_by_solid_and_by_floor(publisher, tmp_path):
    file = tmp_path / "rooms.gml"
    cells = [
        _cell("r1", _three(_solid(0, 0, 0, 10, 6, 3)), label="会议室"),
        _cell("r2", _three(_solid(0, 0, 4, 10, 6, 3)), kind="nav:TransitionSpace"),
        _cell("r3", FLOOR),
        _cell("r4", "<core:Geometry3D xlink:href='#nothing'/>"),
        _cell("r5", _three("<gml:Solid><gml:exterior><gml:Shell/></gml:exterior></gml:Solid>")),
    ]
    file.write_text(HEAD + "".join(cells) + TAIL)
    result = publisher.publish(file, collection="rooms", scene=_place(LON, LAT, 50.0))
    (columns,) = publisher.store(result).slices()
    by_id = dict(zip(columns.ids, columns.columns["name"], strict=True))
    assert by_id == {"r1": "会议室", "r2": "r2", "r3": "r3"}
    assert dict(zip(columns.ids, columns.columns["type"], strict=True))["r2"] == "TransitionSpace"
    corners = _metres(result)
    assert corners.min(axis=0) == pytest.approx([0, 0, 50], abs=0.05)
    assert corners.max(axis=0) == pytest.approx([25, 6, 57], abs=0.05)
    assert any("r4" in warning or "no geometry" in warning for warning in result.warnings)
    assert check_tileset(result.collection.path_of(RepresentationKind.TILESET_3D).parent) == []


def test_cells_in_a_crs_need_no_place(publisher, tmp_path):
    file = tmp_path / "rooms.gml"
    solid = _solid(529_000, 3_375_000, 20, 10, 6, 3, srs=' srsName="EPSG:4547"')
    file.write_text(HEAD + _cell("r1", _three(solid)) + TAIL)
    result = publisher.publish(file, collection="rooms", scene={"vertical": "ellipsoidal"})
    assert result.count == 1
    west, south, bottom, _, _, top = result.collection.bbox
    assert (west, south) == pytest.approx((114.302, 30.493), abs=0.02)
    assert (bottom, top) == pytest.approx((20, 23), abs=0.2)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (HEAD + _cell("r1", _three(_solid(0, 0, 0, 1, 1, 1))) + TAIL, CrsError),
        (HEAD.replace("?>", '?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>') + _cell("r", _three(_solid(0, 0, 0, 1, 1, 1)), label="&a;") + TAIL, InputError),
        (HEAD + _cell("r1", _three(_solid(0, 0, 0, 1, 1, 1))), InputError),
        (HEAD + TAIL, InputError),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(publisher, tmp_path, content, error):
    file = tmp_path / "rooms.gml"
    file.write_text(content)
    scene = {} if error is CrsError else _place(LON, LAT, 0.0)
    with pytest.raises(error):
        publisher.publish(file, collection="rooms", scene=scene)
    assert publisher.leftovers() == []


def _imdf(path: Path, **replaced: Any) -> Path:
    ring = [[LON, LAT], [LON + 1e-4, LAT], [LON + 1e-4, LAT + 1e-4], [LON, LAT + 1e-4], [LON, LAT]]

    def collection(*features: dict[str, Any]) -> dict[str, Any]:
        return {"type": "FeatureCollection", "features": [{"type": "Feature", **one} for one in features]}

    polygon = {"type": "Polygon", "coordinates": [ring]}
    files: dict[str, Any] = {
        "manifest.json": {"version": "1.0.0", "language": "zh"},
        "venue.geojson": collection(
            {"id": "v", "geometry": polygon, "properties": {"name": {"zh": "博物馆", "en": "Museum"}}}
        ),
        "level.geojson": collection(
            {
                "id": "l0",
                "geometry": polygon,
                "properties": {"ordinal": 0, "short_name": {"en": "1F"}, "name": {"en": "Ground"}},
            },
            {"id": "l1", "geometry": polygon, "properties": {"ordinal": 1, "short_name": {"en": "2F"}}},
            {"id": "b1", "geometry": polygon, "properties": {"ordinal": -1, "short_name": {"en": "B1"}}},
        ),
        "unit.geojson": collection(
            *(
                {
                    "id": f"u-{level}",
                    "geometry": polygon,
                    "properties": {"level_id": level, "category": "room", "name": {"zh": "展厅"}},
                }
                for level in ("l0", "l1", "b1", "lost")
            )
        ),
    } | replaced
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"venue/{name}", content if isinstance(content, bytes) else json.dumps(content))
    return path


def test_units_stand_on_their_levels(publisher, tmp_path):
    result = publisher.publish(_imdf(tmp_path / "museum.zip"), collection="museum", scene={})
    (columns,) = publisher.store(result).slices()
    found = {
        name: (level, base, top)
        for name, level, base, top in zip(
            columns.ids,
            columns.columns["level"],
            columns.columns["base"],
            columns.columns["top"],
            strict=True,
        )
    }
    assert found["u-l0"] == ("1F", 0.0, 3.7)
    assert found["u-l1"] == ("2F", 4.0, 7.7)
    assert found["u-b1"] == ("B1", -4.0, -0.3)
    assert set(columns.columns["name"]) == {"展厅"}
    assert set(columns.columns["venue"]) == {"博物馆"}
    corners = _metres(result)
    assert corners[:, 2].max() == pytest.approx(7.7, abs=0.05)
    assert RepresentationKind.TILESET_3D in result.kinds


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"features": [1]}', b'{"features": "all"}'])
def test_broken_imdf_is_refused(publisher, tmp_path, content):
    with pytest.raises(InputError, match="IMDF"):
        publisher.publish(_imdf(tmp_path / "museum.zip", **{"unit.geojson": content}), collection="museum")


@pytest.mark.parametrize("file", ["venue.geojson", "level.geojson"])
def test_imdf_whose_properties_are_no_objects(publisher, tmp_path, file):
    content = {"type": "FeatureCollection", "features": [{"type": "Feature", "id": "l0", "properties": [1]}]}
    result = publisher.publish(
        _imdf(tmp_path / "museum.zip", **{file: content}), collection="museum", scene={}
    )
    assert result.count == 4
