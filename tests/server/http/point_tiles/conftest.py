"""A city of point clouds: one COPC with colours and an extra dimension, a mosaic of six tiles, and a private one."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pyproj
import pytest

from pointclouds.cloud.cloud import Cloud, CloudDescription, CloudTile, open_cloud, write_index
from pointclouds.cloud.nodes import compute_nodes, nodes_path
from pointclouds.copc.reader import CopcFile
from pointclouds.copc.writer import write_copc
from pointclouds.crs import crs_identifier
from pointclouds.tilesets.plan import write_point_plan
from server.http.app import create_app, create_flask, make_services
from server.registry.catalogue import Access, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.registry import open_registry
from server.registry.staging import staging_folder
from server.settings import Settings, load_settings

ORIGIN = (84900.0, 447500.0, 2.0)
START = 3.0e8
"""GPS seconds - 1e9 of the first point: in 2021."""


def write_scan(
    path: Path, count: int, *, seed: int = 7, size: float = 100.0, corner: tuple[float, float] = (0.0, 0.0)
) -> Path:
    """A slope with boxes on it: point format 7, one extra dimension, absolute GPS times."""
    header = laspy.LasHeader(point_format=7, version="1.4")
    header.scales, header.offsets = [0.001] * 3, list(ORIGIN)
    header.global_encoding.gps_time_type = laspy.header.GpsTimeType.STANDARD
    header.add_extra_dim(laspy.ExtraBytesParams("Height Above", "float32"))
    header.add_crs(pyproj.CRS("EPSG:7415"))
    las = laspy.LasData(header)
    las.points = laspy.ScaleAwarePointRecord.zeros(count, header=header)
    random = np.random.default_rng(seed)
    x, y = random.uniform(0, size, count), random.uniform(0, size, count)
    roof = (np.floor(x / size * 8) % 2 == 0) & (np.floor(y / size * 8) % 2 == 0)
    las.x, las.y = ORIGIN[0] + corner[0] + x, ORIGIN[1] + corner[1] + y
    las.z = ORIGIN[2] + 0.05 * x + np.where(roof, size / 12, 0)
    las.intensity = random.integers(0, 60_000, count)
    las.number_of_returns = random.integers(1, 6, count)
    las.return_number = np.minimum(random.integers(1, 6, count), las.number_of_returns)
    las.classification = np.where(roof, 6, 2)
    las.point_source_id = np.full(count, 1 + seed % 5)
    las.gps_time = np.sort(random.uniform(START, START + 3600, count))
    for name in ("red", "green", "blue"):
        las[name] = random.integers(0, 65535, count)
    las["Height Above"] = random.uniform(-5, 80, count)
    las.write(path)
    return path


def tile_of(path: Path, name: str, **dates: str) -> CloudTile:
    """A COPC with its node table as a tile of a mosaic."""
    with CopcFile(path) as file:
        compute_nodes(file).save(nodes_path(path))
        header, info = file.header, file.info
        gps = (info.gps_minimum, info.gps_maximum)
    return CloudTile(name, path, header.count, header.bbox, dates.get("start"), dates.get("end"), gps, {})


def write_mosaic(folder: Path, across: int, up: int, count: int, size: float = 50.0) -> Path:
    """across x up tiles side by side, and an overview of every tenth of their points."""
    (folder / "points").mkdir(parents=True)
    tiles, scans = [], []
    for column in range(across):
        for row in range(up):
            name = f"t{column}_{row}"
            scan = write_scan(
                folder / f"{name}.laz",
                count,
                seed=10 * column + row,
                size=size,
                corner=(column * size, row * size),
            )
            copc = folder / "points" / f"{name}.copc.laz"
            write_copc(scan, copc)
            tiles.append(tile_of(copc, name))
            scans.append(scan)
    first = laspy.read(scans[0])
    chosen = [laspy.read(scan).points[::10] for scan in scans]
    thin = laspy.LasData(first.header)
    thin.points = laspy.ScaleAwarePointRecord(
        np.concatenate([part.array for part in chosen]),
        first.header.point_format,
        first.header.scales,
        first.header.offsets,
    )
    thin.write(folder / "thin.laz")
    write_copc(folder / "thin.laz", folder / "points" / "overview.copc.laz")
    tiles.append(tile_of(folder / "points" / "overview.copc.laz", "overview"))
    for scan in (*scans, folder / "thin.laz"):
        scan.unlink()
    header = open_cloud(folder / "points" / "t0_0.copc.laz")
    description = CloudDescription(header.crs.to_wkt(), 7, header.scale, header.offset, ())
    write_index(folder / "pointcloud.sqlite", description, tiles)
    return folder / "pointcloud.sqlite"


@dataclass
class PointCity:
    """The home and its settings; the sources of the clouds by collection."""

    home: Path
    settings: Settings
    clouds: dict[str, Cloud]

    @property
    def token(self) -> str:
        return (self.home / "operator.token").read_text().strip()


@pytest.fixture(scope="package")
def point_city(tmp_path_factory: pytest.TempPathFactory) -> PointCity:
    home = tmp_path_factory.mktemp("points")
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    made = PointCity(home, settings, {})
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        for name, access in (
            ("scan", Access.PUBLIC),
            ("mosaic", Access.PUBLIC),
            ("secret", Access.PRIVATE),
            ("broken", Access.PUBLIC),
        ):
            with staging_folder(home) as folder:
                staged = folder / "generation"
                staged.mkdir()
                if name == "mosaic":
                    path = write_mosaic(staged, 3, 2, 6000)
                else:
                    count = 60_000 if name == "scan" else 3000
                    scan = write_scan(folder / "scan.laz", count)
                    path = staged / "pointcloud.copc.laz"
                    write_copc(scan, path)
                    tile_of(path, "pointcloud")
                cloud = open_cloud(path)
                summary = write_point_plan(cloud, staged / "3dtiles", "class")
                representations = [
                    Representation(
                        RepresentationKind.POINT_CLOUD,
                        path.name,
                        0,
                        0,
                        {"count": cloud.count, "mosaic": cloud.is_mosaic},
                    ),
                    Representation(
                        RepresentationKind.TILESET_3D, "3dtiles/points.json", 0, 0, summary.properties()
                    ),
                ]
                draft = CollectionDraft(
                    tenant="demo",
                    id=name,
                    titles={"en": name, "zh": "点云"},
                    bbox=summary.bbox84,
                    storage_crs=crs_identifier(cloud.crs),
                    access=access,
                    attribution="",
                    licence="CC0-1.0",
                    fields=(),
                )
                published = registry.publish(draft, representations, staged, False)
            directory = next(home.rglob(f"{name}/*/{path.name}"), None) or next(
                one for one in home.rglob(path.name) if f"/{name}/" in str(one)
            )
            made.clouds[name] = open_cloud(directory)
            del published
    return made


@pytest.fixture(scope="package")
def points(point_city: PointCity, wsgi_client: Any) -> Any:
    """The whole server."""
    return wsgi_client(create_app(point_city.settings))


@pytest.fixture(scope="package")
def slow_points(point_city: PointCity, wsgi_client: Any) -> Any:
    """The same without the hot lane."""
    return wsgi_client(create_flask(make_services(point_city.settings)))


# --- reading what was made, by the standards' rules only --------------------------------------------------------------


class Glb:
    """A binary glTF: its document and its accessors as arrays."""

    def __init__(self, data: bytes) -> None:
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON"
        self.document: dict[str, Any] = json.loads(data[20 : 20 + size])
        self.binary = data[28 + size :]

    @property
    def attributes(self) -> dict[str, int]:
        return dict(self.document["meshes"][0]["primitives"][0]["attributes"])

    def column(self, name: str) -> Any:
        accessor = self.document["accessors"][self.attributes[name]]
        view = self.document["bufferViews"][accessor["bufferView"]]
        kinds = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5126: "<f4"}
        dtype = np.dtype(kinds[accessor["componentType"]])
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]
        stride = view.get("byteStride", width * dtype.itemsize)
        raw = np.frombuffer(self.binary, np.uint8, view["byteLength"], view["byteOffset"])
        rows = raw.reshape(accessor["count"], stride)[:, : width * dtype.itemsize]
        values = np.ascontiguousarray(rows).view(dtype)
        return values[:, 0] if width == 1 else values

    @property
    def count(self) -> int:
        return len(self.column("POSITION")) if "meshes" in self.document else 0

    def local(self) -> Any:
        """Positions (n, 3), z up, in the tileset's frame."""
        node = self.document["nodes"][0]
        scale, shift = np.array(node.get("scale", [1, 1, 1])), np.array(node["translation"])
        y_up = self.column("POSITION").astype(np.float64) * scale + shift
        return np.stack((y_up[:, 0], -y_up[:, 2], y_up[:, 1]), axis=1)


