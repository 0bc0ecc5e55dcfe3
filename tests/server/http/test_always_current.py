"""Every kept tile is what would be drawn now: random edits, on two workers, against tiles drawn afresh, byte by byte."""

from __future__ import annotations

import gzip
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
import shapely

from providers.features.source import Edit, EditKind
from providers.features.store import open_store
from server.http.app import create_flask, make_services
from server.http.hot_lane import HotLane
from server.registry.catalogue import Access, RepresentationKind
from server.registry.registry import open_registry
from server.registry.styles import StyleDraft, put_style, set_default_style, style_engine
from server.settings import load_settings
from tiles import grids
from tiles.grids import TileId, grid
from tiles.grids_own import load_tile_matrix_sets

PLOTS = "/t/demo/ogc/collections/plots"
GEOJSON = "application/geo+json"
WEST, SOUTH, EAST, NORTH = 113.80, 22.60, 114.10, 22.80
OWN = {
    "id": "City512",
    "title": "512 pixels",
    "crs": "http://www.opengis.net/def/crs/EPSG/0/4547",
    "tileMatrices": [
        {
            "id": str(zoom),
            "scaleDenominator": cell / 0.00028,
            "cellSize": cell,
            "pointOfOrigin": [2560000.0, 440000.0],
            "tileWidth": 512,
            "tileHeight": 512,
            "matrixWidth": 400 * 2**zoom // 100 + 1,
            "matrixHeight": 400 * 2**zoom // 100 + 1,
        }
        for zoom, cell in enumerate((64.0, 32.0, 16.0))
    ],
}
WIDE = """
rules:
  - symbols:
      - line: {stroke: "#cc0000", width: 90, offset: 90, opacity: 0.5}
"""
NAMES = """
rules:
  - symbols:
      - polygon: {fill: "#0f766e", opacity: 0.5}
      - label: {field: name, size: 30, halo_width: 2}
"""
GRIDS = {
    "WebMercatorQuad": (0, 5, 9, 10, 11, 12, 13, 14),
    "WorldCRS84Quad": (0, 4, 9, 11, 13),
    "CGCS2000Quad": (1, 10, 12),
    "City512": (0, 1, 2),
}
FAR = (105.0, 30.0)
"""Where nobody edits."""


