"""3D tilesets over HTTP: edits, filters, instants, rights, forms, and the tileset of a whole view."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import shapely

from providers.features.conformance import self_test
from providers.features.schema import FieldDefinition
from providers.features.source import Edit, EditKind
from providers.features.store import FeatureStore, FeatureStoreWriter, open_store
from providers.three_d.footprints import FootprintRecipe
from providers.three_d.object_features import FeaturesAt
from providers.three_d.recipes import write_recipe
from server.http.app import create_app, create_flask, make_services
from server.http.three_d_subset import ids_of
from server.registry.catalogue import Access, Field, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.registry import Registry, open_registry
from server.registry.staging import staging_folder
from server.settings import Settings, load_settings
from tiles.three_d.build import BuildOptions, build_tileset
from tiles.three_d.check import check_tileset
from tiles.three_d.read_glb import read_glb
from tiles.three_d.subset import property_rows

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
    replace: bool = False, seed: int = 3, tenant: str = "demo",
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
        built = build_tileset(
            staged / "3dtiles", staged / "scene", recipe, BuildOptions(processes=1, capacity=CAPACITY)
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


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, wsgi_client: Any) -> Iterator[Town]:
    home = tmp_path_factory.mktemp("town")
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        for name in ("houses", "edited", "history"):
            publish_houses(registry, home, name)
        publish_houses(registry, home, "secret", count=30, access=Access.PRIVATE)
        client = wsgi_client(create_app(settings))
        slow = wsgi_client(create_flask(make_services(settings)))
        yield Town(home, settings, registry, client, slow)


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


def built_anew(town: Town, collection: str, folder: Path) -> Path:
    """A tileset built afresh of the collection's present features."""
    folder.mkdir()
    town.store(collection).copy_to(folder / "features.gpkg")
    recipe = FootprintRecipe(FeaturesAt(folder), height_field="height")
    build_tileset(folder / "3dtiles", folder / "scene", recipe, BuildOptions(processes=1, capacity=CAPACITY))
    return folder / "3dtiles"


def features_of_folder(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        one["id"]: one
        for file in sorted(folder.glob("content/**/*.glb"))
        for one in features_in(file.read_bytes())
    }


# --- as published ----------------------------------------------------------------------------------------------------------


def test_files_with_validators_codings_and_ranges(town: Town) -> None:
    walked = walk(town.client, url("houses"))
    assert len(walked.features) == COUNT
    assert len(walked.contents) > 4
    name, plain = next(iter(walked.contents.items()))
    address = url("houses", name)
    assert plain.headers["Content-Type"] == "model/gltf-binary"
    for client in (town.client, town.slow):
        packed = client.get(address, accept_encoding="gzip")
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body
        assert client.get(address, if_none_match=packed.headers["ETag"], accept_encoding="gzip").status == 304
        part = client.get(address, range="bytes=4-7")
        assert (part.status, part.body) == (206, plain.body[4:8])
        assert client.get(address, range=f"bytes={len(plain.body)}-").status == 416
        head = client.request("HEAD", address)
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(plain.body)))
        assert client.get(url("houses", "content/9/600/0.glb")).status == 404
        assert client.get(url("houses", "../features.gpkg")).status == 404
        assert client.get(url("houses", "tileset.json.gz")).status == 404
        assert client.get(url("houses", "../scene/plan/plan.json")).status == 404
    subtree = next(iter(walked.subtrees.values()))
    assert subtree.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("accept", "served"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/3dtiles+json", "application/3dtiles+json"),
        ("application/json+3dtiles", "application/json+3dtiles"),
    ],
)
def test_both_media_types_of_geovolumes(town: Town, accept: str, served: str) -> None:
    for address in (url("houses"), "/t/demo/ogc/3dtiles/tileset.json", url("houses").rpartition("/")[0]):
        reply = town.client.get(address, accept=accept)
        assert reply.headers["Content-Type"] == served
        assert "Accept" in reply.headers["Vary"].split(", ")


def test_private_tilesets(town: Town) -> None:
    walked = walk(town.client, url("secret"), {"authorization": f"Bearer {town.token}"})
    assert len(walked.features) == 30
    assert all(reply.headers["Cache-Control"].startswith("private") for reply in walked.contents.values())
    for name in (
        "tileset.json",
        *walked.contents,
        *walked.subtrees,
        "explicit/tileset.json",
        "1.0/tileset.json",
    ):
        assert town.client.get(url("secret", name)).status == 404, name
        assert town.client.get(url("absent", name)).status == 404, name


# --- edits -----------------------------------------------------------------------------------------------------------------


