"""A town of houses with 3D tilesets, and a client that walks them by its own code."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from providers.features.conformance import self_test
from providers.features.schema import FieldDefinition
from providers.features.source import Edit, EditKind
from providers.features.store import FeatureStore, FeatureStoreWriter
from providers.three_d.footprints import FootprintRecipe
from providers.three_d.object_features import FeaturesAt
from providers.three_d.recipes import write_recipe
from server.http.app import create_app, create_flask, make_services
from server.registry.catalogue import Access, Field, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.registry import Registry, open_registry
from server.registry.staging import staging_folder
from server.settings import Settings, load_settings
from tiles.three_d.build import BuildOptions, build_tileset
from tiles.three_d.build_tile import TileOptions
from tiles.three_d.check import check_tileset
from tiles.three_d.glb import Compression, GlbOptions
from tiles.three_d.read_glb import read_glb

WEST, SOUTH, EAST, NORTH = 24.90, 60.15, 24.95, 60.18
COUNT = 400
CAPACITY = 3000
"""Vertices a tile, so that a few hundred houses make a tree."""
FIELDS = (
    FieldDefinition("name", "string"),
    FieldDefinition("kind", "string"),
    FieldDefinition("height", "number"),
    FieldDefinition("built", "string", "date"),
)


def house(x: float, y: float, width: float = 0.0004) -> shapely.Geometry:
    return shapely.box(x, y, x + width, y + width / 2)


def publish_houses(
    registry: Registry, home: Path, collection: str, *, count: int = COUNT, access: Access = Access.PUBLIC,
    replace: bool = False, seed: int = 3,
    tenant: str = "demo", compression: Compression = Compression.NONE,
) -> None:  # fmt: skip
    """A collection of houses with a 3D tileset that can follow edits."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(WEST, EAST - 0.002, count), random.uniform(SOUTH, NORTH - 0.002, count)
    columns: dict[str, list[Any]] = {
        "name": [f"楼 {number}" for number in range(count)],
        "kind": [("flat", "shop", "office")[number % 3] for number in range(count)],
        "height": [round(float(h), 1) for h in random.uniform(3, 60, count)],
        "built": [f"20{number % 25:02d}-01-01" for number in range(count)],
    }
    with staging_folder(home) as folder:
        staged = folder / "generation"
        staged.mkdir()
        with FeatureStoreWriter(
            staged / "features.gpkg", fields=FIELDS, storage_crs="EPSG:4326", time_field="built"
        ) as writer:
            writer.add([house(*place) for place in zip(x, y, strict=True)], columns)
            summary = writer.finish()
        recipe = FootprintRecipe(FeaturesAt(staged), height_field="height")
        tile = TileOptions(GlbOptions(compression=compression))
        built = build_tileset(
            staged / "3dtiles", staged / "scene", recipe, BuildOptions(tile, processes=1, capacity=CAPACITY)
        )
        write_recipe(staged, recipe)
        representations = [
            Representation(
                RepresentationKind.FEATURES,
                "features.gpkg",
                0,
                properties={
                    "geometry_type": summary.geometry_type,
                    "count": summary.count,
                    "time_field": "built",
                    "id_field": None,
                    "conformance": self_test(FeatureStore(staged / "features.gpkg")).passed,
                    "if_match_required": False,
                },
            ),
            Representation(
                RepresentationKind.TILESET_3D,
                "3dtiles/tileset.json",
                0,
                properties={"content": "buildings", "feature_count": built.feature_count},
            ),
        ]
        draft = CollectionDraft(
            tenant=tenant,
            id=collection,
            titles={"en": f"Houses of {collection}", "zh": "楼"},
            bbox=built.bbox84h,
            storage_crs="http://www.opengis.net/def/crs/EPSG/0/4326",
            access=access,
            attribution="© the makers of this test",
            licence="CC0-1.0",
            fields=tuple(Field(f.name, f.type, f.format, f.column, f.title) for f in summary.fields),
        )
        registry.publish(draft, representations, staged, replace)


def url(collection: str, path: str = "tileset.json") -> str:
    return f"/t/demo/ogc/collections/{collection}/3dtiles/{path}"


@dataclass
class Walked:
    """What a client of implicit tiling finds: names of contents with their answers, and what the features say."""

    contents: dict[str, Any]
    subtrees: dict[str, Any]
    features: dict[str, dict[str, Any]]


