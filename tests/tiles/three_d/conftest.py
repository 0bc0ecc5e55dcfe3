"""A small city in EPSG:3879 as a source in memory, and helpers that read tiles back with code of their own."""

from __future__ import annotations

import itertools
import json
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from tiles.three_d import BuildOptions, TilesetSummary, VerticalReference, build_tileset
from tiles.three_d.build_tile import TileOptions
from tiles.three_d.buildings import LoadedBuildings
from tiles.three_d.footprints import clean_footprints
from tiles.three_d.glb import GlbOptions
from tiles.three_d.objects import Detail, Keys, Outlines
from tiles.three_d.placement import as_crs
from tiles.three_d.report import ProblemLog, ReportProblem, Survivors
from tiles.three_d.schema import PropertySpec, SchemaBuilder
from tiles.three_d.vertical import to_ellipsoid

WEST, SOUTH = 25_496_000.0, 6_672_000.0
COURTYARD = 5


class City(NamedTuple):
    """The input of a build."""

    footprints: list[shapely.Polygon]
    heights: NDArray[np.float64]
    base: float
    ids: list[str]
    columns: dict[str, list[object]]


class TileRead(NamedTuple):
    """One .glb read back: EPSG:4979 positions (v, 3), feature ids (v,), triangles (t, 3), property rows."""

    place: NDArray[np.float64]
    ecef: NDArray[np.float64]
    normals: NDArray[np.float64]
    ids: NDArray[np.int64]
    triangles: NDArray[np.int64]
    rows: list[dict[str, Any]]
    document: dict[str, Any]


@dataclass
class MemoryBuildings:
    """Footprints in memory as a source of buildings, and its own recipe; keys are rows of those that can be drawn."""

    footprints: Sequence[shapely.Geometry | None]
    crs: str
    heights: Sequence[float] | NDArray[np.float64]
    base: float
    ids: Sequence[str]
    columns: Mapping[str, Sequence[object]]
    titles: Mapping[str, str]
    vertical: VerticalReference
    content: str = "buildings"
    details: tuple[Detail, ...] = (Detail.LOD1,)
    height_reference: str = ""
    problems: ProblemLog = field(default_factory=ProblemLog)

    def open(self) -> MemoryBuildings:
        return self

    def outlines(self) -> Iterator[Outlines]:
        system = as_crs(self.crs)
        clean = clean_footprints(self.footprints, system, Survivors.all_of(self.ids, self.problems))
        kept = clean.kept.tolist()
        self.geometries = clean.geometries
        bounds = shapely.bounds(clean.geometries).reshape(-1, 4)
        middles = (bounds[:, :2] + bounds[:, 2:]) / 2.0
        self.bottoms, said = to_ellipsoid(system, middles, np.full(len(kept), self.base), self.vertical)
        self.height_reference = f"{said}; {clean.description}"
        self.rise = np.asarray(self.heights, dtype=np.float64)[kept]
        columns: dict[str, Any] = {
            name: [values[row] for row in kept] for name, values in self.columns.items()
        }
        columns[":height"] = self.rise
        specs = [PropertySpec(name, {"": self.titles.get(name, "")}) for name in self.columns]
        builder = SchemaBuilder("building", [PropertySpec("height", source=":height"), *specs])
        builder.add(columns)
        self.table = builder.finish().table([self.ids[row] for row in kept], columns)
        yield self.load(np.arange(len(kept))).outlines()

    def load(self, keys: Keys) -> LoadedBuildings:
        bottoms = self.bottoms[keys]
        return LoadedBuildings(
            keys, self.geometries[keys], bottoms, bottoms + self.rise[keys], self.table.take(keys)
        )


