"""One city of every kind of three-dimensional collection, small, around one place: what the clients of 3D are tried on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ifcopenshell
import ifcopenshell.api.aggregate
import ifcopenshell.api.context
import ifcopenshell.api.geometry
import ifcopenshell.api.project
import ifcopenshell.api.root
import ifcopenshell.api.spatial
import ifcopenshell.api.unit
import numpy as np
import rasterio
import trimesh
from PIL import Image
from pyproj import Transformer
from rasterio.transform import from_origin

from server.publish.instance_options import InstanceOptions
from server.publish.placement_options import PlacementOptions
from server.publish.request import SceneOptions
from server.publish.underground_options import UndergroundOptions

TENANT = "scene"
LON, LAT = 114.3, 30.5
EAST, NORTH = 1.0425e-5, 9.02e-6  # degrees a metre
GROUND = 30.0
HOUSES = 4000

type Rows = list[tuple[str, Any, dict[str, Any]]]
type Publish = Callable[..., Any]


@dataclass(frozen=True)
class SceneCity:
    """The served city: its address, its data home, an operator's token, and what was published."""

    address: str
    home: Path
    token: str
    collections: Mapping[str, Any]

    @property
    def ogc(self) -> str:
        """The API of its tenant."""
        return f"{self.address}/t/{TENANT}/ogc"

    def collection(self, name: str) -> str:
        """The address of a collection."""
        return f"{self.ogc}/collections/{name}"

    def folder(self, name: str) -> Path:
        """Where the published tileset of a collection lies."""
        return Path(self.collections[name].directory) / "3dtiles"


def place(east: float, north: float) -> list[float]:
    """Longitude and latitude so many metres from the middle of the city."""
    return [LON + east * EAST, LAT + north * NORTH]


def square(east: float, north: float, half: float) -> list[list[list[float]]]:
    """A ring around a place."""
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    return [[place(east + x * half, north + y * half) for x, y in corners]]


def _features(path: Path, rows: Rows) -> Path:
    features = [
        {"type": "Feature", "geometry": {"type": kind, "coordinates": places}, "properties": values}
        for kind, places, values in rows
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return path


def houses(count: int = HOUSES) -> Rows:
    """Footprints on a grid, many sizes, heights, years and kinds: several levels of tiles."""
    random = np.random.default_rng(20)
    side = int(np.ceil(np.sqrt(count)))
    rows: Rows = []
    for number in range(count):
        north, east = divmod(number, side)
        half, height = random.uniform(4, 12), random.uniform(5, 60)
        values = {
            "code": f"H{number}",
            "height": round(float(height), 1),
            "year": 1950 + number % 70,
            "built": f"{1950 + number % 70}-05-01",
            "用途": ("住宅", "商业", "学校")[number % 3],
            "floors": None if number % 11 == 0 else int(height // 3),
        }
        spot = (40.0 * (east - side / 2), 40.0 * (north - side / 2))
        rows.append(("Polygon", square(*spot, float(half)), values))
    return rows


def terrain(path: Path) -> Path:
    """Hills in EPSG:4547 (CGCS2000, 3 degrees, 114 E), 5 m cells, a lake below 25 m in the south-west."""
    x0, y0 = Transformer.from_crs("EPSG:4326", "EPSG:4547", always_xy=True).transform(LON, LAT)
    size = 800
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    heights = GROUND + 12 * np.sin(x / 60) * np.cos(y / 75) + 3 * np.sin(x / 9 + y / 13)
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=1, dtype="float32", crs="EPSG:4547",
        transform=from_origin(x0 - 2.5 * size, y0 + 2.5 * size, 5, 5),
    ) as file:  # fmt: skip
        file.write(heights.astype(np.float32), 1)
    return path


def _layers(path: Path) -> Path:
    size = 30
    slope = np.linspace(0.0, 4.0, size)[None].repeat(size, axis=0)
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=3, dtype="float32", crs="EPSG:4326", nodata=-9999.0,
        transform=from_origin(LON - 0.003, LAT + 0.003, 0.006 / size, 0.006 / size),
    ) as file:  # fmt: skip
        for band, (name, height) in enumerate((("fill", 0.0), ("clay", -8.0), ("rock", -30.0)), 1):
            file.write((slope + height).astype(np.float32), band)
            file.set_band_description(band, name)
    return path


