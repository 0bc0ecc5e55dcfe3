"""Models drawn in coordinates of their own: glTF, OBJ, PLY, STL and IFC, placed and published."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import ifcopenshell
import ifcopenshell.api.aggregate
import ifcopenshell.api.context
import ifcopenshell.api.geometry
import ifcopenshell.api.georeference
import ifcopenshell.api.project
import ifcopenshell.api.pset
import ifcopenshell.api.root
import ifcopenshell.api.spatial
import ifcopenshell.api.unit
import numpy as np
import pytest
import shapely
import trimesh
from PIL import Image

from server.publish.errors import CrsError, InputError, OptionError
from server.publish.placement_options import PlacementOptions
from server.registry.catalogue import RepresentationKind
from tiles.three_d.check import check_tileset
from tiles.three_d.city_models.images import ImageLimits
from tiles.three_d.placement import to_ecef
from tiles.three_d.read_glb import read_glb

LON, LAT = 114.3, 30.5


def _placed(*place: float, **more: float) -> dict[str, Any]:
    return {"placement": PlacementOptions(place=place, **more), "vertical": "ellipsoidal"}


def _hall(path: Path, *, y_up: bool) -> Path:
    """A hall 10 m wide, 6 m deep and 4 m high, its origin at the middle of its floor."""
    box = trimesh.creation.box((10, 4, 6) if y_up else (10, 6, 4))
    box.apply_translation((0, 2, 0) if y_up else (0, 0, 2))
    scene = trimesh.Scene()
    scene.add_geometry(box, node_name="hall", geom_name="hall")
    path.write_bytes(scene.export(file_type="glb")) if y_up else box.export(path)
    return path


def _corners(result: Any) -> np.ndarray:
    """Corners of all triangles in the finest tiles, longitude, latitude and height left to the caller: ECEF."""
    folder = result.collection.path_of(RepresentationKind.TILESET_3D).parent
    found = [read_glb(file.read_bytes()).triangles()[0] for file in folder.rglob("*.glb")]
    return np.concatenate(found).reshape(-1, 3)


def _metres(result: Any) -> np.ndarray:
    """East, north, up of the corners around the place."""
    from tiles.three_d.placement import LocalFrame

    return LocalFrame.at(LON, LAT, 0.0).to_local(_corners(result))


@pytest.mark.parametrize("name", ["hall.glb", "hall.obj", "hall.ply", "hall.stl"])
def test_a_hall_stands_where_it_was_put(publisher, tmp_path, name):
    file = _hall(tmp_path / name, y_up=name.endswith("glb"))
    result = publisher.publish(file, collection="hall", scene=_placed(LON, LAT, 20.0))
    corners = _metres(result)
    assert corners.min(axis=0) == pytest.approx([-5, -3, 20], abs=0.05)
    assert corners.max(axis=0) == pytest.approx([5, 3, 24], abs=0.05)
    folder = result.collection.path_of(RepresentationKind.TILESET_3D).parent
    assert check_tileset(folder) == []
    (columns,) = publisher.store(result).slices()
    assert columns.columns["height"][0] == pytest.approx(4.0, abs=0.01)
    assert RepresentationKind.MAP in result.kinds


def test_heading_turns_clockwise_and_scale_stretches(publisher, tmp_path):
    file = _hall(tmp_path / "hall.obj", y_up=False)
    turned = publisher.publish(file, collection="a", scene=_placed(LON, LAT, 0.0, heading=90.0))
    assert _metres(turned).max(axis=0) == pytest.approx([3, 5, 4], abs=0.05)
    small = publisher.publish(file, collection="b", scene=_placed(LON, LAT, 0.0, scale=0.1))
    assert _metres(small).max(axis=0) == pytest.approx([0.5, 0.3, 0.4], abs=0.05)
    arrow = trimesh.Trimesh(
        [[0, 10, 0], [-1, 0, 0], [1, 0, 0], [0, 0, 1]], [[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]]
    )
    arrow.export(tmp_path / "arrow.stl")
    result = publisher.publish(
        tmp_path / "arrow.stl", collection="c", scene=_placed(LON, LAT, 0.0, heading=90.0)
    )
    assert _metres(result)[:, 0].max() == pytest.approx(10.0, abs=0.05), "forward points east"


def test_on_the_ground_of_a_raster(publisher, tmp_path):
    import rasterio

    ground = tmp_path / "ground.tif"
    with rasterio.open(
        ground, "w", driver="GTiff", width=10, height=10, count=1, dtype="float32", crs="EPSG:4326",
        transform=rasterio.transform.from_bounds(LON - 0.01, LAT - 0.01, LON + 0.01, LAT + 0.01, 10, 10),
    ) as file:  # fmt: skip
        file.write(np.full((1, 10, 10), 33.0, dtype=np.float32))
    scene = _placed(LON, LAT) | {"ground": ground}
    result = publisher.publish(_hall(tmp_path / "hall.glb", y_up=True), collection="hall", scene=scene)
    assert _metres(result)[:, 2].min() == pytest.approx(33.0, abs=0.05)
    with pytest.raises(OptionError, match="no height at"):
        publisher.publish(
            tmp_path / "hall.glb", collection="far", scene=_placed(10.0, 10.0) | {"ground": ground}
        )


def test_texture_of_a_glb_is_kept(publisher, tmp_path):
    image = Image.new("RGB", (8, 8), (200, 30, 30))
    quad = trimesh.Trimesh(
        [[0, 0, 0], [5, 0, 0], [5, 5, -2], [0, 5, -2]], [[0, 1, 2], [0, 2, 3]], process=False
    )
    quad.visual = trimesh.visual.TextureVisuals(
        uv=[[0, 0], [1, 0], [1, 1], [0, 1]],
        material=trimesh.visual.material.PBRMaterial(baseColorTexture=image),
    )
    (tmp_path / "sign.glb").write_bytes(trimesh.Scene(quad).export(file_type="glb"))
    result = publisher.publish(tmp_path / "sign.glb", collection="sign", scene=_placed(LON, LAT, 0.0))
    folder = result.collection.path_of(RepresentationKind.TILESET_3D).parent
    textures = [
        part.material.texture for file in folder.rglob("*.glb") for part in read_glb(file.read_bytes()).parts
    ]
    assert any(texture is not None for texture in textures)
    assert not [warning for warning in result.warnings if "texture" in warning]


def test_without_a_place_it_is_refused_with_the_way_out(publisher, tmp_path):
    with pytest.raises(CrsError, match="--place LON,LAT,HEIGHT"):
        publisher.publish(_hall(tmp_path / "hall.glb", y_up=True), collection="hall")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.glb", b"glTF" + bytes(30)),
        ("b.glb", b"glTF\x02\x00\x00\x00\xff\xff\xff\x7f\xff\xff\xff\x7fJSON{"),
        ("c.gltf", b'{"asset": {"version": "2.0"}, "meshes": [{"primitives": [{"attributes": {"POSITION": 7}}]}], "nodes": [{"mesh": 0}], "scenes": [{"nodes": [0]}]}'),
        ("d.gltf", b'{"asset": {"version": "2.0"}, "buffers": [{"uri": "../../secret.bin", "byteLength": 4}], "scenes": []}'),
        ("e.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n"),
        ("f.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"),
        ("g.obj", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"),
        ("h.stl", b"solid x\nendsolid x\n"),
        ("i.ply", b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nelement face 1\nend_header\n1\n"),
        ("j.obj", b"v 0 0 0\nv 90000 0 0\nv 0 90000 0\nf 1 2 3\n"),
        ("k.ifc", b"ISO-10303-21;\nHEADER;\nFILE_SCHEMA(('IFC4'));\nENDSEC;\nDATA;\n#1=IFCWALL(;\n"),
        ("l.ifc", b"ISO-10303-21;\nHEADER;\nFILE_SCHEMA(('IFC9'));\nENDSEC;\nDATA;\nENDSEC;\nEND-ISO-10303-21;\n"),
    ],
)  # fmt: skip
def test_broken_models_are_refused_and_leave_nothing(publisher, tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError):
        publisher.publish(file, collection="broken", scene=_placed(LON, LAT, 0.0))
    assert publisher.collection("broken") is None
    assert publisher.leftovers() == []


@pytest.mark.parametrize(
    ("accessors", "indices", "reason"),
    [
        ([{"componentType": 5126, "count": 400_000_000, "type": "VEC3"}], None, "divide the model"),
        ([{"componentType": 5126, "count": -1, "type": "VEC3"}], None, "divide the model"),
        (
            [
                {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
                {"bufferView": 1, "componentType": 5125, "count": 3, "type": "SCALAR"},
            ],
            1,
            "none of its 3 vertices",
        ),
    ],
)
def test_numbers_that_a_gltf_does_not_have(publisher, tmp_path, accessors, indices, reason):
    """A count that would take gigabytes, a corner that is not there."""
    data = (
        np.array([[0, 0, 0], [9, 0, 0], [0, 0, 9]], "<f4").tobytes()
        + np.array([0, 1, 4_000_000_000], "<u4").tobytes()
    )
    primitive = {"attributes": {"POSITION": 0}} | ({} if indices is None else {"indices": indices})
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": [
            {"buffer": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": 12},
        ],
        "buffers": [
            {
                "uri": "data:application/octet-stream;base64," + base64.b64encode(data).decode(),
                "byteLength": 48,
            }
        ],
    }
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    with pytest.raises(InputError, match=reason):
        publisher.publish(tmp_path / "a.gltf", collection="broken", scene=_placed(LON, LAT, 0.0))


def test_no_path_of_this_machine_is_published(publisher, tmp_path):
    file = _hall(tmp_path / "hall.obj", y_up=False)
    result = publisher.publish(file, collection="hall", scene=_placed(LON, LAT, 0.0))
    (columns,) = publisher.store(result).slices()
    assert str(tmp_path) not in f"{columns.ids} {columns.columns}"


def test_huge_textures_are_left_out_and_small_ones_read_once(publisher, tmp_path, monkeypatch):
    from tiles.three_d.placed_models import meshes

    monkeypatch.setattr(meshes, "ImageLimits", lambda: ImageLimits(pixels=100, side=4))
    for side, kept in ((10, True), (11, False)):
        quad = trimesh.Trimesh([[0, 0, 0], [5, 0, 0], [5, 5, -2]], [[0, 1, 2]], process=False)
        quad.visual = trimesh.visual.TextureVisuals(
            uv=[[0, 0], [1, 0], [1, 1]],
            material=trimesh.visual.material.PBRMaterial(
                baseColorTexture=Image.new("RGB", (side, side), (200, 30, 30))
            ),
        )
        file = tmp_path / f"sign-{side}.glb"
        file.write_bytes(trimesh.Scene(quad).export(file_type="glb"))
        result = publisher.publish(file, collection=f"sign-{side}", scene=_placed(LON, LAT, 0.0))
        folder = result.collection.path_of(RepresentationKind.TILESET_3D).parent
        parts = [part for glb in folder.rglob("*.glb") for part in read_glb(glb.read_bytes()).parts]
        assert any(part.material.texture is not None for part in parts) is kept
        assert any("pixels" in warning for warning in result.warnings) is not kept


@pytest.mark.parametrize(
    "options",
    [
        PlacementOptions(place=(200.0, 10.0)),
        PlacementOptions(place=(0.0, 89.5)),
        PlacementOptions(place=(0.0, 0.0, math.nan)),
        PlacementOptions(place=(0.0, 0.0), scale=0.0),
        PlacementOptions(place=(0.0,)),
        PlacementOptions(heading=10.0),
    ],
)
def test_bad_placements_are_refused(publisher, tmp_path, options):
    with pytest.raises(OptionError):
        publisher.publish(
            _hall(tmp_path / "hall.glb", y_up=True), collection="x", scene={"placement": options}
        )


def test_a_place_is_for_models_only(publisher, tmp_path):
    file = tmp_path / "a.geojson"
    file.write_text(
        json.dumps(
            {"type": "Feature", "geometry": shapely.geometry.mapping(shapely.Point(1, 1)), "properties": {}}
        )
    )
    with pytest.raises(OptionError, match="--place"):
        publisher.publish(file, collection="x", scene=_placed(LON, LAT))


def _ifc(path: Path, *, conversion: bool = False, site: bool = False) -> Path:
    """A wall 4 m long, 0.2 m thick and 3 m high, from the origin along x; drawn in millimetres."""
    model = ifcopenshell.api.project.create_file(version="IFC4")
    project = ifcopenshell.api.root.create_entity(model, ifc_class="IfcProject", name="P")
    length = ifcopenshell.api.unit.add_si_unit(model, unit_type="LENGTHUNIT", prefix="MILLI")
    ifcopenshell.api.unit.assign_unit(model, units=[length])
    context = ifcopenshell.api.context.add_context(model, context_type="Model")
    body = ifcopenshell.api.context.add_context(
        model, context_type="Model", context_identifier="Body", target_view="MODEL_VIEW", parent=context
    )
    place = ifcopenshell.api.root.create_entity(model, ifc_class="IfcSite", name="Site")
    building = ifcopenshell.api.root.create_entity(model, ifc_class="IfcBuilding", name="House")
    storey = ifcopenshell.api.root.create_entity(model, ifc_class="IfcBuildingStorey", name="一层")
    ifcopenshell.api.aggregate.assign_object(model, products=[place], relating_object=project)
    ifcopenshell.api.aggregate.assign_object(model, products=[building], relating_object=place)
    ifcopenshell.api.aggregate.assign_object(model, products=[storey], relating_object=building)
    wall = ifcopenshell.api.root.create_entity(model, ifc_class="IfcWall", name="外墙")
    shape = ifcopenshell.api.geometry.add_wall_representation(
        model, context=body, length=4.0, height=3.0, thickness=0.2
    )
    ifcopenshell.api.geometry.assign_representation(model, product=wall, representation=shape)
    ifcopenshell.api.geometry.edit_object_placement(model, product=wall)
    ifcopenshell.api.spatial.assign_container(model, products=[wall], relating_structure=storey)
    pset = ifcopenshell.api.pset.add_pset(model, product=wall, name="Pset_WallCommon")
    ifcopenshell.api.pset.edit_pset(model, pset=pset, properties={"FireRating": "REI 90", "IsExternal": True})
    empty = ifcopenshell.api.root.create_entity(model, ifc_class="IfcDoor", name="no body")
    assert empty.Representation is None
    if site:
        place.RefLatitude, place.RefLongitude, place.RefElevation = (30, 30, 0), (114, 18, 0), 25_000.0
    if conversion:
        ifcopenshell.api.georeference.add_georeferencing(model)
        ifcopenshell.api.georeference.edit_georeferencing(
            model,
            projected_crs={"Name": "EPSG:4547"},
            coordinate_operation={
                "Eastings": 529_000.0, "Northings": 3_375_000.0, "OrthogonalHeight": 25.0,
                "XAxisAbscissa": 0.0, "XAxisOrdinate": 1.0, "Scale": 0.001,
            },
        )  # fmt: skip
    model.write(str(path))
    return path


def test_ifc_by_its_map_conversion(publisher, tmp_path):
    import pyproj

    file = _ifc(tmp_path / "house.ifc", conversion=True)
    result = publisher.publish(file, collection="house", scene={"vertical": "ellipsoidal"})
    (columns,) = publisher.store(result).slices()
    assert columns.columns["name"] == ["外墙"]
    assert columns.columns["storey"] == ["一层"]
    assert columns.columns["Pset_WallCommon.FireRating"] == ["REI 90"]
    assert columns.columns["type"] == ["IfcWall"]
    lonlat = pyproj.Transformer.from_crs("EPSG:4547", "EPSG:4326", always_xy=True).transform(
        [529_000.0, 529_000.0], [3_375_000.0, 3_375_004.0]
    )
    ends = to_ecef(np.array(lonlat[0]), np.array(lonlat[1]), np.array([25.0, 25.0]))
    corners = _corners(result)
    # The wall runs to the north, for the map's x axis of the model points there.
    for end in ends:
        assert np.linalg.norm(corners - end, axis=1).min() < 0.3
    assert np.ptp(np.linalg.norm(corners, axis=1)) == pytest.approx(3.0, abs=0.1)
    assert check_tileset(result.collection.path_of(RepresentationKind.TILESET_3D).parent) == []


def test_ifc_by_its_site_and_by_hand(publisher, tmp_path):
    file = _ifc(tmp_path / "house.ifc", site=True)
    result = publisher.publish(file, collection="site", scene={"vertical": "ellipsoidal"})
    corners = _metres(result)
    assert corners[:, 2].min() == pytest.approx(25.0, abs=0.05)
    assert np.ptp(corners[:, 0]) == pytest.approx(4.0, abs=0.05)
    moved = publisher.publish(file, collection="moved", scene=_placed(LON, LAT, 5.0))
    assert _metres(moved)[:, 2].min() == pytest.approx(5.0, abs=0.05)


def test_ifc_without_a_place_is_refused_with_the_way_out(publisher, tmp_path):
    with pytest.raises(CrsError, match="--place LON,LAT,HEIGHT"):
        publisher.publish(_ifc(tmp_path / "house.ifc"), collection="house")


def test_ifc_whose_place_is_broken_says_so(publisher, tmp_path):
    text = (
        "ISO-10303-21;\nHEADER;\nFILE_DESCRIPTION((''),'2;1');\nFILE_NAME('','',(''),(''),'','','');\n"
        "FILE_SCHEMA(('IFC4'));\nENDSEC;\nDATA;\n#4=IFCPROJECTEDCRS('EPSG:4547',$,$,$,$,$,$);\n"
        "#5=IFCMAPCONVERSION($,#4,'abc',$,$,'x','y',$);\nENDSEC;\nEND-ISO-10303-21;\n"
    )
    (tmp_path / "a.ifc").write_text(text)
    with pytest.raises(InputError, match="of its place is broken"):
        publisher.publish(tmp_path / "a.ifc", collection="broken")
