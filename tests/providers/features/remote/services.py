"""Remote services for tests: a FeatureServer and an OGC API - Features service, small and faithful, and what they serve."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qsl, urlencode
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import numpy as np
import orjson
import pyogrio
import shapely

from providers.errors import InvalidParameter, UnsupportedQuery
from providers.features.cql2 import matches_query
from providers.features.parser import cursor_mark, encode_cursor, parse_item_query
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import FeatureColumns
from providers.features.store.encoding import encode_features

COUNT = 60


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def started(application: Any) -> tuple[str, Callable[[], None]]:
    """Serves a WSGI application on a free port of the loopback: its address, and what ends it."""
    server = make_server("127.0.0.1", 0, application, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def end() -> None:
        server.shutdown()
        server.server_close()

    return f"http://127.0.0.1:{server.server_port}", end


class City:
    """A small collection around Shenzhen: polygons, and attributes of every kind, some missing."""

    fields = (
        FieldDefinition("ident", "string"),
        FieldDefinition("name", "string"),
        FieldDefinition("height", "number"),
        FieldDefinition("floors", "integer"),
        FieldDefinition("secret", "string"),
        FieldDefinition("updated", "string", "date-time"),
    )

    def __init__(self) -> None:
        random = np.random.default_rng(3)
        x, y = random.uniform(113.8, 114.1, COUNT), random.uniform(22.65, 22.85, COUNT)
        self.geometries = shapely.box(x, y, x + 1e-3, y + 5e-4)
        self.fids = list(range(1, COUNT + 1))
        self.names = [
            None if i % 11 == 0 else f"楼 {i} O'Neil 50%" if i % 10 == 0 else f"Tower {i}" for i in self.fids
        ]
        self.heights = [
            None if i % 13 == 0 else round(float(v), 2)
            for i, v in zip(self.fids, random.uniform(3, 90, COUNT), strict=True)
        ]
        self.floors = [int(v) for v in random.integers(1, 30, COUNT)]
        self.secrets = [f"s{i}" for i in self.fids]
        self.updated = [np.datetime64(f"2025-{1 + i % 12:02}-03T{i % 24:02}:30:00", "ms") for i in self.fids]

    def write(self, path: Path) -> None:
        """As a GeoPackage with the layer `towers`."""
        pyogrio.raw.write(
            path,
            shapely.to_wkb(self.geometries),
            [
                np.array([f"T{i}" for i in self.fids], dtype=object),
                np.array(self.names, dtype=object),
                np.array([np.nan if v is None else v for v in self.heights]),
                np.array(self.floors),
                np.array(self.secrets, dtype=object),
                np.array(self.updated),
            ],
            ["ident", "name", "height", "floors", "secret", "updated"],
            layer="towers",
            driver="GPKG",
            geometry_type="Polygon",
            crs="EPSG:4326",
        )

    def columns(self) -> FeatureColumns:
        """The features with all fields but `ident`."""
        moments = [f"{str(moment)[:19]}Z" for moment in self.updated]
        values = (self.names, self.heights, self.floors, self.secrets, moments)
        names = [item.name for item in self.fields[1:]]
        return FeatureColumns(
            self.fids, [str(fid) for fid in self.fids], self.geometries, dict(zip(names, values, strict=True))
        )


class ArcgisServer:
    """A FeatureServer with one layer: `query` as its documentation describes it, `where` answered by SQLite."""

    def __init__(self, city: City, **changes: Any) -> None:
        self.changes = changes
        self.requests: list[dict[str, str]] = []
        self.city = city
        self.connection = sqlite3.connect(":memory:", check_same_thread=False)
        self.connection.create_function("CHAR_LENGTH", 1, lambda text: None if text is None else len(text))
        self.connection.execute("PRAGMA case_sensitive_like = ON")
        self.connection.execute("CREATE TABLE t (OBJECTID INTEGER, name, height, floors, secret, updated)")
        moments = [str(moment).replace("T", " ")[:19] for moment in city.updated]
        self.connection.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)",
            zip(city.fids, city.names, city.heights, city.floors, city.secrets, moments, strict=True),
        )
        self.lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raw = environ.get("QUERY_STRING", "")
        if environ["REQUEST_METHOD"] == "POST":
            raw = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
        asked = dict(parse_qsl(raw, keep_blank_values=True))
        self.requests.append(asked)
        path = environ["PATH_INFO"].removeprefix("/arcgis/rest/services/City/FeatureServer")
        with self.lock:
            try:
                document = self.document(path, asked)
            except sqlite3.Error as error:
                document = {
                    "error": {"code": 400, "message": f"Unable to complete operation. {error}", "details": []}
                }
        start_response("200 OK", [("Content-Type", "text/plain;charset=utf-8")])
        return [orjson.dumps(document)]

    def document(self, path: str, asked: dict[str, str]) -> dict[str, Any]:
        assert asked["f"] == "json"
        if path == "":
            return {"layers": [{"id": 0, "name": "towers", "type": "Feature Layer"}], "tables": []}
        if path == "/0":
            return self.layer() | self.changes
        if path == "/0/query":
            return self.query(asked)
        return {"error": {"code": 404, "message": "Not found"}}

    def layer(self) -> dict[str, Any]:
        kinds = {
            "OBJECTID": "esriFieldTypeOID",
            "name": "esriFieldTypeString",
            "height": "esriFieldTypeDouble",
            "floors": "esriFieldTypeInteger",
            "secret": "esriFieldTypeString",
            "updated": "esriFieldTypeDate",
        }
        return {
            "id": 0,
            "name": "towers",
            "description": "Towers of the city",
            "copyrightText": "Bureau of Works",
            "geometryType": "esriGeometryPolygon",
            "capabilities": "Query",
            "objectIdField": "OBJECTID",
            "maxRecordCount": 25,
            "timeInfo": {"startTimeField": "updated", "endTimeField": None},
            "fields": [{"name": name, "type": kind, "alias": name.title()} for name, kind in kinds.items()],
            "advancedQueryCapabilities": {
                "supportsPagination": True,
                "supportsOrderBy": True,
                "supportsReturningQueryExtent": True,
            },
        }

    def query(self, asked: dict[str, str]) -> dict[str, Any]:
        where = re.sub(r"(?:TIMESTAMP|DATE) (?=')", "", asked.get("where", "1=1"))
        if "objectIds" in asked:
            where = f"OBJECTID IN ({asked['objectIds']})"
        order = asked.get("orderByFields", "OBJECTID")
        self.connection.set_authorizer(_only_select)
        rows = self.connection.execute(f"SELECT * FROM t WHERE {where} ORDER BY {order}").fetchall()
        rows = [row for row in rows if self.is_met(row[0], asked)]
        if asked.get("returnCountOnly") == "true":
            return {"count": len(rows)}
        if asked.get("returnExtentOnly") == "true":
            return {
                "extent": dict(
                    zip(
                        ("xmin", "ymin", "xmax", "ymax"),
                        shapely.total_bounds(self.city.geometries).tolist(),
                        strict=True,
                    )
                )
            }
        start, number = int(asked.get("resultOffset", 0)), min(int(asked.get("resultRecordCount", 25)), 25)
        page = rows[start : start + number]
        return {
            "objectIdFieldName": "OBJECTID",
            "features": [self.feature(row, asked) for row in page],
            "exceededTransferLimit": start + number < len(rows),
        }

    def is_met(self, fid: int, asked: dict[str, str]) -> bool:
        if "geometry" not in asked:
            return True
        assert asked["inSR"] == "4326"
        mine = self.city.geometries[fid - 1]
        if asked["geometryType"] == "esriGeometryEnvelope":
            assert asked["spatialRel"] == "esriSpatialRelEnvelopeIntersects"
            return bool(
                shapely.box(*map(float, asked["geometry"].split(","))).intersects(shapely.envelope(mine))
            )
        assert asked["geometryType"] == "esriGeometryPolygon"
        given = shapely.Polygon(orjson.loads(asked["geometry"])["rings"][0])
        return bool(
            {
                "esriSpatialRelIntersects": given.intersects,
                "esriSpatialRelContains": given.contains,
                "esriSpatialRelWithin": given.within,
            }[asked["spatialRel"]](mine)
        )

    def feature(self, row: tuple[Any, ...], asked: dict[str, str]) -> dict[str, Any]:
        names = ("OBJECTID", "name", "height", "floors", "secret", "updated")
        values = dict(zip(names, row, strict=True))
        moment = np.datetime64(values["updated"].replace(" ", "T"), "ms")
        values["updated"] = int(moment.astype(np.int64))
        shown = asked["outFields"].split(",")
        feature: dict[str, Any] = {"attributes": {name: values[name] for name in shown}}
        if asked["returnGeometry"] == "true":
            ring = shapely.get_coordinates(shapely.normalize(self.city.geometries[row[0] - 1]))
            clockwise = ring if not shapely.LinearRing(ring).is_ccw else ring[::-1]
            feature["geometry"] = {"rings": [clockwise.tolist()]}
        return feature


def _only_select(action: int, *rest: Any) -> int:
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


class OgcApiServer:
    """OGC API - Features by the parser of this project and its evaluator in memory; keeps what it was asked."""

    def __init__(
        self,
        columns: FeatureColumns,
        schema: CollectionSchema,
        *,
        conforms: tuple[str, ...],
        counts: bool = True,
    ) -> None:
        self.conforms = conforms
        self.counts = counts
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.columns = columns
        self.definition = schema
        self.fields = schema.fields

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        pairs = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        path = environ["PATH_INFO"]
        self.requests.append((path, dict(pairs)))
        base = f"http://{environ['HTTP_HOST']}"
        status, body = "200 OK", b""
        try:
            body = self.body(path, pairs, base)
        except KeyError:
            status, body = "404 Not Found", b'{"title": "Not found"}'
        except (InvalidParameter, UnsupportedQuery) as error:
            status, body = "400 Bad Request", orjson.dumps({"title": "Bad request", "detail": str(error)})
        start_response(
            status, [("Content-Type", "application/geo+json" if "/items" in path else "application/json")]
        )
        return [body]

    def body(self, path: str, pairs: list[tuple[str, str]], base: str) -> bytes:
        collection = {
            "id": "towers",
            "title": "Towers",
            "attribution": "Bureau of Works",
            "license": "CC-BY-4.0",
            "itemType": "feature",
            "extent": {
                "spatial": {"bbox": [shapely.total_bounds(self.columns.geometries).tolist()]},
                "temporal": {"interval": [["2025-01-01T00:00:00Z", None]]},
            },
            "links": [
                {
                    "rel": f"http://www.opengis.net/def/rel/ogc/1.0/{name}",
                    "href": f"{base}/collections/towers/{name}",
                }
                for name in ("schema", "queryables", "sortables")
            ],
        }
        documents: dict[str, Any] = {
            "/conformance": {"conformsTo": list(self.conforms)},
            "/collections": {"collections": [collection]},
            "/collections/towers": collection,
            **dict.fromkeys(
                [f"/collections/towers/{name}" for name in ("schema", "queryables", "sortables")],
                self.schema(),
            ),
        }
        if path in documents:
            return orjson.dumps(documents[path])
        if path == "/collections/towers/items":
            return self.items(pairs, base)
        ids = self.columns.ids
        if (wanted := path.removeprefix("/collections/towers/items/")) not in ids:
            raise KeyError(path)
        return self.bodies([ids.index(wanted)])[0]

    def schema(self) -> dict[str, Any]:
        members: dict[str, Any] = {"geometry": {"x-ogc-role": "primary-geometry", "format": "geometry-any"}}
        for field in self.fields:
            members[field.name] = {"type": field.type} | ({"format": field.format} if field.format else {})
            if field.name == self.definition.time_field:
                members[field.name]["x-ogc-role"] = "primary-instant"
        return {"type": "object", "properties": members}

    def bodies(self, rows: list[int]) -> list[bytes]:
        columns = [[self.columns.columns[item.name][row] for row in rows] for item in self.fields]
        shapes = self.columns.geometries[rows]
        return encode_features(
            [self.columns.ids[row] for row in rows], shapes, list(self.columns.columns), columns
        )

    def items(self, pairs: list[tuple[str, str]], base: str) -> bytes:
        query = parse_item_query(pairs, self.definition)
        rows = np.flatnonzero(matches_query(query, self.columns, self.definition)).tolist()
        for key in reversed(query.sortby):
            values = self.columns.columns[key.field]
            if self.definition.by_name[key.field].format == "date-time":
                values = [None if text is None else datetime.fromisoformat(text) for text in values]
            present = [row for row in rows if values[row] is not None]
            missing = [row for row in rows if values[row] is None]
            rows = sorted(present, key=values.__getitem__, reverse=key.descending) + missing
        start = query.offset if query.cursor is None else int(str(query.cursor[-1]))
        page, end = rows[start : start + query.limit], start + query.limit
        links = []
        if end < len(rows):
            rest = [pair for pair in pairs if pair[0] not in ("cursor", "offset")]
            token = encode_cursor(0, (*[None] * len(query.sortby), end), cursor_mark(query))
            links.append(
                {
                    "rel": "next",
                    "href": f"{base}/collections/towers/items?{urlencode([*rest, ('cursor', token)])}",
                }
            )
        counted = b'"numberMatched":%d,' % len(rows) if self.counts else b""
        return b'{"type":"FeatureCollection",%s"links":%s,"features":[%s]}' % (
            counted,
            orjson.dumps(links),
            b",".join(self.bodies(page)),
        )


FULL = (
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/features-filter",
    *(
        f"http://www.opengis.net/spec/cql2/1.0/conf/{name}"
        for name in [
            "cql2-text",
            "basic-cql2",
            "advanced-comparison-operators",
            "case-insensitive-comparison",
            "accent-insensitive-comparison",
            "basic-spatial-functions",
            "basic-spatial-functions-plus",
            "spatial-functions",
            "property-property",
            "functions",
            "arithmetic",
            "array-functions",
        ]
    ),
)
"""What a service declares that answers everything."""
