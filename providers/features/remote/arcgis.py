"""Layers of ArcGIS REST FeatureServer and MapServer services (their REST interface, `query` operation)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from providers.errors import InvalidParameter, StoreError
from providers.features.query import ItemQuery
from providers.features.remote.arcgis_sql import Shape, WhereWriter, literal, split_shape
from providers.features.remote.conditions import boxes_of, cannot, condition_of, refused
from providers.features.remote.documents import json_object, shown, text_of
from providers.features.remote.esri_json import geometry_of, to_esri
from providers.features.remote.facts import RemoteFacts
from providers.features.remote.service import NOTHING, Asked, Batch, Place, RemoteLayer, feature_id_of
from providers.features.remote.values import Misfit
from providers.features.schema import FieldDefinition
from providers.features.source import Ability
from providers.outgoing import Client, RemoteUnavailable

# ArcGIS servers answer JSON as text/plain too.
_ACCEPT = ("application/json", "application/geo+json", "text/plain", "+json")
_TYPES: Mapping[str, tuple[str, str | None]] = {
    "esriFieldTypeString": ("string", None),
    "esriFieldTypeGUID": ("string", None),
    "esriFieldTypeGlobalID": ("string", None),
    "esriFieldTypeXML": ("string", None),
    "esriFieldTypeInteger": ("integer", None),
    "esriFieldTypeSmallInteger": ("integer", None),
    "esriFieldTypeBigInteger": ("integer", None),
    "esriFieldTypeOID": ("integer", None),
    "esriFieldTypeDouble": ("number", None),
    "esriFieldTypeSingle": ("number", None),
    "esriFieldTypeDate": ("string", "date-time"),
    "esriFieldTypeDateOnly": ("string", "date"),
}
_GEOMETRIES = {"esriGeometryPoint": "Point", "esriGeometryMultipoint": "MultiPoint"}
_FIELD_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")
_ALWAYS = frozenset(
    {
        Ability.BBOX,
        Ability.EQUALS,
        Ability.FILTER,
        Ability.Q,
        Ability.PROPERTIES,
        Ability.SKIP_GEOMETRY,
        Ability.CRS,
        Ability.HITS,
    }
)
_BY_NUMBER = "page from "  # in a cursor: the page goes on by its number, not after an object id
_LARGEST_METADATA = 16 << 20


class ArcgisLayer:
    """One layer. `url` is the service (".../FeatureServer"), `layer` the number of the layer in it."""

    kind = "arcgis"

    def __init__(self, url: str, layer: str, client: Client) -> None:
        """Raises StoreError where the layer is no number."""
        if layer and not (layer.isascii() and layer.isdigit()):
            raise StoreError(f"A layer of an ArcGIS service is a number, not {layer[:80]!r}")
        self._url = url.rstrip("/")
        self._layer = layer
        self._client = client
        self.name = f"{self.kind} {client.origin.authority}"

    def layers(self) -> list[RemoteLayer]:
        """Layers and tables that have features."""
        document = self._ask(self._url, {})
        members = [item for part in ("layers", "tables") for item in document.get(part) or []]
        return [
            RemoteLayer(str(item["id"]), text_of(item.get("name")))
            for item in members
            if isinstance(item, dict) and "id" in item and item.get("type") != "Group Layer"
        ]

    def discover(self) -> RemoteFacts:
        """The layer's document, its extent in longitude and latitude, and its number of features."""
        document = self._ask(f"{self._url}/{self._layer}", {})
        if "Query" not in str(document.get("capabilities", "Query")):
            raise RemoteUnavailable(f"{self.name} does not let layer {self._layer} be queried")
        fields, oid = self._fields(document)
        able = document.get("advancedQueryCapabilities")
        able = able if isinstance(able, dict) else document
        pages, sorts = bool(able.get("supportsPagination")), bool(able.get("supportsOrderBy"))
        abilities = set(_ALWAYS)
        if sorts:
            abilities.add(Ability.CURSOR)  # by the object id, which is ordered
        if pages:
            abilities |= {Ability.OFFSET, Ability.CURSOR}
        if pages and sorts:
            abilities.add(Ability.SORTBY)
        times = document.get("timeInfo") or {}
        time_field = _own_name(times.get("startTimeField"), fields) if isinstance(times, dict) else None
        if time_field:
            abilities.add(Ability.DATETIME)
        most = document.get("maxRecordCount")
        return RemoteFacts(
            fields=fields,
            abilities=frozenset(abilities),
            title=text_of(document.get("name")) or self._layer,
            description=text_of(document.get("description")),
            attribution=text_of(document.get("copyrightText")),
            bbox=self._extent(able),
            geometry_type=_GEOMETRIES.get(str(document.get("geometryType")), "Geometry"),
            time_field=time_field,
            count=_count_in(self._query({"where": "1=1", "returnCountOnly": "true"})),
            details={
                "oid": oid,
                "pages": pages,
                "sorts": sorts,
                "most": most if type(most) is int and most > 0 else 1000,
                "z": bool(document.get("hasZ")),
                "geometry": bool(document.get("geometryType")),
            },
        )

    def batch(self, facts: RemoteFacts, asked: Asked) -> Batch:
        """One page: by object id where nothing else is sorted by, else by its number."""
        details = facts.details
        by_number = isinstance(asked.place, str)
        keyed = details["sorts"] and not asked.query.sortby and not asked.query.offset and not by_number
        params = self._conditions(facts, asked, _after(asked.place, details["oid"]) if keyed else None)
        if params is None:
            return Batch([], np.empty(0, dtype=object), [], None, 0)
        wanted = min(asked.limit, details["most"])
        offset = 0 if keyed else _offset(asked)
        params |= self._shown(facts, asked.fields, asked.geometry)
        if details["pages"]:
            # One more than wanted tells whether there is another page, where the service may give as many.
            number = {"resultRecordCount": str(min(wanted + 1, details["most"]))}
            params |= number | ({"resultOffset": str(offset)} if offset else {})
        if details["sorts"]:
            params["orderByFields"] = _order(asked.query, facts)
        document = self._query(params, query=asked.query)
        batch, more = self._features(document, facts), bool(document.get("exceededTransferLimit"))
        if len(batch.ids) > wanted:
            batch, more = Batch(batch.ids[:wanted], batch.geometries[:wanted], batch.rows[:wanted]), True
        more = more and bool(batch.ids)
        if more and not keyed and not details["pages"]:
            raise cannot(self.kind, f"more than {wanted} features by a service without paging", "limit")
        last = int(batch.ids[-1]) if keyed and batch.ids else f"{_BY_NUMBER}{offset + len(batch.ids)}"
        return Batch(
            batch.ids,
            batch.geometries,
            batch.rows,
            last if more else None,
            self._known_count(asked, batch, more),
        )

    def one(self, facts: RemoteFacts, feature_id: str, fields: tuple[FieldDefinition, ...]) -> Batch:
        """The feature of an object id."""
        if not (feature_id.isascii() and feature_id.isdigit() and len(feature_id) < 19):
            return NOTHING
        document = self._query({"objectIds": feature_id, **self._shown(facts, fields, True)})
        return self._features(document, facts)

    def matched(self, facts: RemoteFacts, asked: Asked) -> int | None:
        """`returnCountOnly`."""
        params = self._conditions(facts, asked, None)
        if params is None:
            return 0
        return _count_in(self._query({**params, "returnCountOnly": "true"}, query=asked.query))

    # --- inside ----------------------------------------------------------------------------------------------------

    def _ask(self, url: str, params: Mapping[str, str], *, query: ItemQuery | None = None) -> dict[str, Any]:
        """A JSON document; ArcGIS answers errors with status 200."""
        sent = {"f": "json", **params}
        answer = self._client.get(
            url, sent, accept=_ACCEPT, limit=_LARGEST_METADATA if not params else 64 << 20, may_post=True
        )
        if answer.status >= 400:
            raise RemoteUnavailable(f"{self.name} answers {answer.status}")
        document = json_object(answer, self.name)
        error = document.get("error")
        if not isinstance(error, dict):
            return document
        reason, code = shown(error.get("message")), error.get("code")
        if query is not None and code == 400:
            raise refused(self.kind, query, reason or "no reason given")
        if code in (498, 499, 403):
            raise RemoteUnavailable(
                f"{self.name} does not accept the credentials given for it, or wants some"
            )
        raise RemoteUnavailable(f"{self.name} answers an error ({code}: {reason or 'no reason given'})")

    def _query(self, params: Mapping[str, str], *, query: ItemQuery | None = None) -> dict[str, Any]:
        return self._ask(f"{self._url}/{self._layer}/query", params, query=query)

    def _fields(self, document: Mapping[str, Any]) -> tuple[tuple[FieldDefinition, ...], str]:
        """The fields whose names are safe in SQL, and the object id's name."""
        members = [item for item in document.get("fields") or [] if isinstance(item, dict)]
        found = tuple(
            FieldDefinition(
                name, *_TYPES[item["type"]], column=name, title=text_of(item.get("alias")) or None
            )
            for item in members
            if item.get("type") in _TYPES and _is_safe(name := str(item.get("name")))
        )
        oid = document.get("objectIdField") or next(
            (item.get("name") for item in members if item.get("type") == "esriFieldTypeOID"), None
        )
        if not isinstance(oid, str) or oid not in {item.name for item in found}:
            raise RemoteUnavailable(f"{self.name} names no object id field for layer {self._layer}")
        return found, oid

    def _extent(self, able: Mapping[str, Any]) -> tuple[float, ...]:
        if not able.get("supportsReturningQueryExtent"):
            return ()
        document = self._query({"where": "1=1", "returnExtentOnly": "true", "outSR": "4326"})
        extent = document.get("extent") or {}
        try:
            numbers = tuple(float(extent[name]) for name in ("xmin", "ymin", "xmax", "ymax"))
        except (KeyError, TypeError, ValueError):
            return ()
        return numbers if all(map(math.isfinite, numbers)) else ()

    def _conditions(self, facts: RemoteFacts, asked: Asked, after: Any) -> dict[str, str] | None:
        """`where` and `geometry`; None where nothing can meet them."""
        condition = condition_of(asked.query, facts.schema, asked.hidden)
        if condition is False:
            return None
        shape: Shape | None = None
        if condition is not None and condition is not True:
            condition, shape = split_shape(condition)
        parts = [] if condition in (None, True) else [WhereWriter(facts.schema).write(condition)]
        if after is not None:
            parts.append(after)
        params = {"where": " AND ".join(parts) or "1=1"}
        boxes = boxes_of(asked.query.bbox)
        if boxes and shape is not None:
            raise cannot(self.kind, "a spatial condition together with bbox")
        if len(boxes) == 2:
            raise cannot(self.kind, "a box across the antimeridian", "bbox")
        if boxes:
            params |= {
                "geometry": ",".join(f"{number:.12g}" for number in boxes[0]),
                "geometryType": "esriGeometryEnvelope",
                "inSR": "4326",
                "spatialRel": "esriSpatialRelEnvelopeIntersects",
            }
        return params if shape is None else params | self._shape(shape)

    def _shape(self, shape: Shape) -> dict[str, str]:
        try:
            kind, document = to_esri(shape.geometry)
        except ValueError as error:
            raise cannot(self.kind, str(error)) from None
        return {
            "geometry": orjson.dumps(document).decode(),
            "geometryType": kind,
            "inSR": "4326",
            "spatialRel": shape.relation,
        }

    def _shown(
        self, facts: RemoteFacts, fields: tuple[FieldDefinition, ...], geometry: bool
    ) -> dict[str, str]:
        names = dict.fromkeys([facts.details["oid"], *(item.column for item in fields)])
        return {
            "outFields": ",".join(names),
            "returnGeometry": "true" if geometry and facts.details["geometry"] else "false",
            "outSR": "4326",
            **({"returnZ": "true"} if facts.details["z"] else {}),
        }

    def _features(self, document: Mapping[str, Any], facts: RemoteFacts) -> Batch:
        features = document.get("features")
        if not isinstance(features, list) or not all(
            isinstance(item, dict) and isinstance(item.get("attributes"), dict) for item in features
        ):
            raise Misfit("no feature set")
        rows = [item["attributes"] for item in features]
        geometries = np.empty(len(rows), dtype=object)
        has_z = bool(document.get("hasZ"))
        for i, item in enumerate(features):
            geometries[i] = geometry_of(item.get("geometry"), has_z)
        return Batch([feature_id_of(row.get(facts.details["oid"])) for row in rows], geometries, rows)

    @staticmethod
    def _known_count(asked: Asked, batch: Batch, more: bool) -> int | None:
        """Exact where the first page is the last one too; counting would be another request."""
        return None if more or asked.place is not None or asked.query.offset else len(batch.ids)


