"""Vector tilesets of collections and of the dataset: metadata, layers, rights, archives, past states, validators."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from providers.features.source import Edit, EditKind
from providers.features.store import open_store
from providers.tiles.archive import build_pmtiles, margin_box84
from providers.tiles.vector import vector_tile
from server.http.tile_maker import TileMaker
from server.identity.decision import Decision
from server.registry.catalogue import Collection, Representation, RepresentationKind
from tiles.cache import Places, open_tile_cache
from tiles.grids import TileId
from tiles.pmtiles import Archive

BOXES = "/t/demo/ogc/collections/boxes"
TILE = "WebMercatorQuad/10/445/835"


def test_tilesets_come_in_every_set(client: Any) -> None:
    found = {
        tileset["title"].split("(")[1].rstrip(")"): tileset
        for tileset in client.json(f"{BOXES}/tiles")["tilesets"]
    }
    assert list(found) == [
        *("WebMercatorQuad", "WorldCRS84Quad", "CGCS2000Quad"),
        *("CGCS2000GK3Zone38", "CGCS2000GK3CM114E"),
    ]
    assert "tileMatrixSetURI" not in found["CGCS2000Quad"]
    assert found["CGCS2000GK3CM114E"]["crs"] == "http://www.opengis.net/def/crs/EPSG/0/4547"
    for name, tileset in found.items():
        (layer,) = tileset["layers"]
        assert layer["id"] == "boxes"
        assert layer["geometryDimension"] == 2
        assert set(layer["propertiesSchema"]["properties"]) == {"name", "kind", "height", "built"}
        links = {link["rel"]: link["href"] for link in tileset["links"]}
        assert client.json(links["http://www.opengis.net/def/rel/ogc/1.0/tiling-scheme"])["id"] == name
        limit = tileset["tileMatrixSetLimits"][0]
        address = (
            links["item"]
            .replace("{tileMatrix}", limit["tileMatrix"])
            .replace("{tileRow}", str((limit["minTileRow"] + limit["maxTileRow"]) // 2))
            .replace("{tileCol}", str((limit["minTileCol"] + limit["maxTileCol"]) // 2))
        )
        reply = client.get(address)
        assert reply.status == 200, (name, address)
        assert reply.headers["Content-Type"] == "application/vnd.mapbox-vector-tile"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("WebMercatorQuad/10/445/835", 200),
        ("WebMercatorQuad/10/0/0", 204),  # nothing lies there
        ("WebMercatorQuad/24/0/0", 204),  # beyond the listed zooms: made all the same
        ("WebMercatorQuad/25/0/0", 404),
        ("WebMercatorQuad/10/1024/0", 404),
        ("WebMercatorQuad/0/0/1", 404),
        ("WebMercatorQuad/-1/0/0", 404),
        ("WebMercatorQuad/x/0/0", 404),
        ("MoonQuad/0/0/0", 404),
        ("CGCS2000Quad/10/383/1672", 200),
        ("CGCS2000GK3CM114E/21/0/0", 404),
        ("CGCS2000GK3CM75E/12/5000/10", 204),
        ("WebMercatorQuad/10/445/835?f=png", 400),
        ("WebMercatorQuad/10/445/835?asof=yesterday", 400),
        ("WebMercatorQuad/10/445/835?asof=2199-01-01T00:00:00Z", 400),
        ("WebMercatorQuad/10/445/835?width=512", 400),
    ],
)
def test_the_status_of_a_tile(client: Any, path: str, status: int) -> None:
    reply = client.get(f"{BOXES}/tiles/{path}")
    assert reply.status == status
    if status == 204:
        assert reply.body == b""
        assert "ETag" in reply.headers
    if status >= 400:
        assert reply.headers["Content-Type"] == "application/problem+json"


def test_map_tiles_know_no_asof(client: Any) -> None:
    assert client.get(f"{BOXES}/map/tiles/{TILE}?asof=2025-01-01T00:00:00Z").status == 400


def test_tilejson(client: Any) -> None:
    document = client.json(f"{BOXES}/tiles/WebMercatorQuad?f=tilejson")
    assert document["tilejson"] == "3.0.0"
    (layer,) = document["vector_layers"]
    assert (layer["id"], layer["fields"]["height"]) == ("boxes", "Number")
    z, y, x = TILE.split("/")[1:]
    address = document["tiles"][0].replace("{z}", z).replace("{y}", y).replace("{x}", x)
    assert client.get(address).body == client.get(f"{BOXES}/tiles/{TILE}").body


def test_a_dataset_tile_has_a_layer_for_each_collection(client: Any) -> None:
    one = client.get(f"{BOXES}/tiles/{TILE}").body
    assert client.get(f"/t/demo/ogc/tiles/{TILE}?collections=boxes").body == one
    tileset = client.json("/t/demo/ogc/tiles/WebMercatorQuad")
    names = [layer["id"] for layer in tileset["layers"]]
    assert "boxes" in names
    everything = client.get(f"/t/demo/ogc/tiles/{TILE}")
    assert everything.status == 200
    assert one in everything.body
    city = client.get(f"/ogc/tiles/{TILE}?collections=demo.boxes").body
    assert b"demo.boxes" in city
    links = {link["rel"]: link["href"] for link in tileset["links"]}
    document = client.json(links["describedby"])
    assert [layer["id"] for layer in document["vector_layers"]] == names
    sets = client.json("/t/demo/ogc/tiles")["tilesets"]
    assert len(sets) == 3
    assert client.json("/t/demo/ogc/tiles/WorldCRS84Quad?collections=boxes")["layers"][0]["id"] == "boxes"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{TILE}?collections=", 400),
        (f"{TILE}?collections=boxes,", 400),
        (f"{TILE}?collections=nobody", 404),
        (f"{TILE}?collections={','.join(f'c{n}' for n in range(21))}", 400),
        ("WebMercatorQuad/10/0/0?collections=boxes", 204),
        ("WebMercatorQuad/10/0/9999", 404),
        ("MoonQuad/1/0/0", 404),
        (f"{TILE}?collections=boxes&f=png", 400),
    ],
)
def test_the_status_of_a_dataset_tile(client: Any, path: str, status: int) -> None:
    assert client.get(f"/t/demo/ogc/tiles/{path}").status == status


def test_dataset_tiles_show_nothing_private(client: Any) -> None:
    private = [
        layer["id"]
        for tenant in ("demo", "hidden")
        for layer in client.get(f"/t/{tenant}/ogc/tiles/WebMercatorQuad").json.get("layers", [])
        if client.get(f"/t/{tenant}/ogc/collections/{layer['id']}").status != 200
    ]
    assert private == []


def test_conditional_requests(client: Any) -> None:
    for url in (f"{BOXES}/tiles/{TILE}", f"/t/demo/ogc/tiles/{TILE}?collections=boxes"):
        first = client.get(url)
        again = client.get(url, IF_NONE_MATCH=first.headers["ETag"])
        assert (again.status, again.body) == (304, b"")


def collection_of(client_services: Any) -> Collection:
    found = client_services.catalogue.current().find("demo", "boxes")
    assert found is not None
    return found


PUBLIC = Decision(allowed=True)


@pytest.fixture
def archived(tmp_path: Path) -> Collection:
    """A collection of its own with an archive of zooms 0 to 11."""
    import numpy as np
    import shapely

    from providers.features.schema import FieldDefinition
    from providers.features.store import FeatureStoreWriter

    random = np.random.default_rng(3)
    x, y = random.uniform(113.9, 114.0, 500), random.uniform(22.5, 22.6, 500)
    with FeatureStoreWriter(
        tmp_path / "features.gpkg", fields=[FieldDefinition("name", "string")], storage_crs="EPSG:4326"
    ) as writer:
        writer.add(shapely.box(x, y, x + 0.001, y + 0.001), {"name": [f"n{n}" for n in range(500)]})
        summary = writer.finish()
    store = open_store(tmp_path / "features.gpkg")
    told: list[tuple[int, int]] = []
    built = build_pmtiles(
        store, tmp_path / "tiles.pmtiles", 0, 11, layer="city", progress=lambda *pair: told.append(pair)
    )
    assert built.tiles >= 12
    assert told[-1][0] == told[-1][1]
    tiles = {"archive": "tiles.pmtiles", "archive_zooms": [0, 11], "archive_change": 0}
    return Collection(
        tenant="demo",
        id="city",
        titles={"en": "City"},
        descriptions={},
        keywords=(),
        bbox=summary.bbox,
        directory=tmp_path,
        representations={
            RepresentationKind.FEATURES: Representation(RepresentationKind.FEATURES, "features.gpkg", 1),
            RepresentationKind.TILES: Representation(
                RepresentationKind.TILES, "features.gpkg", 1, properties=tiles
            ),
        },
        **_rest(),
    )


def _rest() -> dict[str, Any]:
    """What the registry knows of a collection and tiles do not ask."""
    import dataclasses

    given = {"tenant", "id", "titles", "descriptions", "keywords", "bbox", "directory", "representations"}
    defaults: dict[str, Any] = {"generation": 1, "fields": ()}
    return {
        field.name: defaults.get(field.name)
        for field in dataclasses.fields(Collection)
        if field.name not in given
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    }


@pytest.fixture
def maker(tmp_path: Path) -> TileMaker:
    """Gives and keeps tiles below a folder of its own."""
    cache = open_tile_cache("files", tmp_path / "kept", memory_bytes=1 << 20)
    return TileMaker(cache, Places(2, 2), Places(1, 1))


def test_an_archived_tile_is_that_of_the_store_until_an_edit_touches_it(
    archived: Collection, maker: TileMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(archived.directory / "features.gpkg")
    made: list[TileId] = []

    def counted(*given: Any, **named: Any) -> bytes:
        made.append(TileId(given[2], given[4], given[3]))
        return vector_tile(*given, **named)

    monkeypatch.setattr("server.http.tile_maker.vector_tile", counted)

    def ask(zoom: int, row: int, column: int) -> tuple[bool, bytes]:
        made.clear()
        kept = maker.vector_tile(archived, PUBLIC, "WebMercatorQuad", TileId(zoom, column, row))
        return not made, gzip.decompress(kept.body)

    archive = Archive(archived.directory / "tiles.pmtiles")
    assert archive.metadata()["vector_layers"][0]["fields"] == {"name": "String"}
    here, far = (11, 892, 1672), (11, 892, 1671)
    for place in (here, far, (0, 0, 0), (11, 0, 0)):
        from_archive, body = ask(*place)
        assert from_archive
        assert body == vector_tile(store, "WebMercatorQuad", *place, "city")
    assert ask(12, 1784, 3344)[0] is False
    inside = margin_box84(TileId(11, 1672, 892))
    import shapely

    shape = shapely.box(113.95, 22.58, 113.951, 22.581)
    assert inside.west < 113.95 < inside.east
    assert inside.south < 22.58 < inside.north
    store.edit([Edit(EditKind.CREATE, None, shape, {"name": "new"})])
    maker.edited(archived)
    from_archive, body = ask(*here)
    assert not from_archive
    assert b"new" in body
    assert ask(11, 0, 0)[0] is True


def test_tiles_of_other_rights_are_kept_apart(archived: Collection, maker: TileMaker) -> None:
    place = TileId(11, 1672, 892)
    whole = maker.vector_tile(archived, PUBLIC, "WebMercatorQuad", place)
    less = Decision(allowed=True, hidden_fields=frozenset({"name"}), key="less")
    hidden = maker.vector_tile(archived, less, "WebMercatorQuad", place)
    assert b"n1" in gzip.decompress(whole.body)
    assert b"n1" not in gzip.decompress(hidden.body)
    assert maker.vector_tile(archived, less, "WebMercatorQuad", place).body == hidden.body


def test_there_is_no_archive_where_none_was_built(client: Any) -> None:
    assert client.get(f"{BOXES}/tiles/WebMercatorQuad.pmtiles").status == 404
    assert client.get(f"{BOXES}/tiles/MoonQuad.pmtiles").status == 404
