"""What the three kinds of remote service have in common: how one is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from providers.features.query import ItemQuery
from providers.features.remote.facts import RemoteFacts
from providers.features.remote.values import Misfit
from providers.features.schema import FieldDefinition

type Place = str | int
"""Where a service goes on after a batch, in its own terms: the last value of a cursor."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to a remote service.

    `query` holds the conditions; `limit` and `place` are this request's own, for a page may need several. `fields` are those to
    ask for: visible, wanted, in the order of the schema.
    """

    query: ItemQuery
    fields: tuple[FieldDefinition, ...]
    hidden: frozenset[str]
    limit: int
    place: Place | None
    geometry: bool = True


@dataclass(frozen=True, slots=True)
class Batch:
    """What one request gave: features with geometries in the storage CRS (x = east), and where to go on."""

    ids: list[str]
    geometries: NDArray[np.object_]
    rows: Sequence[Mapping[str, Any]]
    place: Place | None = None
    number_matched: int | None = None


@dataclass(frozen=True, slots=True)
class RemoteLayer:
    """A collection that a service offers."""

    id: str
    title: str = ""
    description: str = ""


class RemoteService(Protocol):
    """One collection of a remote service, asked in the service's own language."""

    @property
    def kind(self) -> str:
        """The kind of store: "wfs", "features", "arcgis"."""
        ...

    @property
    def name(self) -> str:
        """Kind and host, for messages."""
        ...

    def layers(self) -> list[RemoteLayer]:
        """What the service offers. Raises SourceUnavailable."""
        ...

    def discover(self) -> RemoteFacts:
        """Ask for everything that is to be known of the collection. Raises SourceUnavailable, StoreError."""
        ...

    def batch(self, facts: RemoteFacts, asked: Asked) -> Batch:
        """At most `asked.limit` features. Raises UnsupportedQuery, SourceUnavailable, AnswerTooLarge, Misfit."""
        ...

    def one(self, facts: RemoteFacts, feature_id: str, fields: tuple[FieldDefinition, ...]) -> Batch:
        """The feature of this id, or an empty batch."""
        ...

    def matched(self, facts: RemoteFacts, asked: Asked) -> int | None:
        """How many features meet the conditions; None where the service does not tell."""
        ...


NOTHING = Batch([], np.empty(0, dtype=object), [])


def geojson_batch(document: Mapping[str, Any], id_field: str | None = None) -> Batch:
    """The features of a GeoJSON FeatureCollection (x = east). Raises Misfit for what is none."""
    features = document.get("features")
    if not isinstance(features, list) or not all(isinstance(item, dict) for item in features):
        raise Misfit("no GeoJSON feature collection")
    rows = [item.get("properties") or {} for item in features]
    if not all(isinstance(row, dict) for row in rows):
        raise Misfit("features whose properties are no object")
    ids = [
        item.get("id") if id_field is None else row.get(id_field)
        for item, row in zip(features, rows, strict=True)
    ]
    return Batch(
        [feature_id_of(value) for value in ids], geojson_geometries(features), rows, None, _count(document)
    )


def feature_id_of(value: Any) -> str:
    """An id as text. Raises Misfit where there is none: without ids features can be neither linked nor paged."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise Misfit("features without an id (name a field that is unique as id_field of the source)")
    return str(value)


def geojson_geometries(features: Sequence[Mapping[str, Any]]) -> NDArray[np.object_]:
    """The geometries of GeoJSON features; null stays None. Raises Misfit."""
    result = np.empty(len(features), dtype=object)
    filled = [i for i, item in enumerate(features) if item.get("geometry") is not None]
    if filled:
        texts = [orjson.dumps(features[i]["geometry"]).decode() for i in filled]
        try:
            result[filled] = shapely.from_geojson(texts)
        except shapely.errors.GEOSException:
            raise Misfit("a geometry that is not GeoJSON") from None
    return result


def _count(document: Mapping[str, Any]) -> int | None:
    for name in ("numberMatched", "totalFeatures"):
        value = document.get(name)
        if type(value) is int and value >= 0:
            return value
    return None