def _is_safe(name: str) -> bool:
    """A name that needs no quoting, for there is none that every server knows. Letters of other scripts are names too."""
    return bool(name) and all(
        letter in _FIELD_NAME or (letter.isalpha() and not letter.isascii()) for letter in name
    )


def _own_name(name: Any, fields: tuple[FieldDefinition, ...]) -> str | None:
    return name if any(item.name == name and item.format is not None for item in fields) else None


def _after(place: Place | None, oid: str) -> str | None:
    if place is None:
        return None
    if type(place) is not int:
        raise InvalidParameter("cursor", str(place)[:60], "a cursor taken from a next link")
    return f"{oid} > {literal(place)}"


def _offset(asked: Asked) -> int:
    place = asked.place
    if place is None:
        return asked.query.offset
    number = place.removeprefix(_BY_NUMBER) if isinstance(place, str) else ""
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        raise InvalidParameter("cursor", str(place)[:60], "a cursor taken from a next link")
    return int(number)


def _order(query: ItemQuery, facts: RemoteFacts) -> str:
    by_name = facts.schema.by_name
    keys = [f"{by_name[key.field].column} {'DESC' if key.descending else 'ASC'}" for key in query.sortby]
    oid = facts.details["oid"]
    return ", ".join(keys if any(key.field == oid for key in query.sortby) else [*keys, f"{oid} ASC"])


def _count_in(document: Mapping[str, Any]) -> int | None:
    count = document.get("count")
    return count if type(count) is int and count >= 0 else None