def test_an_edit_over_http_is_in_the_next_answer_and_touches_its_tiles_only(town: Town) -> None:
    before = walk(town.client, url("edited"))
    identifier = next(iter(before.features))
    items = "/t/demo/ogc/collections/edited/items"
    reply = town.client.request(
        "PATCH",
        f"{items}/{identifier}",
        json.dumps({"properties": {"name": "renamed", "height": 99.5}}).encode(),
        content_type="application/merge-patch+json",
        authorization=f"Bearer {town.token}",
    )
    assert reply.status in (200, 204), reply.body
    after = walk(town.client, url("edited"))
    assert after.features[identifier]["name"] == "renamed"
    assert after.features.keys() == before.features.keys()
    changed = [
        name
        for name, reply in after.contents.items()
        if reply.headers["ETag"] != before.contents[name].headers["ETag"]
    ]
    assert [
        name
        for name in changed
        if identifier in [one["id"] for one in features_in(after.contents[name].body)]
    ]
    assert len(changed) == 1
    for name, answer in after.contents.items():
        assert (answer.body == before.contents[name].body) == (name not in changed)
    # Whoever has an untouched tile is told so.
    kept = next(name for name in after.contents if name not in changed)
    assert (
        town.client.get(url("edited", kept), if_none_match=before.contents[kept].headers["ETag"]).status
        == 304
    )
    address = url("edited", changed[0])
    packed = town.client.get(address, accept_encoding="gzip")
    assert gzip.decompress(packed.body) == after.contents[changed[0]].body
    assert town.client.get(address, range="bytes=0-3").body == b"glTF"
    assert town.client.request("HEAD", address).body == b""


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


def test_fifty_random_edits_equal_a_fresh_build(town: Town, tmp_path: Path) -> None:
    other = town.store("edited")
    for turn in range(5):
        random_edits(other, 10, turn)
        walked = walk(town.client if turn % 2 else town.slow, url("edited"))
        assert walked.features.keys() == set(other.read(fields=()).ids)
    fresh = features_of_folder(built_anew(town, "edited", tmp_path / "anew"))
    same_features(walk(town.client, url("edited")).features, fresh)
    # Another process, which knows nothing of all that, has the same to say.
    again = type(town.client)(create_app(town.settings))
    same_features(walk(again, url("edited")).features, fresh)
    check_served(town, "edited", tmp_path / "served")


def check_served(town: Town, collection: str, folder: Path) -> None:
    """What is served is a good tileset, by the checker."""
    walked = walk(town.client, url(collection))
    folder.mkdir()
    files = {"tileset.json": town.client.get(url(collection))} | walked.contents | walked.subtrees
    for name, reply in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(reply.body)
        (folder / f"{name}.gz").write_bytes(gzip.compress(reply.body))
    assert [str(one) for one in check_tileset(folder)] == []


def test_everything_deleted_and_something_far_away(town: Town, tmp_path: Path) -> None:
    publish_houses(town.registry, town.home, "emptied", count=20)
    other = town.store("emptied")
    far = other.edit([Edit(EditKind.CREATE, geometry=house(25.4, 60.3), properties={"height": 12.0})])[
        0
    ].feature_id
    walked = walk(town.client, url("emptied"))
    assert len(walked.features) == 21
    assert far in walked.features
    root = town.client.json(url("emptied"))["root"]["boundingVolume"]["region"]
    assert root[2] > math.radians(25.4)
    for form in ("explicit", "1.0"):
        tree = town.client.json(url("emptied", f"{form}/tileset.json"))
        assert "outside" in json.dumps(tree)
    other.edit([Edit(EditKind.DELETE, one) for one in other.read(fields=()).ids if one != far])
    assert list(walk(town.client, url("emptied")).features) == [far]
    other.edit([Edit(EditKind.DELETE, far)])
    assert walk(town.client, url("emptied")).features == {}
    back = other.edit([Edit(EditKind.CREATE, geometry=house(24.91, 60.16), properties={"height": 8.0})])[
        0
    ].feature_id
    assert list(walk(town.client, url("emptied")).features) == [back]


def test_republishing_and_restoring_take_their_edits_along(town: Town) -> None:
    publish_houses(town.registry, town.home, "again", count=20)
    first = town.store("again")
    gone = first.read(fields=()).ids[0]
    first.edit([Edit(EditKind.DELETE, gone)])
    assert len(walk(town.client, url("again")).features) == 19
    publish_houses(town.registry, town.home, "again", count=25, replace=True, seed=8)
    assert len(walk(town.client, url("again")).features) == 25
    town.registry.restore_generation("demo", "again", 1)
    restored = walk(town.client, url("again")).features
    assert len(restored) == 19
    assert gone not in restored


