"""Every way in which a point cloud leaves the server, read by what others would read it with; and what NumPy says."""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import laspy
import numpy as np
import pyarrow as pa
import pyproj
import pytest
import shapely

PLY_TYPES = {"double": "<f8", "float": "<f4", "uchar": "u1", "ushort": "<u2", "short": "<i2", "uint": "<u4"}
ALL: dict[str, str] = {}


@dataclass(frozen=True)
class Found:
    """Points as a client has them: classes (n,), coordinates (n, 3) of the cloud's own system where the way gives them."""

    classes: Any
    places: Any = None

    def histogram(self) -> dict[int, int]:
        codes, counts = np.unique(self.classes, return_counts=True)
        return dict(zip(codes.tolist(), counts.tolist(), strict=True))

    def where(self, mask: Any) -> Found:
        return Found(self.classes[mask], self.places[mask])

    def with_class(self, mask: Any, code: int) -> Found:
        return Found(np.where(mask, code, self.classes), self.places)

    def sorted_places(self, scale: float) -> Any:
        steps = np.rint(self.places / scale).astype(np.int64)
        return steps[np.lexsort(steps.T)]


def read_sources(paths: Iterable[Path]) -> Found:
    """What stands in the files, by laspy."""
    scans = [laspy.read(path) for path in paths]
    return Found(
        np.concatenate([np.asarray(scan.classification) for scan in scans]),
        np.concatenate([np.asarray(scan.xyz) for scan in scans]),
    )


def of_las(data: bytes) -> Found:
    las = laspy.read(io.BytesIO(data))
    return Found(np.asarray(las.classification), np.asarray(las.xyz))


def joined(parts: Sequence[Found]) -> Found:
    classes = np.concatenate([np.zeros(0, np.uint8), *(part.classes for part in parts)])
    if any(part.places is None for part in parts):
        return Found(classes)
    return Found(classes, np.concatenate([np.zeros((0, 3)), *(part.places for part in parts)]))