def build(
    folder: Path,
    footprints: Sequence[shapely.Geometry | None],
    crs: str,
    heights: Sequence[float] | NDArray[np.float64],
    base: float = 0.0,
    *,
    ids: Sequence[str] | None = None,
    columns: Mapping[str, Sequence[object]] | None = None,
    titles: Mapping[str, str] | None = None,
    vertical: VerticalReference | None = None,
    glb: GlbOptions | None = None,
    report: ReportProblem | None = None,
) -> TilesetSummary:
    """Build footprints into `folder`; what the build keeps for itself lies in a folder beside it."""
    source = MemoryBuildings(
        footprints, crs, heights, base, ids or [str(row) for row in range(len(footprints))],
        columns or {}, titles or {}, vertical or VerticalReference.ellipsoidal(),
    )  # fmt: skip
    options = BuildOptions(TileOptions(glb or GlbOptions()), processes=1)
    return build_tileset(folder, folder.with_name(folder.name + "-scene"), source, options, report=report)


@pytest.fixture(scope="session")
def build_footprints() -> Callable[..., TilesetSummary]:
    """`build_footprints(folder, footprints, crs, heights, base, ...)`: builds a source in memory, in this process."""
    return build


@pytest.fixture(scope="session")
def city() -> City:
    """2,304 houses, more than one tile holds: rectangles, L-shapes, and one with a courtyard."""
    footprints: list[shapely.Polygon] = []
    for row in range(48):
        for column in range(48):
            x, y = WEST + column * 40.0, SOUTH + row * 40.0
            if (row + column) % 3 == 0:
                corner = [(0, 0), (20, 0), (20, 8), (8, 8), (8, 20), (0, 20)]
                footprints.append(shapely.Polygon([(x + east, y + north) for east, north in corner]))
            else:
                footprints.append(shapely.box(x, y, x + 10 + column % 20, y + 8 + row % 20))
    footprints[COURTYARD] = shapely.box(WEST + 200, SOUTH, WEST + 230, SOUTH + 30).difference(
        shapely.box(WEST + 210, SOUTH + 10, WEST + 220, SOUTH + 20)
    )
    count = len(footprints)
    heights = 3.0 + np.arange(count) % 20
    columns: dict[str, list[object]] = {
        "name": [f"Talo {number}" if number % 2 else None for number in range(count)],
        "levels": [int(number % 7) for number in range(count)],
        "材质": ["砖" if number % 2 else "混凝土" for number in range(count)],
    }
    return City(footprints, heights, 12.0, [f"way/{number}" for number in range(count)], columns)


@pytest.fixture(scope="session")
def built(city: City, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TilesetSummary]:
    """The city as a tileset of several levels."""
    folder = tmp_path_factory.mktemp("city")
    summary = build(
        folder, city.footprints, "EPSG:3879", city.heights, city.base, ids=city.ids, columns=city.columns
    )
    return folder, summary


@pytest.fixture
def damaged(built: tuple[Path, TilesetSummary], tmp_path: Path) -> Path:
    """A copy of the city's tileset that a test may break."""
    return Path(shutil.copytree(built[0], tmp_path / "copy"))