def test_a_folder_of_live_changes_that_is_lost_is_made_again(town: Town) -> None:
    publish_houses(town.registry, town.home, "lost", count=20)
    other = town.store("lost")
    other.edit([Edit(EditKind.DELETE, other.read(fields=()).ids[0])])
    tags = {name: reply.headers["ETag"] for name, reply in walk(town.client, url("lost")).contents.items()}
    shutil.rmtree(town.directory("lost") / "scene" / "live")
    again = type(town.client)(create_app(town.settings))
    from server.http.three_d_live import close_tilesets

    close_tilesets()
    walked = walk(again, url("lost"))
    assert len(walked.features) == 19
    assert tags.keys() == walked.contents.keys()


# --- instants --------------------------------------------------------------------------------------------------------------


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_the_tileset_as_it_was(town: Town) -> None:
    other = town.store("history")
    published = walk(town.client, url("history")).features
    moments = [(now(), published)]
    for turn in range(3):
        random_edits(other, 6, 100 + turn)
        moments.append((now(), walk(town.client, url("history")).features))
    for instant, expected in moments:
        same_features(walk(town.client, url("history", f"tileset.json?asof={instant}")).features, expected)
    assert town.client.get(url("history", "tileset.json?asof=2001-01-01T00:00:00Z")).status == 400
    filtered = walk(town.client, url("history", f"tileset.json?asof={moments[1][0]}&kind=shop")).features
    assert filtered.keys() == {key for key, one in moments[1][1].items() if one["kind"] == "shop"}
    publish_houses(town.registry, town.home, "history", count=10, replace=True, seed=5)
    assert len(walk(town.client, url("history")).features) == 10
    for instant, expected in moments:
        same_features(walk(town.client, url("history", f"tileset.json?asof={instant}")).features, expected)


# --- filters ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "kind=shop",
        "filter=height%20%3E%2040%20AND%20kind%20%3C%3E%20%27flat%27",
        "filter=height%3E40&filter-lang=cql2-text",
        "bbox=24.91,60.155,24.92,60.165",
        "datetime=2010-01-01/2014-12-31",
        "filter=%7B%22op%22%3A%22%3D%22%2C%22args%22%3A%5B%7B%22property%22%3A%22kind%22%7D%2C%22shop%22%5D%7D&filter-lang=cql2-json",
        "filter=S_INTERSECTS(geometry,BBOX(24.91,60.155,24.93,60.165))",
        "q=楼 17",
        "bbox=24.91,60.155,24.93,60.17&kind=flat",
        "kind=nothing",
    ],
)
def test_a_filter_chooses_the_same_features_as_items(town: Town, query: str) -> None:
    items = town.client.json(
        f"/t/demo/ogc/collections/houses/items?limit=1000&{query}", accept="application/geo+json"
    )
    walked = walk(town.client, url("houses", f"tileset.json?{query}"))
    assert walked.features.keys() == {str(one["id"]) for one in items["features"]}
    if walked.contents:
        name, reply = next(iter(walked.contents.items()))
        assert town.client.get(url("houses", name), if_none_match=reply.headers["ETag"]).status == 304


@pytest.mark.parametrize(
    "query",
    [
        "x=1",
        "filter=height%20%3E",
        "filter=nothing%20%3D%201",
        "bbox=1,2,3",
        "datetime=yesterday",
        "limit=3",
        "asof=then",
        "kind=shop&kind=flat",
        "filter=height%3E1&filter-lang=sql",
    ],
)
@pytest.mark.parametrize(
    "path", ["tileset.json", "subtrees/0/0/0.subtree", "content/0/0/0.glb", "explicit/tileset.json"]
)
def test_bad_filters_are_refused(town: Town, path: str, query: str) -> None:
    reply = town.client.get(url("houses", f"{path}?{query}"))
    assert reply.status == 400, reply.body
    assert reply.headers["Content-Type"] == "application/problem+json"


def test_a_filtered_tile_follows_edits(town: Town) -> None:
    publish_houses(town.registry, town.home, "chosen", count=60)
    other = town.store("chosen")
    address = url("chosen", "tileset.json?kind=shop")
    before = walk(town.client, address).features
    flat = next(
        key for key, one in walk(town.client, url("chosen")).features.items() if one["kind"] == "flat"
    )
    other.edit([Edit(EditKind.UPDATE, flat, properties={"kind": "shop"})])
    after = walk(town.client, address).features
    assert after.keys() == before.keys() | {flat}