def _pipes() -> Rows:
    rows: Rows = []
    kinds = ("WS", "JS", "电力", "RQ")
    for number in range(120):
        north = 20.0 * (number - 60)
        line = [place(-600, north), place(0, north + 5), place(600, north)]
        values = {
            "管径": "1000X800" if number % 4 == 2 else str(200 + 100 * (number % 5)),
            "起点埋深": 1.0 + number % 4,
            "终点埋深": 2.0 + number % 4,
            "管类": kinds[number % 4],
            "材质": "PVC",
            "井深": None,
        }
        rows.append(("LineString", line, values))
        rows.append(
            ("Point", line[1], {"管径": None, "起点埋深": None, "终点埋深": None, "管类": "WS", "井深": 2.6})
        )
    return rows


def _boreholes() -> Rows:
    rows: Rows = []
    for number, (east, north) in enumerate(
        (east, north) for east in (-150, 0, 150) for north in (-150, 10, 150)
    ):
        deep = 3.0 + number % 3
        intervals = [
            {"from": 0, "to": deep, "lithology": "杂填土"},
            {"from": deep, "to": 12, "lithology": "粉质黏土"},
            {"from": 12, "to": 30, "lithology": "sand"},
        ]
        values = {"孔号": f"ZK{number}", "孔口高程": GROUND, "intervals": json.dumps(intervals)}
        rows.append(("Point", place(east, north), values))
    return rows


def _trees() -> Rows:
    random = np.random.default_rng(5)
    kinds = ("broadleaf_tree", "conifer", "street_lamp", "bench")
    return [
        (
            "Point",
            [*place(*random.uniform(-400, 400, 2).tolist()), GROUND],
            {
                "kind": kinds[number % 4],
                "height": round(float(random.uniform(3, 15)), 1),
                "heading": number % 360,
            },
        )
        for number in range(600)
    ]


def _city_model(path: Path) -> Path:
    """Textured boxes as CityJSON, one image for all."""
    faces = [[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]]
    kinds = ["GroundSurface", "RoofSurface", *["WallSurface"] * 4]
    corners = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)]
    x0, y0 = Transformer.from_crs("EPSG:4326", "EPSG:4547", always_xy=True).transform(LON, LAT)
    objects: dict[str, Any] = {}
    vertices: list[list[int]] = []
    for number in range(60):
        first, wide, high = len(vertices), 12.0 + number % 5, 9.0 + number % 7 * 4
        east, north = 30.0 * (number % 8), 30.0 * (number // 8)
        vertices += [
            [round(1000 * v) for v in (east + wide * x, north + wide * y, high * z)] for x, y, z in corners
        ]
        boundaries = [[[corner + first for corner in face]] for face in faces]
        semantics = {"surfaces": [{"type": kind} for kind in kinds], "values": [list(range(6))]}
        texture = {"photo": {"values": [[[[0, 0, 1, 2, 3]] if face else [[None]] for face in range(6)]]}}
        geometry = {"type": "Solid", "lod": "2.2", "boundaries": [boundaries], "semantics": semantics}
        objects[f"B{number}"] = {
            "type": "Building",
            "attributes": {"storeys": number % 9, "built": "1990-05-01"},
            "geometry": [geometry | ({"texture": texture} if number % 2 else {})],
        }
    pixels = np.full((64, 64, 3), (196, 120, 80), np.uint8)
    pixels[8:28, 8:56] = (60, 90, 140)
    pixels[36:56, 8:56] = (60, 90, 140)
    Image.fromarray(pixels).save(path.with_name("wall.png"))
    document = {
        "type": "CityJSON", "version": "2.0",
        "metadata": {"referenceSystem": "https://www.opengis.net/def/crs/EPSG/0/4547"},
        "transform": {"scale": [0.001] * 3, "translate": [x0 - 120.0, y0 - 120.0, 30.0]},
        "appearance": {
            "textures": [{"type": "PNG", "image": "wall.png"}],
            "vertices-texture": [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]],
        },
        "CityObjects": objects, "vertices": vertices,
    }  # fmt: skip
    path.write_text(json.dumps(document), encoding="utf-8")
    import zipfile

    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        archive.write(path, path.name)
        archive.write(path.with_name("wall.png"), "wall.png")
    return path.with_suffix(".zip")


