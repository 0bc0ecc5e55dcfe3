"""A city for WFS: pages of 40, features with awkward names and values, heights, and a server on the loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlencode
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import numpy as np
import pytest
import shapely
from lxml import etree

from providers.features.schema import FieldDefinition
from providers.features.store import FeatureStoreWriter
from server.http.app import create_app
from server.registry.catalogue import Access, Field, Representation, RepresentationKind
from server.registry.drafts import CollectionDraft
from server.registry.registry import Registry, open_registry
from server.registry.staging import staging_folder
from server.settings import Settings, load_settings

PAGE = 40
ODD_FIELDS = (
    FieldDefinition("addr:street", "string"),
    FieldDefinition("2nd name", "string"),
    FieldDefinition("geometry", "string"),
    FieldDefinition("层数", "integer"),
    FieldDefinition("open", "boolean"),
    FieldDefinition("seen", "string", "date-time"),
)
ODD_COLUMNS: dict[str, list[Any]] = {
    "addr:street": ["a < b & c > d", "\"quoted\" 'twice'", None, "", "line\nfeed\r\x01"],
    "2nd name": ["one", "two", "three", None, "x' OR '1'='1"],
    "geometry": ["a text", None, None, None, None],
    "层数": [1, -2, 2**53 + 1, None, 0],
    "open": [True, False, None, True, False],
    "seen": ["2020-01-01T00:00:00.000Z", "1969-12-31T23:59:59.999Z", None, None, None],
}
ODD_IDS = ["a b", "x_y", "ü/ö", "1", "_x41_"]
ODD_SHAPES = [
    shapely.LineString([(12.5e6, 2.5e6, 3), (12.6e6, 2.6e6, 4)]),
    shapely.Polygon([(12.5e6, 2.5e6), (12.6e6, 2.5e6), (12.6e6, 2.6e6)], [[(12.56e6, 2.51e6), (12.58e6, 2.51e6), (12.58e6, 2.53e6)]]),
    shapely.MultiPoint([(12.5e6, 2.5e6), (12.6e6, 2.6e6)]),
    None,
    shapely.GeometryCollection([shapely.Point(12.5e6, 2.5e6), shapely.LineString([(12.5e6, 2.5e6), (12.6e6, 2.6e6)])]),
]  # fmt: skip


def _publish_odd(registry: Registry, settings: Settings) -> None:
    with staging_folder(settings.data.home) as folder:
        staged = folder / "generation"
        staged.mkdir()
        with FeatureStoreWriter(
            staged / "features.gpkg", fields=ODD_FIELDS, storage_crs="EPSG:3857", time_field="seen"
        ) as writer:
            writer.add(np.array(ODD_SHAPES, dtype=object), ODD_COLUMNS, ids=ODD_IDS)
            summary = writer.finish()
        features = Representation(
            RepresentationKind.FEATURES,
            "features.gpkg",
            0,
            properties={"geometry_type": summary.geometry_type, "count": summary.count, "time_field": "seen"},
        )
        draft = CollectionDraft(
            tenant="demo",
            id="odd",
            titles={"en": "Odd & <ends>", "zh": "怪"},
            bbox=summary.bbox,
            storage_crs="http://www.opengis.net/def/crs/EPSG/0/3857",
            access=Access.PUBLIC,
            attribution="© the makers of this test",
            licence="CC0-1.0",
            fields=tuple(Field(f.name, f.type, f.format, f.column, f.title) for f in summary.fields),
        )
        registry.publish(draft, [features], staged, False)


@pytest.fixture(scope="session")
def wfs_settings(city: Any, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """`demo.boxes` (250), `demo.odd` (5), `demo.secret` (private), `demo.plots` (to be edited) and `other.boxes` (30)."""
    home = tmp_path_factory.mktemp("wfs")
    settings = load_settings((), {"CHENGTU_DATA_HOME": str(home), "CHENGTU_LIMITS_ITEMS_MAX": str(PAGE)})
    with open_registry(settings) as registry:
        registry.add_tenant("demo", "Demo", "示例")
        registry.add_tenant("other", "Other", "另一个")
        made = type(city)(home, settings, registry)
        made.publish("boxes")
        made.publish("secret", access=Access.PRIVATE, count=20)
        made.publish("plots", count=20)
        made.publish("frozen", count=3, more={"editable": False})
        made.publish("boxes", tenant="other", count=30, seed=9)
        _publish_odd(registry, settings)
    return settings


@pytest.fixture(scope="session")
def wfs_client(wfs_settings: Settings, wsgi_client: Any) -> Any:
    """A client of the whole server."""
    return wsgi_client(create_app(wfs_settings))


@pytest.fixture(scope="session")
def operator(wfs_settings: Settings) -> dict[str, str]:
    """The header of the one who may do all."""
    token = (wfs_settings.data.home / "operator.token").read_text().strip()
    return {"Authorization": f"Bearer {token}"}


type Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def ask(wfs_client: Any) -> Ask:
    """`ask("GetFeature", typeNames="boxes", view="/t/demo")`: the root of an answer that must be 200 and XML."""

    def asked(request: str, view: str = "/t/demo", **parameters: str) -> Any:
        query = urlencode({"service": "WFS", "version": "2.0.0", "request": request, **parameters})
        reply = wfs_client.get(f"{view}/wfs?{query}")
        assert reply.status == 200, reply.body[:800]
        assert "xml" in reply.headers["Content-Type"]
        return etree.fromstring(reply.body)

    return asked


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="session")
def wfs_address(wfs_settings: Settings) -> Iterator[str]:
    """The address of the same server on the loopback, for real clients."""
    application = create_app(wfs_settings)
    server = make_server("127.0.0.1", 0, application, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def gml_feature_schema() -> Callable[[bytes], etree.XMLSchema]:
    """`gml_feature_schema(document)`: an application schema, with stubs in place of GML's own, which are not here."""

    def made(document: bytes) -> etree.XMLSchema:
        class Stubs(etree.Resolver):
            def resolve(self, url: str, pubid: str, context: Any) -> Any:
                assert url == "http://schemas.opengis.net/gml/3.2.1/gml.xsd"
                return self.resolve_string(GML_STUBS, context)

        parser = etree.XMLParser()
        parser.resolvers.add(Stubs())
        return etree.XMLSchema(etree.fromstring(document, parser))

    return made


_GEOMETRY_PROPERTY = """<complexType name="{name}PropertyType"><sequence><any processContents="skip"/></sequence></complexType>"""
GML_STUBS = (
    """<schema xmlns="http://www.w3.org/2001/XMLSchema" xmlns:gml="http://www.opengis.net/gml/3.2"
 targetNamespace="http://www.opengis.net/gml/3.2" elementFormDefault="qualified">
<attribute name="id" type="ID"/>
<element name="AbstractFeature" type="gml:AbstractFeatureType" abstract="true"/>
<complexType name="AbstractFeatureType" abstract="true"><sequence/><attribute ref="gml:id" use="required"/></complexType>"""
    + "".join(
        _GEOMETRY_PROPERTY.format(name=name)
        for name in ("Geometry", "Point", "Curve", "Surface", "MultiPoint", "MultiCurve", "MultiSurface")
    )
    + "</schema>"
)