@pytest.fixture(scope="session")
def read_glb() -> Callable[[bytes], Glb]:
    return Glb


@dataclass
class Tile:
    """A tile with a content: its box (12 numbers), its geometric error, and the content."""

    box: list[float]
    error: float
    uri: str
    data: bytes


class Walker:
    """Follows a tileset of points from its document to every content, implicit or not, by the rules of 3D Tiles."""

    def __init__(self, get: Callable[[str], bytes]) -> None:
        self._get = get
        self.documents = 0
        self.tiles: list[Tile] = []
        self.overviews: list[Tile] = []

    def walk(self, address: str) -> Walker:
        document = json.loads(self._get(address))
        self.documents += 1
        self._tile(document["root"], address, document["geometricError"])
        return self

    def _tile(self, tile: dict[str, Any], base: str, above: float) -> None:
        assert tile["geometricError"] <= above
        if "implicitTiling" in tile:
            self._implicit(tile, base)
            return
        content = tile.get("content")
        if content is not None:
            address = joined(base, content["uri"])
            if ".json" in address:
                self.walk(address)
            else:
                kind = self.overviews if "/overview/" in address else self.tiles
                found = Tile(
                    tile["boundingVolume"]["box"], tile["geometricError"], address, self._get(address)
                )
                kind.append(found)
        for child in tile.get("children", ()):
            self._tile(child, base, tile["geometricError"])

    def _implicit(self, tile: dict[str, Any], base: str) -> None:
        tiling = tile["implicitTiling"]
        levels = tiling["subtreeLevels"]
        waiting = [(0, 0, 0, 0)]
        while waiting:
            root = waiting.pop()
            uri = joined(base, filled(tiling["subtrees"]["uri"], root))
            data = self._get(uri)
            size, binary = struct.unpack_from("<QQ", data, 8)
            document = json.loads(data[24 : 24 + size])
            body = data[24 + size :]
            assert len(body) == binary
            size = (8**levels - 1) // 7
            tiles = availability(document, body, document["tileAvailability"], size)
            contents = availability(document, body, document["contentAvailability"][0], size)
            children = availability(document, body, document["childSubtreeAvailability"], 8**levels)
            view = document["bufferViews"][
                document["propertyTables"][0]["properties"]["boundingBox"]["values"]
            ]
            boxes = np.frombuffer(body, "<f8", view["byteLength"] // 8, view["byteOffset"]).reshape(-1, 12)
            assert len(boxes) == tiles.sum()
            assert not (contents & ~tiles).any()
            for row, index in enumerate(np.flatnonzero(tiles)):
                level = next(n for n in range(levels) if index < (8 ** (n + 1) - 1) // 7)
                key = cell(root, level, int(index) - (8**level - 1) // 7)
                assert key[0] < tiling["availableLevels"]
                if contents[index]:
                    address = joined(base, filled(tile["content"]["uri"], key))
                    error = tile["geometricError"] / 2 ** key[0]
                    self.tiles.append(Tile(boxes[row].tolist(), error, address, self._get(address)))
            waiting += [cell(root, levels, int(code)) for code in np.flatnonzero(children)]


def joined(base: str, uri: str) -> str:
    from urllib.parse import urljoin

    return urljoin(base, uri)


def filled(template: str, key: tuple[int, int, int, int]) -> str:
    for name, value in zip(("level", "x", "y", "z"), key, strict=True):
        template = template.replace(f"{{{name}}}", str(value))
    return template


def cell(root: tuple[int, ...], level: int, code: int) -> tuple[int, int, int, int]:
    inside = [sum((code >> (3 * bit + axis) & 1) << bit for bit in range(level)) for axis in range(3)]
    x, y, z = ((root[1 + axis] << level) + inside[axis] for axis in range(3))
    return root[0] + level, x, y, z


def availability(document: dict[str, Any], body: bytes, of: dict[str, int], size: int) -> Any:
    if "constant" in of:
        return np.full(size, bool(of["constant"]))
    view = document["bufferViews"][of["bitstream"]]
    raw = np.frombuffer(body, np.uint8, view["byteLength"], view["byteOffset"])
    found = np.unpackbits(raw, bitorder="little")[:size].astype(bool)
    assert found.sum() == of["availableCount"]
    return found


@pytest.fixture(scope="session")
def walker() -> type[Walker]:
    return Walker