class Ways:
    """The ways of one collection. Those of SELECTING take a question (`bbox`, `filter` ...), the others give all points."""

    WHOLE = ("copc", "ept")
    SELECTING = (
        "implicit", "explicit", "tiles_1_0", "laz", "las", "copc_of_answer", "csv", "ply", "arrow",
        "multipoint", "geojson", "statistics",
    )  # fmt: skip

    def __init__(self, client: Any, base: str, walker: Any, read_glb: Any) -> None:
        self._client, self._base, self._walker, self._read_glb = client, base, walker, read_glb

    def get(self, path: str) -> bytes:
        """The body below the collection, or at a whole address."""
        address = path if "://" in path or path.startswith("/t/") else f"{self._base}{path}"
        reply = self._client.get(address)
        assert reply.status in (200, 204), (path, reply.status, reply.body[:400])
        body: bytes = reply.body
        return body

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def all(self) -> Iterator[tuple[str, Found]]:
        for way in (*self.WHOLE, *self.SELECTING):
            yield way, getattr(self, way)(*((ALL,) if way in self.SELECTING else ()))

    def selecting(self, question: dict[str, str]) -> Iterator[tuple[str, Found]]:
        for way in self.SELECTING:
            yield way, getattr(self, way)(question)

    def copc(self) -> Found:
        """The raw files, those of a mosaic without its overview."""
        document = self.json("/pointcloud?limit=1000")
        return joined([of_las(self.get(tile["href"])) for tile in document["tiles"]])

    def ept(self) -> Found:
        document = self.json("/pointcloud?limit=1000")
        roots = [f"/ept/{tile['name']}" for tile in document["tiles"]] if document["mosaic"] else ["/ept"]
        return joined([self._ept(root) for root in roots])

    def _ept(self, root: str) -> Found:
        told = self.json(f"{root}/ept.json")["points"]
        parts, waiting = [], ["0-0-0-0"]
        while waiting:
            for key, count in self.json(f"{root}/ept-hierarchy/{waiting.pop()}.json").items():
                if count == -1:
                    waiting.append(key)
                elif count:
                    parts.append(of_las(self.get(f"{root}/ept-data/{key}.laz")))
                    assert len(parts[-1].classes) == count
        found = joined(parts)
        assert len(found.classes) == told
        return found

    def _tiles(self, path: str, question: dict[str, str], classes: Callable[[bytes], Any]) -> Found:
        walk = self._walker(self.get).walk(f"{self._base}{path}{query(question)}")
        parts = [Found(classes(tile.data)) for tile in walk.tiles]
        for tile in walk.overviews:
            assert len(classes(tile.data)) > 0
        return joined(parts) if parts else Found(np.zeros(0, np.uint8))

    def implicit(self, question: dict[str, str]) -> Found:
        return self._tiles("/3dtiles/tileset.json", question, self._classes_of_glb)

    def explicit(self, question: dict[str, str]) -> Found:
        """As points, and as many triangles, which the default is: these have no attributes."""
        address = "/3dtiles/explicit/tileset.json"
        points = self._tiles(address, {**question, "marks": "points"}, self._classes_of_glb)
        corners = self._tiles(address, question, lambda data: np.zeros(self._read_glb(data).count))
        assert 3 * len(points.classes) == len(corners.classes)
        return points

    def _classes_of_glb(self, data: bytes) -> Any:
        glb = self._read_glb(data)
        return glb.column("_CLASSIFICATION") if glb.count else np.zeros(0, np.uint8)

    def tiles_1_0(self, question: dict[str, str]) -> Found:
        return self._tiles("/3dtiles/1.0/tileset.json", question, classes_of_pnts)

    def _points(self, form: str, question: dict[str, str]) -> bytes:
        return self.get(f"/points{query({**question, 'f': form})}")

    def laz(self, question: dict[str, str]) -> Found:
        return of_las(self._points("laz", question))

    def las(self, question: dict[str, str]) -> Found:
        return of_las(self._points("las", question))

    def copc_of_answer(self, question: dict[str, str]) -> Found:
        data = self._points("copc", question)
        with laspy.CopcReader(io.BytesIO(data)) as reader:
            records = reader.query()
        return Found(
            np.asarray(records.classification), np.asarray(laspy.LasData(reader.header, records).xyz)
        )

    def csv(self, question: dict[str, str]) -> Found:
        data = self._points("csv", question)
        names = data[: data.index(b"\n")].decode().strip().split(",")
        columns = [names.index(name) for name in ("X", "Y", "Z", "Classification")]
        rows = np.loadtxt(io.BytesIO(data), delimiter=",", skiprows=1, usecols=columns, ndmin=2)
        return Found(rows[:, 3].astype(np.uint8), rows[:, :3])

    def ply(self, question: dict[str, str]) -> Found:
        data = self._points("ply", question)
        end = data.index(b"end_header\n") + len(b"end_header\n")
        head = data[:end].decode()
        found = re.search(r"element vertex (\d+)", head)
        assert found is not None
        kind = [(name, PLY_TYPES[type_]) for type_, name in re.findall(r"property (\w+) (\w+)", head)]
        assert len(data) - end == int(found[1]) * np.dtype(kind).itemsize
        rows = np.frombuffer(data, kind, int(found[1]), end)
        return Found(rows["classification"], np.stack([rows[axis] for axis in "xyz"], axis=1))

    def arrow(self, question: dict[str, str]) -> Found:
        table = pa.ipc.open_stream(self._points("arrow", question)).read_all()
        geometry = table["geometry"].combine_chunks()
        places = np.stack([np.asarray(geometry.field(axis)) for axis in "xyz"], axis=1)
        return Found(table["Classification"].to_numpy(), places)

    def multipoint(self, question: dict[str, str]) -> Found:
        """It has no attributes: one for each class that there is, whose counts are those of the whole."""
        whole = json.loads(self._points("multipoint", question))["geometry"]
        parts = []
        for code in sorted(self._statistics({})):
            chosen = f"Classification={code}"
            text = f"({question['filter']}) AND {chosen}" if "filter" in question else chosen
            one = json.loads(self._points("multipoint", {**question, "filter": text}))["geometry"]
            parts.append(Found(np.full(len(one["coordinates"]) if one else 0, code)))
        found = joined(parts)
        assert len(found.classes) == (len(whole["coordinates"]) if whole else 0)
        return found

    def geojson(self, question: dict[str, str]) -> Found:
        """All pages; no point twice."""
        address: str | None = f"/points{query({**question, 'f': 'geojson', 'limit': '10000'})}"
        classes, ids = [], set()
        while address is not None:
            page = self.json(address)
            classes += [feature["properties"]["Classification"] for feature in page["features"]]
            ids |= {feature["id"] for feature in page["features"]}
            address = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
        assert len(ids) == len(classes)
        return Found(np.array(classes, np.uint8))

    def statistics(self, question: dict[str, str]) -> Found:
        found = self._statistics(question)
        return Found(np.repeat(np.array(list(found), np.uint8), list(found.values())))

    def _statistics(self, question: dict[str, str]) -> dict[int, int]:
        document = self.json(f"/points/statistics{query(question)}")
        classes = {one["code"]: one["count"] for one in document["classes"]}
        assert document["exact"]
        assert sum(classes.values()) == document["count"]
        return classes