def place_of(grid_id: str, zoom: int, longitude: float, latitude: float) -> TileId | None:
    """The tile of a level at a place, None where the grid has none."""
    tiling = grid(grid_id)
    if not tiling.min_zoom <= zoom <= tiling.max_zoom:
        return None
    if tiling.authority_code in ("OGC:CRS84", "EPSG:4490"):
        x, y = longitude, latitude
    else:
        from pyproj import Transformer

        known = Transformer.from_crs("EPSG:4326", tiling.authority_code, always_xy=True)
        x, y = known.transform(longitude, latitude)
    matrix = tiling.matrix(zoom)
    column = int((x - matrix.left) // (matrix.tile_width * matrix.cell_size))
    row = int((matrix.top - y) // (matrix.tile_height * matrix.cell_size))
    return TileId(zoom, column, row) if 0 <= column < matrix.columns and 0 <= row < matrix.rows else None


@dataclass
class Model:
    """A served city that is edited, another server over the same data without any kept tile, and what clients have seen."""

    server: Any
    town: Any
    fresh: Any
    cache: Any
    chance: random.Random
    urls: list[str] = field(default_factory=list)
    far: list[str] = field(default_factory=list)
    seen: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    made: int = 0

    @property
    def collection(self) -> Any:
        return self.town.registry.catalogue().find("demo", "plots")

    def addresses(self, longitude: float, latitude: float) -> Iterator[str]:
        for grid_id, zooms in GRIDS.items():
            for zoom in zooms:
                tile = place_of(grid_id, zoom, longitude, latitude)
                if tile is None:
                    continue
                place = f"{grid_id}/{zoom}/{tile.y}/{tile.x}"
                city = PLOTS.replace("/t/demo", "").replace("plots", "demo.plots")
                yield f"{PLOTS}/tiles/{place}"
                yield f"{PLOTS}/map/tiles/{place}"
                yield f"{PLOTS}/styles/wide/map/tiles/{place}"
                yield f"{PLOTS}/styles/names/map/tiles/{place}"
                yield f"{city}/map/tiles/{place}?f=webp"
                yield f"/t/demo/maps/wmts/1.0.0/plots/names/{place}.png"
                if grid_id == "WebMercatorQuad":
                    below = 2**zoom - 1 - tile.y
                    yield f"/t/demo/maps/tms/1.0.0/plots/{grid_id}/{zoom}/{tile.x}/{below}.png"
                    yield f"/maps/xyz/demo.plots/{grid_id}/{zoom}/{tile.x}/{tile.y}.png"

    def look_around(self, longitude: float, latitude: float, count: int) -> None:
        """Choose `count` addresses at and beside a place, and far from it."""
        around = []
        for _ in range(3):
            around += self.addresses(
                longitude + self.chance.uniform(-0.04, 0.04), latitude + self.chance.uniform(-0.04, 0.04)
            )
        around = sorted({*around, *self.addresses(longitude, latitude)})
        self.urls = self.chance.sample(around, min(count, len(around)))

    def get(self, connection: Any, url: str) -> tuple[int, str, bytes]:
        status, headers, body = connection.get(url, Accept_Encoding="gzip")
        assert status in (200, 204), (url, status, body[:300])
        return status, headers["etag"], _plain(headers, body)

    def drawn_afresh(self, url: str) -> bytes:
        reply = self.fresh.get(url, ACCEPT_ENCODING="gzip")
        assert reply.status in (200, 204), (url, reply.status, reply.body[:300])
        return _plain({name.lower(): value for name, value in reply.headers.items()}, reply.body)

    def forget_fresh(self) -> None:
        """The other server draws everything again."""
        self.cache.invalidate("demo", "plots", self.collection.generation, None)

    def fill(self) -> dict[str, tuple[str, bytes]]:
        """Both workers are asked for everything; what they say."""
        answers = [[self.get(one, url) for url in self.urls] for one in self.server.connect()]
        return {url: (etag, body) for url, (_, etag, body) in zip(self.urls, answers[0], strict=True)}

    def check(self) -> None:
        """Each worker's tiles are those that are drawn now."""
        self.forget_fresh()
        for url in self.urls:
            wanted = self.drawn_afresh(url)
            for worker, connection in enumerate(self.server.connect()):
                assert self.get(connection, url)[2] == wanted, f"worker {worker} shows an old {url}"

    # --- edits -----------------------------------------------------------------------------------------------------------

    def shape(self, longitude: float, latitude: float) -> Any:
        kind = self.chance.choice(["box", "tall", "wide", "dot"])
        x, y = longitude, latitude
        if kind == "dot":
            return shapely.box(x, y, x + 1e-5, y + 1e-5)
        if kind == "tall":  # across borders of tiles of many levels
            return shapely.box(x, y - 0.05, x + 0.0003, y + 0.05)
        if kind == "wide":
            return shapely.box(x - 0.05, y, x + 0.05, y + 0.0003)
        return shapely.box(x, y, x + 0.004, y + 0.003)

    def feature(self, longitude: float, latitude: float) -> dict[str, Any]:
        self.made += 1
        return {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(self.shape(longitude, latitude)),
            "properties": {
                "name": f"{'新' * self.chance.randint(1, 9)}{self.made}",
                "kind": self.chance.choice(["住宅", "商业", "office"]),
                "height": self.chance.randint(3, 90),
            },
        }

    def send(self, method: str, path: str, document: Any = None, kind: str = GEOJSON) -> dict[str, Any]:
        body = None if document is None else json.dumps(document).encode()
        connection = self.chance.choice(self.server.connect())
        status, headers, answer = connection.request(
            method, path, body, Authorization=f"Bearer {self.town.token}", Content_Type=kind
        )
        assert status in (200, 201, 204), (method, path, status, answer[:500])
        return {"headers": headers, "body": answer}

    def edit(self, longitude: float, latitude: float) -> str:
        """One random edit by HTTP at or beside a place; which it was."""
        kinds = ["create", "replace", "patch", "delete", "batch"] if self.ids else ["create"]
        kind = self.chance.choice(kinds)
        feature = self.feature(longitude, latitude)
        if kind == "create":
            self.create(feature)
        elif kind == "replace":
            self.send("PUT", f"{PLOTS}/items/{self.chance.choice(self.ids)}", feature)
        elif kind == "patch":
            one = self.chance.choice(self.ids)
            properties = {"properties": {"name": feature["properties"]["name"]}}
            self.send("PATCH", f"{PLOTS}/items/{one}", properties, "application/merge-patch+json")
        elif kind == "delete":
            one = self.ids.pop(self.chance.randrange(len(self.ids)))
            self.send("DELETE", f"{PLOTS}/items/{one}")
        else:
            one = self.chance.choice(self.ids)
            batch = {
                "transaction": [
                    {"action": "replace", "id": one, "feature": feature},
                    {"action": "create", "feature": self.feature(longitude + 0.01, latitude)},
                ]
            }
            found = json.loads(self.send("POST", f"{PLOTS}/transactions", batch, "application/json")["body"])
            self.ids.append(found["results"][1]["id"])
        return kind

    def create(self, feature: dict[str, Any]) -> None:
        headers = self.send("POST", f"{PLOTS}/items", feature)["headers"]
        self.ids.append(headers["location"].rpartition("/")[2])


def _plain(headers: dict[str, str], body: bytes) -> bytes:
    return gzip.decompress(body) if headers.get("content-encoding") == "gzip" and body else body


@pytest.fixture(scope="module")
def model(
    city: Any,
    wsgi_client: Any,
    serving: Callable[..., AbstractContextManager[Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Model]:
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("own")
    (folder / "City512.json").write_text(json.dumps(OWN))
    own = {"MAPS_TILE_MATRIX_SETS_DIRECTORY": str(folder)}
    variables = {"CHENGTU_DATA_HOME": str(home)} | {f"CHENGTU_{name}": text for name, text in own.items()}
    settings = load_settings((), variables)
    load_tile_matrix_sets(folder)
    try:
        with open_registry(settings) as registry:
            registry.add_tenant("demo", "Demo", "示例")
            town = type(city)(home, settings, registry)
            town.publish("plots", count=120, more={"if_match_required": False, "create_by_put": True})
            with style_engine(settings) as engine:
                for name, text in (("wide", WIDE), ("names", NAMES)):
                    put_style(engine, StyleDraft("demo", name, "chengtu", text, titles={"en": name}))
            fresh = make_services(
                load_settings((), variables | {"CHENGTU_CACHE_DIRECTORY": str(folder / "fresh")})
            )
            with serving(home, **own) as server:
                lanes = wsgi_client(HotLane(fresh, create_flask(fresh)))
                yield Model(server, town, lanes, fresh.tiles.cache, random.Random(4))
    finally:
        for kept in (grids._own, grids._own_documents):
            kept.pop("City512", None)


@pytest.mark.parametrize(
    ("rounds", "addresses", "seed"),
    [(5, 40, 4), pytest.param(40, 150, 44, marks=[pytest.mark.acceptance, pytest.mark.timeout(1800)])],
)
def test_random_edits_by_http(model: Model, rounds: int, addresses: int, seed: int) -> None:
    model.chance = random.Random(seed)
    took = []
    for _ in range(rounds):
        longitude = model.chance.uniform(WEST, EAST)
        latitude = model.chance.uniform(SOUTH, NORTH)
        model.look_around(longitude, latitude, addresses)
        model.fill()
        began = time.monotonic()
        model.edit(longitude, latitude)
        took.append(time.monotonic() - began)
        model.check()
    took.sort()
    print(
        f"{rounds} edits, answered after {took[len(took) // 2] * 1e3:.0f} ms (median), {took[-1] * 1e3:.0f} ms (slowest)"
    )


class Clients:
    """Eight clients that ask for tiles until they are stopped."""

    def __init__(self, port: int, urls: list[str]) -> None:
        self._port = port
        self._urls = urls
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(8)]
        self.answers: list[tuple[float, str, int, bytes]] = []
        """When it was asked, what for, the status and the body."""

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self, seed: int) -> None:
        chance = random.Random(seed)
        with requests.Session() as session:
            while not self._stopped.wait(0.02):
                url = chance.choice(self._urls)
                began = time.monotonic()
                reply = session.get(f"http://127.0.0.1:{self._port}{url}", timeout=60)
                self.answers.append((began, url, reply.status_code, reply.content))


def _by_hand(model: Model) -> None:
    store = open_store(model.collection.path_of(RepresentationKind.FEATURES))
    shape = shapely.box(113.94, 22.69, 113.96, 22.71)
    store.edit([Edit(EditKind.CREATE, None, shape, {"name": "by hand"})])


def _style(model: Model) -> None:
    text = NAMES.replace("#0f766e", "#760f0f")
    with style_engine(model.town.settings) as engine:
        put_style(engine, StyleDraft("demo", "names", "chengtu", text, titles={"en": "names"}))


def _default_style(model: Model) -> None:
    with style_engine(model.town.settings) as engine:
        set_default_style(engine, "demo", "plots", "wide")


def _watermark(model: Model) -> None:
    model.town.registry.set_map_policy("demo", "© Demo", None)


def _clip(model: Model) -> None:
    area = "POLYGON ((113.8 22.6, 113.95 22.6, 113.95 22.8, 113.8 22.8, 113.8 22.6))"
    model.town.registry.set_map_policy("demo", None, area)


def _replaced(model: Model) -> None:
    model.town.publish("plots", count=90, seed=8, replace=True, more={"if_match_required": False})


def _restored(model: Model) -> None:
    model.town.registry.restore_generation("demo", "plots", model.collection.past[0].number)


def _private(model: Model) -> None:
    model.town.publish("plots", count=90, seed=8, replace=True, access=Access.PRIVATE)


def _public(model: Model) -> None:
    model.town.publish("plots", count=90, seed=9, replace=True, more={"if_match_required": False})


CHANGES = (_by_hand, _style, _default_style, _watermark, _clip, _replaced, _restored, _private, _public)


def test_changes_by_other_processes_while_clients_ask(model: Model, until: Callable[..., float]) -> None:
    """Edits, styles, map policies, generations and rights: all workers follow, and nothing old comes back."""
    urls = sorted(set(model.addresses(113.95, 22.70)))
    model.urls = urls = random.Random(5).sample(urls, 30)

    def wanted() -> dict[str, tuple[int, bytes]]:
        model.forget_fresh()
        answers = {url: model.fresh.get(url) for url in urls}
        return {url: (reply.status, _without_id(reply.status, reply.body)) for url, reply in answers.items()}

    def shown(connection: Any) -> dict[str, tuple[int, bytes]]:
        answers = {url: connection.get(url) for url in urls}
        return {url: (status, _without_id(status, body)) for url, (status, _, body) in answers.items()}

    def tags(connection: Any) -> list[str]:
        """What changes with the data, with the style `names`, and with the collection's own look."""
        return [connection.get(url)[1].get("etag", "") for url in probes]

    place = place_of("WebMercatorQuad", 14, 113.95, 22.70)
    assert place is not None
    address = f"WebMercatorQuad/14/{place.y}/{place.x}"
    probes = [f"{PLOTS}/{kind}tiles/{address}" for kind in ("", "map/", "styles/names/map/")]
    before = wanted()
    with Clients(model.server.port, urls) as clients:
        for change in CHANGES:
            before_tags = [tags(one) for one in model.server.connect()]
            change(model)
            began = time.monotonic()
            for one, old in zip(model.server.connect(), before_tags, strict=True):
                until(lambda one=one, old=old: tags(one) != old)
            noticed = time.monotonic() - began
            now = wanted()
            assert now != before, change.__name__
            behind = list(model.server.connect())

            def all_follow(now: dict[str, tuple[int, bytes]] = now, behind: list[Any] = behind) -> bool:
                behind[:] = [one for one in behind if shown(one) != now]
                return not behind

            until(all_follow)
            followed = time.monotonic()
            print(
                f"{change.__name__[1:]}: the first changed tile on both workers after {noticed * 1e3:.0f} ms"
            )
            time.sleep(0.3)
            for asked, url, status, body in list(clients.answers):
                if asked > followed:
                    assert (status, _without_id(status, body)) == now[url], (change.__name__, url)
            before = now
    assert len(clients.answers) > 50
    assert {status for _, _, status, _ in clients.answers} <= {200, 204, 404}


def _without_id(status: int, body: bytes) -> bytes:
    """A tile's body; what problems say is of no interest."""
    return body if status == 200 else b""