def _hall(path: Path) -> Path:
    """A hall of 10 x 6 x 4 m; with a picture where the format takes one."""
    box = trimesh.creation.box((10, 4, 6) if path.suffix == ".glb" else (10, 6, 4))
    box.apply_translation((0, 2, 0) if path.suffix == ".glb" else (0, 0, 2))
    if path.suffix == ".glb":
        image = Image.new("RGB", (16, 16), (200, 40, 40))
        coordinates = np.abs(box.vertices[:, :2]) / 10
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=image)
        box.visual = trimesh.visual.TextureVisuals(uv=coordinates, material=material)
        path.write_bytes(trimesh.Scene(box).export(file_type="glb"))
    else:
        box.export(path)
    return path


def _ifc(path: Path) -> Path:
    """Two walls and a slab of an IFC4 building."""
    model = ifcopenshell.api.project.create_file(version="IFC4")
    project = ifcopenshell.api.root.create_entity(model, ifc_class="IfcProject", name="house")
    ifcopenshell.api.unit.assign_unit(model)
    context = ifcopenshell.api.context.add_context(model, context_type="Model")
    body = ifcopenshell.api.context.add_context(
        model, context_type="Model", context_identifier="Body", target_view="MODEL_VIEW", parent=context
    )
    kinds = ("IfcSite", "IfcBuilding", "IfcBuildingStorey")
    parts = [ifcopenshell.api.root.create_entity(model, ifc_class=kind, name=kind) for kind in kinds]
    for parent, child in zip([project, *parts], parts, strict=False):
        ifcopenshell.api.aggregate.assign_object(model, products=[child], relating_object=parent)
    for number in range(2):
        wall = ifcopenshell.api.root.create_entity(model, ifc_class="IfcWall", name=f"wall {number}")
        shape = ifcopenshell.api.geometry.add_wall_representation(
            model, context=body, length=8.0, height=3.0, thickness=0.3
        )
        ifcopenshell.api.geometry.assign_representation(model, product=wall, representation=shape)
        matrix = np.eye(4)
        matrix[1, 3] = 5.0 * number
        ifcopenshell.api.geometry.edit_object_placement(model, product=wall, matrix=matrix)
        ifcopenshell.api.spatial.assign_container(model, products=[wall], relating_structure=parts[-1])
    model.write(str(path))
    return path


_INDOOR = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<core:IndoorFeatures xmlns:core="http://www.opengis.net/indoorgml/1.0/core" '
    'xmlns:gml="http://www.opengis.net/gml/3.2"><core:primalSpaceFeatures><core:PrimalSpaceFeatures>{cells}'
    "</core:PrimalSpaceFeatures></core:primalSpaceFeatures></core:IndoorFeatures>"
)


def _rooms(path: Path) -> Path:
    cells = []
    for number in range(12):
        x, z = 6.0 * (number % 4), 3.5 * (number // 4)
        low = [(x, 0, z), (x + 5, 0, z), (x + 5, 5, z), (x, 5, z)]
        high = [(a, b, z + 3) for a, b, _ in low]
        rings = [list(reversed(low)), high]
        rings += [[low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i]] for i in range(4)]
        surfaces = "".join(
            "<gml:surfaceMember><gml:Polygon><gml:exterior><gml:LinearRing><gml:posList>"
            + " ".join(f"{value:.3f}" for corner in (*ring, ring[0]) for value in corner)
            + "</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon></gml:surfaceMember>"
            for ring in rings
        )
        solid = f'<gml:Solid srsDimension="3"><gml:exterior><gml:Shell>{surfaces}</gml:Shell></gml:exterior></gml:Solid>'
        cells.append(
            f'<core:cellSpaceMember><core:CellSpace gml:id="r{number}"><gml:name>会议室 {number}</gml:name>'
            f"<core:cellSpaceGeometry><core:Geometry3D>{solid}</core:Geometry3D></core:cellSpaceGeometry>"
            "</core:CellSpace></core:cellSpaceMember>"
        )
    path.write_text(_INDOOR.format(cells="".join(cells)), encoding="utf-8")
    return path