def split_glb(path: Path) -> tuple[dict[str, Any], bytes]:
    """JSON and binary chunk of a .glb."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<I", content, 12)
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def _accessor(document: dict[str, Any], binary: bytes, number: int) -> NDArray[Any]:
    accessor = document["accessors"][number]
    view = document["bufferViews"][accessor["bufferView"]]
    kind = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[
        accessor["componentType"]
    ]
    width = {"SCALAR": 1, "VEC3": 3}[accessor["type"]]
    stride = view.get("byteStride", np.dtype(kind).itemsize * width)
    start = view["byteOffset"] + accessor.get("byteOffset", 0)
    return np.ndarray((accessor["count"], width), kind, binary, start, (stride, np.dtype(kind).itemsize))


def _rows(document: dict[str, Any], binary: bytes) -> list[dict[str, Any]]:
    extension = document["extensions"]["EXT_structural_metadata"]
    table = extension["propertyTables"][0]
    schema = extension["schema"]["classes"][table["class"]]["properties"]
    rows: list[dict[str, Any]] = [{} for _ in range(table["count"])]

    def view(number: int) -> bytes:
        entry = document["bufferViews"][number]
        return binary[entry["byteOffset"] : entry["byteOffset"] + entry["byteLength"]]

    for name, stored in table["properties"].items():
        values: list[Any]
        if schema[name]["type"] == "STRING":
            kind = {"UINT16": "<u2", "UINT32": "<u4"}[stored["stringOffsetType"]]
            limits = np.frombuffer(view(stored["stringOffsets"]), kind).tolist()
            text = view(stored["values"])
            values = [text[a:b].decode() for a, b in itertools.pairwise(limits)]
        elif schema[name]["type"] == "BOOLEAN":
            bits = np.unpackbits(np.frombuffer(view(stored["values"]), np.uint8), bitorder="little")
            values = bits[: table["count"]].astype(bool).tolist()
        else:
            kind = {"INT32": "<i4", "FLOAT32": "<f4", "FLOAT64": "<f8"}[schema[name]["componentType"]]
            values = np.frombuffer(view(stored["values"]), kind).tolist()
        for row, value in zip(rows, values, strict=True):
            row[name] = None if value == schema[name].get("noData") else value
    return rows


@pytest.fixture(scope="session")
def read_tile() -> Callable[[Path], TileRead]:
    """Reads a .glb into places on the globe and rows of attributes, independently of the writer and the checker."""
    to_geodetic = Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)

    def read(path: Path) -> TileRead:
        document, binary = split_glb(path)
        primitive = document["meshes"][0]["primitives"][0]
        node = document["nodes"][0]
        raw = _accessor(document, binary, primitive["attributes"]["POSITION"]).astype(np.float64)
        x, y, z, w = node["rotation"]
        axis, scale = np.array([x, y, z]), np.array(node.get("scale", [1.0, 1.0, 1.0]))

        def turn(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
            first = 2.0 * np.cross(axis, vectors)
            turned = vectors + w * first + np.cross(axis, first)
            return np.column_stack((turned[:, 0], -turned[:, 2], turned[:, 1]))

        translation = np.array([node["translation"]])
        ecef = turn(raw * scale) + np.column_stack((translation[:, 0], -translation[:, 2], translation[:, 1]))
        normals = turn(_accessor(document, binary, primitive["attributes"]["NORMAL"]) / 127.0)
        ids = _accessor(document, binary, primitive["attributes"]["_FEATURE_ID_0"])[:, 0].astype(np.int64)
        if "indices" in primitive:
            triangles = _accessor(document, binary, primitive["indices"]).astype(np.int64).reshape(-1, 3)
        else:
            triangles = np.arange(len(raw)).reshape(-1, 3)
        place = np.column_stack(to_geodetic.transform(ecef[:, 0], ecef[:, 1], ecef[:, 2]))
        return TileRead(place, ecef, normals, ids, triangles, _rows(document, binary), document)

    return read


@pytest.fixture(scope="session")
def volume_of() -> Callable[[TileRead, int], float]:
    """The volume (m3) that one feature's triangles enclose with the plane through its lowest point."""

    def volume(tile: TileRead, feature: int) -> float:
        chosen = tile.triangles[tile.ids[tile.triangles[:, 0]] == feature]
        origin = tile.ecef[chosen.ravel()[0]]
        up = origin / np.linalg.norm(origin)
        corners = tile.ecef[chosen] - origin
        height = corners @ up
        height -= height.min()
        areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) @ up / 2.0
        return float((areas * height.mean(axis=1)).sum())

    return volume


@pytest.fixture(scope="session")
def edit_glb() -> Callable[[Path, Callable[[dict[str, Any], bytearray], None]], None]:
    """Changes the JSON and the binary chunk of a .glb in place and writes it with right lengths."""

    def edit(path: Path, change: Callable[[dict[str, Any], bytearray], None]) -> None:
        document, chunk = split_glb(path)
        binary = bytearray(chunk)
        change(document, binary)
        text = json.dumps(document).encode()
        text += b" " * (-(len(text) + 28) % 8)
        total = 28 + len(text) + len(binary)
        head = b"glTF" + struct.pack("<III", 2, total, len(text)) + b"JSON"
        path.write_bytes(head + text + struct.pack("<I", len(binary)) + b"BIN\0" + bytes(binary))
        path.with_name(path.name + ".gz").unlink(missing_ok=True)

    return edit