def walk(client: Any, address: str, headers: dict[str, str] | None = None) -> Walked:
    """Ask for all that a tileset names, as a client does."""
    headers = headers or {}
    base = address.partition("?")[0].rpartition("/")[0]
    tileset = client.json(address, **headers)
    root = tileset["root"]
    tiles = [root, *root.get("children", ())]
    implicit = next((tile for tile in tiles if "implicitTiling" in tile), None)
    contents: dict[str, Any] = {}
    subtrees: dict[str, Any] = {}
    for tile in tiles:
        if tile is not implicit and "content" in tile:
            contents[tile["content"]["uri"]] = client.get(f"{base}/{tile['content']['uri']}", **headers)
    if implicit is not None:
        content, tree = implicit["content"]["uri"], implicit["implicitTiling"]
        depth = tree["subtreeLevels"]
        left = [(0, 0, 0)]
        while left:
            level, x, y = left.pop()
            name = tree["subtrees"]["uri"].format(level=level, x=x, y=y)
            reply = client.get(f"{base}/{name}", **headers)
            assert reply.status == 200, (name, reply.body[:300])
            subtrees[name] = reply
            tile_bits, content_bits, child_bits = availability(reply.body, depth)
            number = 0
            for below in range(depth):
                for place in range(4**below):
                    if content_bits[number]:
                        assert tile_bits[number]
                        column, row = unmorton(place)
                        at = content.format(
                            level=level + below, x=(x << below) + column, y=(y << below) + row
                        )
                        contents[at] = client.get(f"{base}/{at}", **headers)
                    number += 1
            for place in range(4**depth):
                if child_bits[place]:
                    column, row = unmorton(place)
                    left.append((level + depth, (x << depth) + column, (y << depth) + row))
    features: dict[str, dict[str, Any]] = {}
    for name, reply in contents.items():
        assert reply.status == 200, (name, reply.body[:300])
        for one in features_in(reply.body):
            assert one["id"] not in features, "an object is drawn twice"
            features[one["id"]] = one
    return Walked(contents, subtrees, features)


def unmorton(place: int) -> tuple[int, int]:
    x = sum((place >> 2 * bit & 1) << bit for bit in range(16))
    return x, sum((place >> 2 * bit + 1 & 1) << bit for bit in range(16))


def availability(content: bytes, depth: int) -> list[list[bool]]:
    """Tile, content and child bits of a subtree, read by this test's own code."""
    json_length, _ = np.frombuffer(content, "<u8", 2, 8).tolist()
    document = json.loads(content[24 : 24 + json_length])
    binary = content[24 + json_length :]
    found = []
    counts = (sum(4**below for below in range(depth)), sum(4**below for below in range(depth)), 4**depth)
    parts = (
        document["tileAvailability"],
        document["contentAvailability"][0],
        document["childSubtreeAvailability"],
    )
    for count, part in zip(counts, parts, strict=True):
        if "constant" in part:
            found.append([bool(part["constant"])] * count)
            continue
        view = document["bufferViews"][part["bitstream"]]
        data = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        found.append([bool(bit) for bit in bits[:count]])
    return found


def features_in(content: bytes) -> list[dict[str, Any]]:
    """What a tile says of its features, and where they are (ECEF box)."""
    tile = read_glb(content)
    if tile.table is None:
        return []
    triangles, owners = tile.triangles()
    columns = {}
    for column in tile.table.columns:
        if column.offsets is None:
            columns[column.id] = column.values.tolist()
        else:
            text, limits = column.values.tobytes(), column.offsets.tolist()
            columns[column.id] = [text[a:b].decode() for a, b in pairwise(limits)]
    found = []
    for row in range(tile.table.count):
        corners = triangles[owners == row].reshape(-1, 3)
        assert len(corners), "a feature without a triangle"
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        found.append({name: values[row] for name, values in columns.items()} | {"box": box})
    return found


def same_features(left: dict[str, dict[str, Any]], right: dict[str, dict[str, Any]]) -> None:
    assert left.keys() == right.keys()
    for identifier, one in left.items():
        other = right[identifier]
        assert {k: v for k, v in one.items() if k != "box"} == {k: v for k, v in other.items() if k != "box"}
        assert np.allclose(one["box"], other["box"], atol=0.1), identifier


def features_of_folder(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        one["id"]: one
        for file in sorted(folder.glob("content/**/*.glb"))
        for one in features_in(file.read_bytes())
    }