def publish_all(folder: Path, publish: Publish, only: tuple[str, ...] = ()) -> dict[str, Any]:
    """Publishes the collections (those of `only`, else all) by `publish(name, *files, scene=..., **options)`; results by name."""
    high, deep = {"vertical": "ellipsoidal"}, UndergroundOptions

    def placed(east: float, north: float) -> SceneOptions:
        return SceneOptions(placement=PlacementOptions(place=(*place(east, north), GROUND)), **high)

    def parts() -> Rows:
        return [
            ("Polygon", square(60.0 * n, -200, 8), {"height": 20.0, "from": 8.0 * (n % 2)}) for n in range(8)
        ]

    def tunnel() -> Rows:
        line = [place(-500, -60), place(0, -40), place(500, -60)]
        return [("LineString", line, {"name": "line 1", "depth": 22.0})]

    def write(name: str, rows: Rows) -> Path:
        return _features(folder / f"{name}.geojson", rows)

    def made(name: str) -> tuple[Path, SceneOptions]:
        match name:
            case "houses":
                options = SceneOptions(height_field="height", **high)
                return write(name, houses()), options
            case "edited":
                return write(name, houses(300)), SceneOptions(height_field="height", **high)
            case "parts":
                options = SceneOptions(height_field="height", min_height_field="from", **high)
                return write(name, parts()), options
            case "pipes":
                return write(name, _pipes()), SceneOptions(underground=deep(kind="pipes"), **high)
            case "tunnel":
                below = deep(kind="tunnels", section_size=(6.0, 5.0), wall=0.4)
                return write(name, tunnel()), SceneOptions(underground=below, **high)
            case "boreholes":
                return write(name, _boreholes()), SceneOptions(underground=deep(kind="boreholes"), **high)
            case "between":
                return write(name, _boreholes()), SceneOptions(underground=deep(kind="geology"), **high)
            case "geology":
                return _layers(folder / "layers.tif"), SceneOptions(underground=deep(kind="geology"), **high)
            case "trees":
                kinds = InstanceOptions(model_field="kind", height_field="height", heading_field="heading")
                return write(name, _trees()), SceneOptions(instances=kinds, **high)
            case "signs":
                model = InstanceOptions(model=str(_hall(folder / "sign.glb")), heading_field="heading")
                return write(name, _trees()[:40]), SceneOptions(instances=model, **high)
            case "city":
                return _city_model(folder / "city.json"), SceneOptions(**high)
            case "house-ifc":
                return _ifc(folder / "house.ifc"), placed(-40, -100)
            case "hall-glb":
                return _hall(folder / "hall.glb"), placed(0, -100)
            case "hall-obj":
                return _hall(folder / "hall.obj"), placed(40, -100)
            case "rooms":
                return _rooms(folder / "rooms.gml"), placed(80, -100)
            case _:
                return terrain(folder / "hills.tif"), SceneOptions(
                    terrain=True, water="22", terrain_levels=11, **high
                )

    times = {key: {"time_field": "built", "id_field": "code"} for key in ("houses", "edited")}
    return {
        name: publish(name, path, scene=options, **times.get(name, {}))
        for name in only or NAMES
        for path, options in (made(name),)
    }


TILESETS = (
    "houses", "parts", "pipes", "tunnel", "boreholes", "between", "geology", "trees", "signs", "city", "house-ifc", "hall-glb",
    "hall-obj", "rooms",
)  # fmt: skip
NAMES = (*TILESETS, "edited", "hills")