# --- other forms -----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("query", ["", "?kind=shop"])
def test_explicit_tree_and_version_1_0(town: Town, query: str) -> None:
    whole = walk(town.client, url("houses", f"tileset.json{query}"))
    explicit = contents_of_tree(town.client, url("houses", f"explicit/tileset.json{query}"))
    assert {
        one["id"] for reply in explicit.values() for one in features_in(reply.body)
    } == whole.features.keys()
    old = contents_of_tree(town.client, url("houses", f"1.0/tileset.json{query}"))
    assert town.client.json(url("houses", f"1.0/tileset.json{query}"))["asset"]["version"] == "1.0"
    ids: list[str] = []
    for name, reply in old.items():
        assert reply.status == 200, (name, reply.body[:300])
        assert reply.body[:4] == b"b3dm"
        table_json, table_binary = np.frombuffer(reply.body, "<u4", 2, 20).tolist()
        feature_json, feature_binary = np.frombuffer(reply.body, "<u4", 2, 12).tolist()
        start = 28 + feature_json + feature_binary
        batch = json.loads(reply.body[start : start + table_json] or b"{}")
        del table_binary
        ids += batch.get("id", [])
    assert sorted(ids) == sorted(whole.features)
    for form in ("explicit", "1.0"):
        assert town.client.get(url("houses", f"{form}/9-9-9.json")).status == 404
        assert town.client.get(url("houses", f"{form}/other.json")).status == 404
    assert town.client.get(url("houses", "1.0/content/9/1/1.b3dm")).status == 404


# --- hidden fields ---------------------------------------------------------------------------------------------------------


def test_hidden_fields_are_in_no_table(town: Town, monkeypatch: pytest.MonkeyPatch, wsgi_client: Any) -> None:
    from server.http import services
    from server.identity import decision as decisions

    real = decisions.decide

    def hiding(who: Any, action: Any, resource: Any) -> Any:
        found = real(who, action, resource)
        if resource is None or who.operator:
            return found
        return decisions.Decision(found.allowed, frozenset({"name", "built"}), None, "part")

    monkeypatch.setattr(services, "decide", hiding)
    client = wsgi_client(create_app(town.settings))
    walked = walk(client, url("houses"))
    assert len(walked.features) == COUNT
    shown = set(next(iter(walked.features.values())))
    assert {"id", "kind", "height"} <= shown
    assert not shown & {"name", "built", "built_epoch"}
    assert all("private" in reply.headers["Cache-Control"] for reply in walked.contents.values())
    assert client.get(url("houses", "tileset.json?name=x")).status == 400
    assert client.get(url("houses", "tileset.json?filter=built%20IS%20NULL")).status == 400
    old = contents_of_tree(client, url("houses", "1.0/tileset.json"))
    assert all(b'"name"' not in reply.body[28:4096] for reply in old.values())
    whole = walk(client, url("houses"), {"authorization": f"Bearer {town.token}"})
    assert "name" in next(iter(whole.features.values()))


def test_ids_of_a_table(town: Town) -> None:
    reply = next(iter(walk(town.client, url("houses")).contents.values()))
    table = property_rows(reply.body)
    assert table is not None
    assert ids_of(table) == [one["id"] for one in features_in(reply.body)]


def test_a_store_that_cannot_be_read_keeps_the_last_good_state(town: Town) -> None:
    publish_houses(town.registry, town.home, "broken", count=20)
    before = walk(town.client, url("broken")).features
    source = town.directory("broken") / "scene" / "source.json"
    content = source.read_bytes()
    from server.http.three_d_live import close_tilesets

    close_tilesets()
    source.write_bytes(b"{")
    other = open_store(town.directory("broken") / "features.gpkg")
    other.edit([Edit(EditKind.DELETE, next(iter(before)))])
    assert walk(town.client, url("broken")).features.keys() == before.keys()
    source.write_bytes(content)
    close_tilesets()
    assert len(walk(town.client, url("broken")).features) == 19


def test_both_lanes_answer_alike(town: Town) -> None:
    """The hot lane and the full application, on published and on edited tiles."""
    town.store("edited").edit([Edit(EditKind.DELETE, town.store("edited").read(fields=()).ids[0])])
    walked = walk(town.slow, url("edited"))
    for name in (*walked.contents, *walked.subtrees):
        hot = town.client.get(url("edited", name), accept_encoding="gzip")
        again = town.client.get(url("edited", name), accept_encoding="gzip")
        full = town.slow.get(url("edited", name), accept_encoding="gzip")
        assert (hot.status, hot.body, hot.headers) == (full.status, full.body, full.headers), name
        assert (again.status, again.body, again.headers) == (full.status, full.body, full.headers), name
        for headers in ({"if_none_match": hot.headers["ETag"]}, {"if_none_match": '"other"'}):
            left = town.client.get(url("edited", name), accept_encoding="gzip", **headers)
            right = town.slow.get(url("edited", name), accept_encoding="gzip", **headers)
            assert (left.status, left.body, left.headers) == (right.status, right.body, right.headers)