def random_edits(store: FeatureStore, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(count):
        ids = store.read(fields=()).ids
        chosen = ids[int(random.integers(len(ids)))]
        place = house(float(random.uniform(WEST, EAST - 0.01)), float(random.uniform(SOUTH, NORTH - 0.01)),
                      float(random.choice([0.0003, 0.003])))  # fmt: skip
        match int(random.integers(4)):
            case 0:
                edit = Edit(EditKind.DELETE, chosen)
            case 1:
                properties = {
                    "name": "new",
                    "height": float(random.uniform(3, 80)),
                    "kind": None,
                    "built": None,
                }
                edit = Edit(EditKind.CREATE, geometry=place, properties=properties)
            case 2:
                edit = Edit(EditKind.UPDATE, chosen, geometry=place)
            case _:
                edit = Edit(EditKind.UPDATE, chosen, properties={"height": float(random.uniform(3, 200))})
        store.edit([edit])


def contents_of_tree(client: Any, address: str) -> dict[str, Any]:
    """All contents that an explicit tree names."""
    found: dict[str, Any] = {}
    left = [address]
    while left:
        document_address = left.pop()
        base = document_address.partition("?")[0].rpartition("/")[0]
        document = client.json(document_address)
        tiles = [document["root"]]
        while tiles:
            tile = tiles.pop()
            tiles += tile.get("children", ())
            assert "implicitTiling" not in tile
            if "content" in tile:
                parts = f"{base}/{tile['content']['uri']}".split("/")
                while ".." in parts:
                    at = parts.index("..")
                    del parts[at - 1 : at + 1]
                target = "/".join(parts)
                if target.partition("?")[0].endswith(".json"):
                    left.append(target)
                else:
                    found[target] = client.get(target)
    return found


@dataclass
class Town:
    """A published town of its own for each test module."""

    home: Path
    settings: Settings
    registry: Registry
    client: Any
    slow: Any

    @property
    def token(self) -> str:
        return (self.home / "operator.token").read_text().strip()

    def directory(self, collection: str) -> Path:
        found = make_services(self.settings).catalogue.current().find("demo", collection)
        assert found is not None
        return found.directory

    def store(self, collection: str) -> FeatureStore:
        """As another process would open it: nothing tells the server of its edits."""
        return FeatureStore(self.directory(collection) / "features.gpkg")

    def publish(self, collection: str, **given: Any) -> None:
        """A collection of houses; see `publish_houses`."""
        publish_houses(self.registry, self.home, collection, **given)

    def walk(self, collection: str, path: str = "tileset.json", client: Any = None, **headers: str) -> Walked:
        """All that a client finds."""
        return walk(client or self.client, url(collection, path), headers)

    def features(self, collection: str, path: str = "tileset.json") -> dict[str, dict[str, Any]]:
        """What the tiles say of the features, by id."""
        return self.walk(collection, path).features

    def built_anew(self, collection: str, folder: Path) -> Path:
        """A tileset built afresh of the collection's present features."""
        folder.mkdir()
        self.store(collection).copy_to(folder / "features.gpkg")
        recipe = FootprintRecipe(FeaturesAt(folder), height_field="height")
        options = BuildOptions(processes=1, capacity=CAPACITY)
        build_tileset(folder / "3dtiles", folder / "scene", recipe, options)
        return folder / "3dtiles"

    def check_served(self, collection: str, folder: Path) -> None:
        """What is served is a good tileset, by the checker."""
        walked = self.walk(collection)
        folder.mkdir()
        files = {"tileset.json": self.client.get(url(collection))} | walked.contents | walked.subtrees
        for name, reply in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(reply.body)
            (folder / f"{name}.gz").write_bytes(gzip.compress(reply.body))
        assert [str(one) for one in check_tileset(folder)] == []

    url = staticmethod(url)
    house = staticmethod(house)
    features_in = staticmethod(features_in)
    same_features = staticmethod(same_features)
    features_of_folder = staticmethod(features_of_folder)
    contents_of_tree = staticmethod(contents_of_tree)
    random_edits = staticmethod(random_edits)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, wsgi_client: Any) -> Iterator[Town]:
    """A home with the collection "houses"; each module has its own."""
    home = tmp_path_factory.mktemp("town")
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        publish_houses(registry, home, "houses")
        client = wsgi_client(create_app(settings))
        slow = wsgi_client(create_flask(make_services(settings)))
        yield Town(home, settings, registry, client, slow)