def query(question: dict[str, str]) -> str:
    return f"?{urlencode(question)}" if question else ""


def classes_of_pnts(data: bytes) -> Any:
    sizes = struct.unpack_from("<6I", data, 4)
    table = json.loads(data[28 : 28 + sizes[2]])
    if not table["POINTS_LENGTH"]:
        return np.zeros(0, np.uint8)
    start = 28 + sizes[2] + sizes[3]
    batch = json.loads(data[start : start + sizes[4]])
    place = start + sizes[4] + batch["Classification"]["byteOffset"]
    return np.frombuffer(data, np.uint8, table["POINTS_LENGTH"], place)


@dataclass(frozen=True)
class Subset:
    """A question, and which points of the source it means."""

    question: dict[str, str]
    mask: Any


def quiet(values: Any, share: float) -> float:
    """A number near that share of the values, in the middle of the widest gap there: no rounding decides about a point."""
    ordered = np.unique(values)
    middle = int(share * (len(ordered) - 1))
    low, high = max(0, middle - 1000), min(len(ordered) - 1, middle + 1000)
    gap = low + int(np.argmax(np.diff(ordered[low : high + 1])))
    return float(ordered[gap] + ordered[gap + 1]) / 2


def box_subset(source: Found, crs: str) -> Subset:
    """A box in degrees over the middle of the points."""
    to_degrees = pyproj.Transformer.from_crs(pyproj.CRS(crs).to_2d(), "OGC:CRS84", always_xy=True)
    longitude, latitude = to_degrees.transform(source.places[:, 0], source.places[:, 1])
    west, east = quiet(longitude, 0.3), quiet(longitude, 0.62)
    south, north = quiet(latitude, 0.25), quiet(latitude, 0.7)
    mask = (longitude >= west) & (longitude <= east) & (latitude >= south) & (latitude <= north)
    return Subset({"bbox": f"{west!r},{south!r},{east!r},{north!r}"}, mask)


def solid_subset(source: Found, code: str) -> Subset:
    """A box of six numbers in the cloud's own system; its borders are coordinates of points, and belong to it."""
    low = [np.sort(source.places[:, axis])[int(0.2 * len(source.places))] for axis in range(3)]
    high = [np.sort(source.places[:, axis])[int(0.7 * len(source.places))] for axis in range(3)]
    numbers = ",".join(f"{round(float(value), 3)}" for value in (*low, *high))
    mask = ((source.places >= low) & (source.places <= high)).all(axis=1)
    return Subset({"bbox": numbers, "bbox-crs": code}, mask)


