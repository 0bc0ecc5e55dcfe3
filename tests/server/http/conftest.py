"""A small published city, and a client that speaks WSGI to the server as granian would."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pytest
import shapely

from providers.features.conformance import self_test
from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStore, FeatureStoreWriter
from server.http.app import create_app, create_flask, make_services
from server.registry.catalogue import Access, Field, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.registry import Registry, open_registry
from server.registry.staging import staging_folder
from server.settings import Settings, load_settings

WEST, SOUTH, EAST, NORTH = 113.80, 22.60, 114.10, 22.80
COUNT = 250
KINDS = ("住宅", "商业", "office")


@dataclass
class Reply:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Calls a WSGI application."""

    def __init__(self, application: Any) -> None:
        self.application = application

    def request(self, method: str, url: str, body: bytes = b"", **headers: str) -> Reply:
        parts = urlsplit(url)
        started: list[Any] = []
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote_to_bytes(parts.path).decode("latin-1"),
            "QUERY_STRING": parts.query.encode().decode("latin-1"),
            "SCRIPT_NAME": "",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "city.example:8000",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
        }
        for name, value in headers.items():
            key = name.upper()
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
        chunks = self.application(environ, lambda status, head: started.extend((status, head)))
        content = b"".join(chunks)
        if hasattr(chunks, "close"):
            chunks.close()
        return Reply(int(started[0][:3]), dict(started[1]), content)

    def get(self, url: str, **headers: str) -> Reply:
        return self.request("GET", url, **headers)

    def json(self, url: str, **headers: str) -> Any:
        reply = self.get(url, **headers)
        assert reply.status == 200, reply.body[:500]
        return reply.json


def publish_boxes(
    registry: Registry,
    home: Path,
    tenant: str,
    collection: str,
    *,
    count: int = COUNT,
    access: Access = Access.PUBLIC,
    replace: bool = False,
    seed: int = 7,
    more: dict[str, Any] | None = None,
) -> None:
    """Publish `count` small boxes with four attributes; `more` goes into the properties of the features."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(WEST, EAST - 0.01, count), random.uniform(SOUTH, NORTH - 0.01, count)
    fields = (
        FieldDefinition("name", "string"),
        FieldDefinition("kind", "string"),
        FieldDefinition("height", "number"),
        FieldDefinition("built", "string", "date"),
    )
    columns: dict[str, list[Any]] = {
        "name": [f"楼 {number}" for number in range(count)],
        "kind": [KINDS[number % 3] for number in range(count)],
        "height": [round(float(h), 1) for h in random.uniform(3, 90, count)],
        "built": [f"20{number % 25:02d}-01-01" for number in range(count)],
    }
    with staging_folder(home) as folder:
        staged = folder / "generation"
        staged.mkdir()
        with FeatureStoreWriter(
            staged / "features.gpkg", fields=fields, storage_crs="EPSG:4326", time_field="built"
        ) as writer:
            writer.add(shapely.box(x, y, x + 0.001, y + 0.001), columns)
            summary = writer.finish()
        grids = ["WebMercatorQuad", "WorldCRS84Quad"]
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
                    **(more or {}),
                },
            ),
            Representation(
                RepresentationKind.TILES,
                "features.gpkg",
                0,
                properties={"min_zoom": 8, "max_zoom": 16, "tile_matrix_sets": grids},
            ),
            Representation(
                RepresentationKind.MAP, "features.gpkg", 0, properties={"tile_matrix_sets": grids}
            ),
        ]
        draft = CollectionDraft(
            tenant=tenant,
            id=collection,
            titles={"en": f"Boxes of {collection}", "zh": "方块"},
            bbox=summary.bbox,
            storage_crs="http://www.opengis.net/def/crs/EPSG/0/4326",
            access=access,
            attribution="© the makers of this test",
            licence="CC0-1.0",
            fields=tuple(Field(f.name, f.type, f.format, f.column, f.title) for f in summary.fields),
        )
        registry.publish(draft, representations, staged, replace)


@dataclass
class City:
    """The published city: where it is, and how to change it."""

    home: Path
    settings: Settings
    registry: Registry

    @property
    def token(self) -> str:
        return (self.home / "operator.token").read_text().strip()

    def publish(self, collection: str, tenant: str = "demo", **options: Any) -> None:
        publish_boxes(self.registry, self.home, tenant, collection, **options)


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    home = tmp_path_factory.mktemp("home")
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        registry.add_tenant("other", "Other", "另一个")
        made = City(home, settings, registry)
        made.publish("boxes")
        made.publish("secret", access=Access.PRIVATE, count=20)
        made.publish("boxes", tenant="other", count=30, seed=9)
        yield made


@pytest.fixture(scope="session")
def client(city: City) -> Client:
    """The whole server."""
    return Client(create_app(city.settings))


@pytest.fixture(scope="session")
def slow_client(city: City) -> Client:
    """The same without the hot lane."""
    return Client(create_flask(make_services(city.settings)))


@pytest.fixture(scope="session")
def wsgi_client() -> type[Client]:
    """The client class, for tests that make servers of their own."""
    return Client


@pytest.fixture(scope="session")
def editing_city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    """A city of its own for tests that edit: `plots`, `open` (neither If-Match nor new ids needed), `frozen`, `secret`."""
    home = tmp_path_factory.mktemp("editing")
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home)})
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        made = City(home, settings, registry)
        made.publish("plots", count=40)
        made.publish("open", count=10, more={"if_match_required": False, "create_by_put": True})
        made.publish("frozen", count=10, more={"editable": False})
        made.publish("secret", count=10, access=Access.PRIVATE)
        yield made


@pytest.fixture(scope="session")
def editing_client(editing_city: City) -> Client:
    """The whole server over the city that is edited."""
    return Client(create_app(editing_city.settings))


@pytest.fixture(scope="session")
def editing_slow_client(editing_city: City) -> Client:
    """The same without the hot lane."""
    return Client(create_flask(make_services(editing_city.settings)))