# --- several processes -----------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from providers.features.store import open_store
from providers.three_d.edits import EmbeddedEdits
from providers.three_d.recipes import read_recipe
from tiles.three_d import live, live_store

directory, moment = Path(sys.argv[1]), sys.argv[2]
real = live_store.LiveStore._writing

@contextmanager
def killed(self):
    with real(self) as connection:
        yield connection
        os.kill(os.getpid(), signal.SIGKILL)  # everything is written, nothing is committed

if moment == "writing":
    live_store.LiveStore._writing = killed
else:
    live._outlines = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
store = open_store(directory / "features.gpkg")
live.LiveTileset(directory / "3dtiles", directory / "scene", read_recipe(directory), EmbeddedEdits(store), 0).current()
"""


@pytest.mark.parametrize("moment", ["writing", "reading"])
def test_killed_while_catching_up(town: Town, moment: str) -> None:
    name = f"killed_{moment}"
    publish_houses(town.registry, town.home, name, count=40)
    other = town.store(name)
    ids = other.read(fields=()).ids
    other.edit([Edit(EditKind.DELETE, ids[0])])
    assert len(walk(town.client, url(name)).features) == 39
    other.edit([Edit(EditKind.DELETE, ids[1]), Edit(EditKind.UPDATE, ids[2], geometry=house(24.93, 60.17))])
    command = [sys.executable, "-c", KILLED, str(town.directory(name)), moment]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    features = walk(town.client, url(name)).features
    assert features.keys() == set(ids[2:])


def test_too_many_edits_are_caught_up_with_aside(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    from server.http.three_d_live import close_tilesets
    from tiles.three_d import live

    publish_houses(town.registry, town.home, "mass", count=60)
    before = walk(town.client, url("mass"))
    monkeypatch.setattr(live, "AT_ONCE", 7)
    monkeypatch.setattr(live, "_REST", 0.0)
    other = town.store("mass")
    ids = other.read(fields=()).ids
    other.edit([Edit(EditKind.UPDATE, one, properties={"name": "all"}) for one in ids])
    assert town.client.get(url("mass")).status == 200  # the last good state, at once
    deadline = time.monotonic() + 60
    while any(one["name"] != "all" for one in walk(town.client, url("mass")).features.values()):
        assert time.monotonic() < deadline
    assert walk(town.client, url("mass")).features.keys() == before.features.keys()
    close_tilesets()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_workers_show_every_edit_at_once(town: Town, wsgi_client: Any) -> None:
    """Edits by HTTP, and by a process of their own: the next answer of either worker has them."""
    publish_houses(town.registry, town.home, "shared", count=60)
    port = free_port()
    command = [str(Path(sys.executable).with_name("chengtu")), "serve", "--home", str(town.home)]
    process = subprocess.Popen([*command, "--port", str(port), "--workers", "2"])
    address = f"http://127.0.0.1:{port}"
    session = requests.Session()

    class Reader:
        """Asks with a connection of its own each time, so that either worker may answer."""

        def get(self, path: str, **headers: str) -> Any:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            reply = requests.get(address + path, headers={"Connection": "close", **named}, timeout=30)
            found = wsgi_client.get.__globals__["Reply"]
            return found(reply.status_code, dict(reply.headers), reply.content)

        def json(self, path: str, **headers: str) -> Any:
            reply = self.get(path, **headers)
            assert reply.status == 200, reply.body[:300]
            return json.loads(reply.body)

    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                if session.get(f"{address}/health/ready", timeout=5).status_code == 200:
                    break
            except requests.ConnectionError:
                pass
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.1)
        reader, other = Reader(), town.store("shared")
        ids = other.read(fields=()).ids
        for turn in range(6):
            if turn % 2:
                other.edit([Edit(EditKind.DELETE, ids[turn])])
            else:
                reply = requests.delete(
                    f"{address}/t/demo/ogc/collections/shared/items/{ids[turn]}",
                    headers={"Authorization": f"Bearer {town.token}", "If-Match": "*"},
                    timeout=30,
                )
                assert reply.status_code in (200, 204), reply.text
            for _ in range(2):
                assert walk(reader, url("shared")).features.keys() == set(ids[turn + 1 :]), turn
    finally:
        process.terminate()
        process.wait(20)
