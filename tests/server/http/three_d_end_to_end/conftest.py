"""What a client of a running server finds in its 3D tilesets: walked by the bits of the subtrees, decoded, placed by PROJ."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely

from server.cli import run
from tiles.three_d.check import CallFiles, inspect_tileset
from tiles.three_d.read_glb import read_glb

TENANT = "town"
_GEODETIC = pyproj.Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)


@dataclass
class Found:
    """An object of a tileset as drawn: its properties, triangles in ECEF (n, 3, 3), and the tile they came from."""

    properties: dict[str, Any]
    triangles: Any
    tile: str

    @property
    def places(self) -> Any:
        """Longitude, latitude, ellipsoidal height of all corners (n, 3), by PROJ."""
        return np.column_stack(_GEODETIC.transform(*self.triangles.reshape(-1, 3).T))

    @property
    def box(self) -> Any:
        """West, south, bottom, east, north, top."""
        places = self.places
        return np.concatenate([places.min(axis=0), places.max(axis=0)])

    @property
    def rise(self) -> float:
        """Metres from its bottom to its top."""
        return float(self.box[5] - self.box[2])

    @property
    def volume(self) -> float:
        """Cubic metres that outward triangles enclose with a floor at their lowest corner, which buildings do not draw."""
        corners = self.triangles.reshape(-1, 3)
        corners = self.triangles - corners[np.argmin(self.places[:, 2])]
        return float(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)


@dataclass
class Walked:
    """A tileset as a client finds it. `contents`, `etags` by address; `objects` by id, of the finest tiles only."""

    tileset: dict[str, Any]
    contents: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, Found] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    levels: dict[str, int] = field(default_factory=dict)


def _unmorton(place: int) -> tuple[int, int]:
    return sum((place >> 2 * bit & 1) << bit for bit in range(16)), sum(
        (place >> 2 * bit + 1 & 1) << bit for bit in range(16)
    )


def _availability(content: bytes, depth: int) -> list[list[bool]]:
    """Tile, content and child bits of a subtree."""
    length, _ = np.frombuffer(content, "<u8", 2, 8).tolist()
    document, binary = json.loads(content[24 : 24 + length]), content[24 + length :]
    tiles = (4**depth - 1) // 3
    parts = (
        document["tileAvailability"],
        document["contentAvailability"][0],
        document["childSubtreeAvailability"],
    )
    found = []
    for count, part in zip((tiles, tiles, 4**depth), parts, strict=True):
        if "constant" in part:
            found.append([bool(part["constant"])] * count)
            continue
        view = document["bufferViews"][part["bitstream"]]
        data = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        found.append([bool(bit) for bit in bits[:count]])
    return found


def _columns(table: Any) -> dict[str, list[Any]]:
    columns = {}
    for column in table.columns:
        values = column.values.tolist()
        if column.offsets is not None:
            text = column.values.tobytes()
            values = [text[start:end].decode() for start, end in pairwise(column.offsets.tolist())]
        columns[column.id] = [None if value == column.schema.get("noData") else value for value in values]
    return columns


def decode(content: bytes, tile: str = "") -> dict[str, Found]:
    """The objects of a glb by id."""
    read = read_glb(content)
    if read.table is None:
        return {}
    triangles, owners = read.triangles()
    columns = _columns(read.table)
    found: dict[str, Found] = {}
    for row in range(read.table.count):
        properties = {name: values[row] for name, values in columns.items()}
        mine = Found(properties, triangles[owners == row], tile)
        name = str(properties["id"])
        if name in found:  # intervals of one borehole
            mine.triangles = np.concatenate([found[name].triangles, mine.triangles])
        found[name] = mine
    return found


type Get = Callable[[str], tuple[int, Mapping[str, str], bytes]]


@dataclass
class Reader:
    """Reads tilesets of one server by `get(path) -> status, headers (small letters), body`."""

    get: Get

    def ask(self, address: str) -> tuple[Mapping[str, str], bytes]:
        status, headers, body = self.get(address)
        assert status == 200, (address, status, body[:400])
        return headers, body

    def json(self, address: str) -> Any:
        return json.loads(self.ask(address)[1])

    def items(self, collection: str, query: str = "") -> dict[str, dict[str, Any]]:
        """All features of all pages by id."""
        address = f"/t/{TENANT}/ogc/collections/{collection}/items?f=json&limit=200{query and '&' + query}"
        found: dict[str, dict[str, Any]] = {}
        while address:
            page = self.json(address)
            for feature in page["features"]:
                assert str(feature["id"]) not in found
                found[str(feature["id"])] = feature
            following = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
            address = following[following.index("/t/") :] if following else ""
        return found

    def walk(self, collection: str, query: str = "") -> Walked:
        """Everything a tileset names."""
        base = f"/t/{TENANT}/ogc/collections/{collection}/3dtiles/"
        walked = Walked(self.json(f"{base}tileset.json{query and '?' + query}"))
        root = walked.tileset["root"]
        addresses: dict[str, tuple[int, int, int]] = {}
        available: set[tuple[int, int, int]] = set()
        for tile in (root, *root.get("children", ())):
            if "implicitTiling" in tile:
                self._descend(base, tile, addresses, available)
            elif "content" in tile:
                addresses[tile["content"]["uri"]] = (-1, 0, 0)
        for name, (level, x, y) in addresses.items():
            headers, body = self.ask(base + name)
            walked.contents[name], walked.etags[name] = body, headers["etag"]
            walked.levels[name] = level
            below = {(level + 1, 2 * x + right, 2 * y + up) for right in (0, 1) for up in (0, 1)}
            refines = "REPLACE" in json.dumps(walked.tileset)
            if refines and level >= 0 and below & available:  # -1: content without a tile of the tree
                continue
            for one, found in decode(body, name).items():
                if one in walked.objects:
                    walked.twice.append(one)
                walked.objects[one] = found
        return walked

    def _descend(self, base: str, tile: dict[str, Any], addresses: Any, available: Any) -> None:
        implicit, content = tile["implicitTiling"], tile["content"]["uri"]
        depth, left = implicit["subtreeLevels"], [(0, 0, 0)]
        while left:
            level, x, y = left.pop()
            name = implicit["subtrees"]["uri"].format(level=level, x=x, y=y)
            tiles, contents, children = _availability(self.ask(base + name)[1], depth)
            number = 0
            for below in range(depth):
                for place in range(4**below):
                    column, row = _unmorton(place)
                    address = (level + below, (x << below) + column, (y << below) + row)
                    if tiles[number]:
                        available.add(address)
                    if contents[number]:
                        addresses[content.format(level=address[0], x=address[1], y=address[2])] = address
                    number += 1
            for place in range(4**depth):
                if children[place]:
                    column, row = _unmorton(place)
                    left.append((level + depth, (x << depth) + column, (y << depth) + row))

    def explicit(self, collection: str, form: str, query: str = "") -> dict[str, bytes]:
        """Contents of the explicit tilesets ("explicit" or "1.0") by address."""
        base = f"/t/{TENANT}/ogc/collections/{collection}/3dtiles/{form}/"
        contents: dict[str, bytes] = {}
        documents = [f"tileset.json{query and '?' + query}"]
        while documents:
            tiles = [self.json(base + documents.pop())["root"]]
            while tiles:
                tile = tiles.pop()
                tiles += tile.get("children", ())
                uri = tile.get("content", {}).get("uri", "")
                if ".json" in uri:
                    documents.append(uri)
                elif uri:
                    contents[uri] = self.ask(base + uri)[1]
        return contents

    def faults(self, collection: str, query: str = "") -> list[Any]:
        """What the checker finds in what is served."""
        base = f"/t/{TENANT}/ogc/collections/{collection}/3dtiles/"

        def fetch(path: str) -> bytes | None:
            if path == "tileset.json" and query:
                path = f"{path}?{query}"
            status, _, body = self.get(base + path)
            return body if status == 200 else None

        return list(inspect_tileset(CallFiles(fetch)).findings)


@pytest.fixture(scope="session")
def reader() -> type[Reader]:
    """Reads tilesets of a server: `reader(get).walk("houses").objects`."""
    return Reader


@pytest.fixture(scope="session")
def decoded() -> Callable[..., dict[str, Found]]:
    """The objects of a glb by id: `decoded(content)`."""
    return decode


@dataclass
class Home:
    """A data home that is filled by real commands."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def command(self, *arguments: object) -> list[str]:
        """The words of a command line."""
        return [
            str(Path(sys.executable).with_name("chengtu")),
            *map(str, arguments),
            "--home",
            str(self.folder),
        ]

    @property
    def environment(self) -> dict[str, str]:
        """With the settings of this home."""
        return {**os.environ, **{f"CHENGTU_{name}": text for name, text in self.variables.items()}}

    def chengtu(self, *arguments: object, expected: int = 0) -> str:
        """Run a command line as the program would, in this process, for a new one costs seconds of imports; what it said."""
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
            for name, text in self.variables.items():
                patch.setenv(f"CHENGTU_{name}", text)
            code = run([*map(str, arguments), "--home", str(self.folder)])
        assert code == expected, (arguments, code, said.getvalue()[-3000:])
        return said.getvalue()

    def publish(self, file: Path, collection: str, *options: object) -> str:
        """Publish in English only."""
        return self.chengtu(
            "publish", file, "--tenant", TENANT, "--id", collection, "--title", collection, *options
        )

    @property
    def token(self) -> str:
        """The operator's."""
        return (self.folder / "operator.token").read_text().strip()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A data home with an empty tenant."""
    made = Home(tmp_path_factory.mktemp("end-to-end"))
    made.chengtu("tenants", "add", TENANT, "--title", "Town")
    return made


def write_layer(path: Path, shapes: Sequence[Any], crs: str, columns: Mapping[str, Sequence[Any]]) -> Path:
    """A GeoPackage of shapes of one kind."""
    given = np.array(list(shapes), dtype=object)
    kind = given[0].geom_type + (" Z" if shapely.has_z(given[0]) else "")
    arrays = []
    for values in columns.values():
        text = any(isinstance(value, str) for value in values)
        arrays.append(np.array(list(values), dtype=object if text else None))
    pyogrio.raw.write(
        path, shapely.to_wkb(given, output_dimension=3), arrays, list(columns), crs=crs, geometry_type=kind
    )
    return path


@pytest.fixture(scope="session")
def layer() -> Callable[..., Path]:
    """Writes a GeoPackage: `layer(path, shapes, crs, columns)`."""
    return write_layer