def plane_subset(source: Found) -> Subset:
    """As solid_subset without heights, for a system without a code: the place as a condition."""
    west, east = np.sort(source.places[:, 0])[[len(source.places) // 5, len(source.places) // 2]]
    south, north = np.sort(source.places[:, 1])[[len(source.places) // 4, 2 * len(source.places) // 3]]
    x, y = source.places[:, 0], source.places[:, 1]
    mask = (x >= west) & (x <= east) & (y >= south) & (y <= north)
    text = f"X BETWEEN {west:.3f} AND {east:.3f} AND Y BETWEEN {south:.3f} AND {north:.3f}"
    return Subset({"filter": text}, mask)


def filter_subset(source: Found) -> Subset:
    height = float(np.sort(source.places[:, 2])[int(0.4 * len(source.places))])
    mask = (source.classes != 1) & (source.places[:, 2] > height)
    return Subset({"filter": f"Classification <> 1 AND Z > {round(height, 3)}"}, mask)


def area_mask(source: Found, crs: str, polygon: dict[str, Any], low: float, high: float) -> Any:
    """Which points lie in a polygon of degrees and between two heights."""
    shape = shapely.from_geojson(json.dumps(polygon))
    to_degrees = pyproj.Transformer.from_crs(pyproj.CRS(crs).to_2d(), "OGC:CRS84", always_xy=True)
    longitude, latitude = to_degrees.transform(source.places[:, 0], source.places[:, 1])
    heights = source.places[:, 2]
    return shapely.contains_xy(shape, longitude, latitude) & (heights >= low) & (heights <= high)


@pytest.fixture(scope="session")
def numpy_says() -> SimpleNamespace:
    """What tests ask laspy and NumPy for: read_sources, box, solid, plane, filter, area_mask."""
    return SimpleNamespace(
        read_sources=read_sources,
        box=box_subset,
        solid=solid_subset,
        plane=plane_subset,
        filter=filter_subset,
        area_mask=area_mask,
    )


@pytest.fixture(scope="session")
def ways(walker: Any, read_glb: Any) -> Callable[[Any, str], Ways]:
    """ways(client, "/t/demo/ogc/collections/scan")."""
    return lambda client, base: Ways(client, base, walker, read_glb)


def write_flight(path: Path, column: int, count: int, code: str) -> Path:
    """LAS 1.2 as flights come: format 3, ground, roofs, and noise; column after column of 40 m."""
    random = np.random.default_rng(70 + column)
    header = laspy.LasHeader(point_format=3, version="1.2")
    header.scales, header.offsets = [0.001] * 3, [84_900.0, 447_500.0, 0.0]
    header.add_crs(pyproj.CRS(code))
    las = laspy.LasData(header)
    x, y = random.uniform(0, 40, count), random.uniform(0, 60, count)
    roof = (x % 20 > 10) & (y % 20 > 8)
    noise = random.random(count) < 0.01
    las.x, las.y = 84_900 + 40 * column + x, 447_500 + y
    las.z = 0.02 * x + np.where(roof, 8, 0) + np.where(noise, random.uniform(-5, 40, count), 0)
    las.classification = np.where(noise, 7, np.where(roof, 6, np.where(y > 50, 1, 2)))
    las.intensity = random.integers(0, 4000, count)
    las.return_number = las.number_of_returns = np.ones(count, np.uint8)
    las.gps_time = np.sort(random.uniform(1e5, 2e5, count))
    for name in ("red", "green", "blue"):
        las[name] = random.integers(0, 65_535, count)
    las.write(path)
    return path


@pytest.fixture(scope="session")
def flight() -> Callable[[Path, int, int, str], Path]:
    return write_flight
