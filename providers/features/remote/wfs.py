"""Web Feature Services 1.1.0 and 2.0 (OGC 04-094, OGC 09-025r2), asked by key-value pairs.

Every request goes to the address of the description, not to those in the capabilities: servers behind a proxy often give
addresses that only they can reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from lxml import etree

from providers.errors import AnswerTooLarge, InvalidParameter, StoreError, UnsupportedQuery
from providers.features.crs import reference_system
from providers.features.query import ItemQuery
from providers.features.remote.conditions import boxes_of, condition_of, refused
from providers.features.remote.documents import json_object, local_name, shown, text_of, xml_root
from providers.features.remote.facts import RemoteFacts
from providers.features.remote.fes import FilterWriter
from providers.features.remote.gml import AxisRule
from providers.features.remote.gml_features import gml_batch, number_in
from providers.features.remote.service import NOTHING, Asked, Batch, RemoteLayer, geojson_batch
from providers.features.remote.values import Misfit
from providers.features.remote.wfs_metadata import (
    Capabilities,
    FeatureType,
    choose_crs,
    read_capabilities,
    read_feature_type,
)
from providers.features.schema import FieldDefinition
from providers.features.source import Ability
from providers.outgoing import Answer, Client, RemoteUnavailable
from providers.outgoing.client import JSON, XML

VERSIONS = ("2.0.0", "1.1.0")
_ALWAYS = frozenset(
    {Ability.PROPERTIES, Ability.SKIP_GEOMETRY, Ability.CRS, Ability.CURSOR, Ability.OFFSET, Ability.HITS}
)
_COMPARISONS = frozenset({"PropertyIsEqualTo", "PropertyIsLessThan", "PropertyIsGreaterThan"})
_RANGE = frozenset({"PropertyIsLessThanOrEqualTo", "PropertyIsGreaterThanOrEqualTo"})
_LARGEST_CAPABILITIES = 64 << 20
_LARGEST_ANSWER = 64 << 20
_WITHOUT_PAGING = 10_000  # features that are read and thrown away at most, of a service without startIndex
_SAMPLE = 5
_TRIED = ItemQuery(
    offset=1
)  # a request that shows whether the service can do something: a refusal is an answer
_ACCEPT = (*JSON, *XML, "application/vnd.ogc.gml", "text/gml")


class WebFeatureType:
    """One feature type of a WFS."""

    kind = "wfs"

    def __init__(
        self, url: str, layer: str, client: Client, version: str | None = None, axes: str | None = None
    ) -> None:
        """`axes`: "xy" or "yx" where the service does not keep to the order of its srsNames. Raises StoreError."""
        if version is not None and version not in VERSIONS:
            raise StoreError(f"WFS is asked in the versions {', '.join(VERSIONS)}, not {version[:20]!r}")
        if axes not in (None, "xy", "yx"):
            raise StoreError(f"axes of a WFS source is xy or yx, not {axes[:20]!r}")
        self._url = url
        self._layer = layer
        self._client = client
        self._version = version
        self._axes = axes
        self.name = f"{self.kind} {client.origin.authority}"

    def layers(self) -> list[RemoteLayer]:
        """The feature types."""
        return self._capabilities().layers()

    def discover(self) -> RemoteFacts:
        """Capabilities, feature type, and a few requests that show how the service really behaves."""
        capabilities = self._capabilities()
        layer = capabilities.layer(self._layer)
        if layer is None:
            known = [item.id for item in capabilities.layers()][:20]
            raise RemoteUnavailable(f"{self.name} has no feature type {self._layer[:80]!r}; it has {known}")
        feature_type = self._feature_type(capabilities.version, layer.id)
        storage_crs, srs_name = choose_crs(layer.crsOptions)
        facts = RemoteFacts(
            fields=feature_type.fields,
            abilities=_abilities(capabilities, feature_type),
            title=text_of(layer.title) or self._layer,
            description=text_of(layer.abstract),
            attribution=capabilities.attribution,
            licence=capabilities.licence,
            bbox=tuple(float(number) for number in layer.boundingBoxWGS84 or ()),
            geometry_type=feature_type.geometry_type,
            time_field=_time_field(capabilities, feature_type),
            storage_crs=storage_crs,
            details={
                "version": capabilities.version,
                "name": layer.id,
                "srs": srs_name,
                "operators": sorted(capabilities.operators),
                "geometry": feature_type.geometry_field,
                "page": capabilities.page_size,
                "format": capabilities.geojson_format,
                "swap": None if self._axes is None else self._axes == "yx",
                "json_swap": self._axes == "yx",
                "pages": capabilities.version.startswith("2"),
                "counts": True,
            },
        )
        return self._tried(facts)

    def batch(self, facts: RemoteFacts, asked: Asked) -> Batch:
        """One page: by `startIndex`, or by reading from the start where the service has none."""
        offset = _offset(asked)
        params = self._conditions(facts, asked)
        if params is None:
            return Batch([], np.empty(0, dtype=object), [], None, 0)
        pages, page_size = facts.details["pages"], facts.details["page"]
        skipped = 0 if pages else offset
        # One more than wanted tells whether there is another page, where the service does not count.
        wanted = asked.limit + 1 + skipped
        if skipped + asked.limit > _WITHOUT_PAGING:
            raise AnswerTooLarge(
                f"{self.name} cannot skip features: only its first {_WITHOUT_PAGING:,} can be paged through; ask for less by a filter"
            )
        params |= {_count_name(facts): str(wanted)}
        if offset and pages:
            params["startIndex"] = str(offset)
        if asked.query.sortby:
            params["sortBy"] = _sorting(asked.query, facts)
        params |= _property_names(facts, asked)
        batch = self._features(facts, params, query=asked.query)
        given = len(batch.ids)
        part = slice(skipped, skipped + asked.limit)
        matched = batch.number_matched if facts.details["counts"] else None
        end = offset + len(batch.ids[part])
        more = given > skipped + asked.limit or (
            given > 0
            and ((matched is not None and end < matched) or (matched is None and given == page_size))
        )
        if not pages and given == page_size and page_size < wanted:
            raise AnswerTooLarge(
                f"{self.name} gives {page_size} features at most, and cannot skip any; ask for less by a filter"
            )
        return Batch(
            batch.ids[part],
            batch.geometries[part],
            batch.rows[part],
            end if more and end > offset else None,
            matched,
        )

    def one(self, facts: RemoteFacts, feature_id: str, fields: tuple[FieldDefinition, ...]) -> Batch:
        """The feature of this id. A service that refuses the id (400, or 403 of OGC 09-025r2 table 3) does not have it."""
        name = "resourceID" if facts.details["version"].startswith("2") else "featureID"
        if "," in feature_id or "(" in feature_id:
            return NOTHING  # would be a list of ids
        asked = Asked(ItemQuery(), fields, frozenset(), 1, None)
        params = {**_base(facts), name: feature_id, **_property_names(facts, asked)}
        answer = self._get(facts, {**params, **_format(facts)})
        if answer.status in (400, 403, 404):
            return NOTHING
        batch = self._read(facts, answer, query=None, may_refuse=True)
        return batch if len(batch.ids) <= 1 else NOTHING

    def matched(self, facts: RemoteFacts, asked: Asked) -> int | None:
        """`resultType=hits`."""
        params = self._conditions(facts, asked)
        if params is None or not facts.details["counts"]:
            return 0 if params is None else None
        answer = self._get(facts, {**params, "resultType": "hits"})
        root = xml_root(answer.body, self.name)
        self._raise_exceptions(root, answer, query=asked.query)
        return (
            number_in(root.get("numberMatched")) if _is_2(facts) else number_in(root.get("numberOfFeatures"))
        )

    # --- inside ----------------------------------------------------------------------------------------------------

    def _capabilities(self) -> Capabilities:
        params = {"service": "WFS", "request": "GetCapabilities", "version": self._version or VERSIONS[0]}
        if self._version is None:
            params["acceptVersions"] = ",".join(VERSIONS)
        answer = self._client.get(self._url, params, accept=XML, limit=_LARGEST_CAPABILITIES)
        if answer.status >= 400:
            raise RemoteUnavailable(f"{self.name} answers {answer.status} to GetCapabilities")
        return read_capabilities(answer.body, self._url, self.name)

    def _feature_type(self, version: str, layer: str) -> FeatureType:
        name = "typeNames" if version.startswith("2") else "typeName"
        params = {"service": "WFS", "version": version, "request": "DescribeFeatureType", name: layer}
        if version.startswith("2"):
            params["typeName"] = layer  # what servers understood before the 2.0.2 corrigendum
        answer = self._client.get(self._url, params, accept=(*XML, "text/plain"), limit=_LARGEST_CAPABILITIES)
        if answer.status >= 400:
            raise RemoteUnavailable(f"{self.name} answers {answer.status} to DescribeFeatureType")
        return read_feature_type(answer.body, layer, self.name)

    def _tried(self, facts: RemoteFacts) -> RemoteFacts:
        """Facts with what a few features have shown: the output format that carries ids, axis order, paging, sorting, count."""
        facts, sample = self._sampled(facts)
        if self._axes is None and _looks_exchanged(sample, facts.bbox):
            facts = self._exchanged_axes(facts)
        details = dict(facts.details)
        abilities = set(facts.abilities)
        if len(sample.ids) > 1:
            details["pages"] = self._answers(facts, {"startIndex": "1", _count_name(facts): "1"}) == [
                sample.ids[1]
            ]
        if facts.fields and self._answers(
            facts, {"sortBy": f"{facts.fields[0].column} {_direction(facts, False)}", _count_name(facts): "1"}
        ):
            abilities.add(Ability.SORTBY)
        asked = Asked(ItemQuery(hits_only=True), (), frozenset(), 0, None)
        count = self.matched(facts, asked)
        if count is None or count < len(sample.ids):
            # Some servers count wrongly: theirs are not passed on.
            abilities.discard(Ability.HITS)
            details["counts"], count = False, None
        return replace(facts, details=details, abilities=frozenset(abilities), count=count)

    def _exchanged_axes(self, facts: RemoteFacts) -> RemoteFacts:
        """Facts with the axis order by which features lie inside the stated extent, unchanged where neither does."""
        name = "json_swap" if facts.details["format"] else "swap"
        for order in (True, False):
            tried = replace(facts, details={**facts.details, name: order})
            sample = self._features(tried, {**_base(tried), _count_name(tried): str(_SAMPLE)}, query=None)
            if not _looks_exchanged(sample, facts.bbox):
                return tried
        return facts

    def _sampled(self, facts: RemoteFacts) -> tuple[RemoteFacts, Batch]:
        """A few features, in GeoJSON where that has ids, else in GML."""
        params = {**_base(facts), _count_name(facts): str(_SAMPLE)}
        if facts.details["format"]:
            try:
                return facts, self._features(facts, params, query=None)
            except (Misfit, RemoteUnavailable):
                facts = replace(facts, details={**facts.details, "format": None})
        try:
            return facts, self._features(facts, params, query=None)
        except Misfit as error:
            raise RemoteUnavailable(f"{self.name} answers with {error}") from None

    def _answers(self, facts: RemoteFacts, params: Mapping[str, str]) -> list[str]:
        """The ids that a request gives, [] where the service refuses it."""
        try:
            return self._features(facts, {**_base(facts), **params}, query=_TRIED).ids
        except (UnsupportedQuery, Misfit, RemoteUnavailable):
            return []

    def _conditions(self, facts: RemoteFacts, asked: Asked) -> dict[str, str] | None:
        condition = condition_of(asked.query, facts.schema, asked.hidden)
        if condition is False:
            return None
        condition = None if condition is True else condition
        boxes = boxes_of(asked.query.bbox)
        params = _base(facts)
        if condition is not None or boxes:
            details = facts.details
            writer = FilterWriter(
                details["version"],
                facts.schema,
                frozenset(details["operators"]),
                details["geometry"],
                facts.storage,
                details["srs"],
                swap=_rule(facts).swaps(details["srs"]),
            )
            params["filter"] = writer.document(condition, boxes)
        return params

    def _get(self, facts: RemoteFacts, params: Mapping[str, str]) -> Answer:
        return self._client.get(self._url, params, accept=_ACCEPT, limit=_LARGEST_ANSWER, may_post=True)

    def _features(self, facts: RemoteFacts, params: Mapping[str, str], *, query: ItemQuery | None) -> Batch:
        return self._read(facts, self._get(facts, {**params, **_format(facts)}), query=query)

    def _read(
        self, facts: RemoteFacts, answer: Answer, *, query: ItemQuery | None, may_refuse: bool = False
    ) -> Batch:
        if answer.status < 300 and answer.body.lstrip()[:1] == b"{":
            batch = geojson_batch(json_object(answer, self.name))
            rows = [{_local(name): value for name, value in row.items()} for row in batch.rows]
            batch = replace(batch, rows=rows)
            return (
                _exchanged(batch)
                if facts.details["swap"] is True and facts.details.get("json_swap")
                else batch
            )
        root = xml_root(answer.body, self.name)
        if may_refuse and "Exception" in local_name(root):
            return NOTHING
        self._raise_exceptions(root, answer, query=query)
        return gml_batch(root, facts.fields, facts.details["geometry"], _rule(facts))

    def _raise_exceptions(self, root: etree._Element, answer: Answer, *, query: ItemQuery | None) -> None:
        name = local_name(root)
        if "Exception" not in name and answer.status < 300:
            return
        words = " ".join(
            text
            for node in root.iter("{*}ExceptionText", "{*}ServiceException")
            if (text := (node.text or "").strip())
        )
        reason = shown(words) or "no reason given"
        if query is not None and _is_conditional(query):
            raise refused(self.kind, query, reason)
        raise RemoteUnavailable(f"{self.name} answers an exception ({reason})")


def _base(facts: RemoteFacts) -> dict[str, str]:
    details = facts.details
    return {
        "service": "WFS",
        "version": details["version"],
        "request": "GetFeature",
        "typeNames" if _is_2(facts) else "typeName": details["name"],
        "srsName": details["srs"],
    }


def _format(facts: RemoteFacts) -> dict[str, str]:
    return {"outputFormat": facts.details["format"]} if facts.details["format"] else {}


def _is_2(facts: RemoteFacts) -> bool:
    return str(facts.details["version"]).startswith("2")


def _count_name(facts: RemoteFacts) -> str:
    return "count" if _is_2(facts) else "maxFeatures"


def _direction(facts: RemoteFacts, descending: bool) -> str:
    return ("DESC" if descending else "ASC") if _is_2(facts) else ("D" if descending else "A")


def _sorting(query: ItemQuery, facts: RemoteFacts) -> str:
    by_name = facts.schema.by_name
    return ",".join(
        f"{by_name[key.field].column} {_direction(facts, key.descending)}" for key in query.sortby
    )


def _property_names(facts: RemoteFacts, asked: Asked) -> dict[str, str]:
    """Only the properties that are shown are asked for: hidden ones do not even leave the service."""
    if len(asked.fields) == len(facts.fields) and asked.geometry:
        return {}
    names = [item.column for item in asked.fields]
    if asked.geometry and facts.details["geometry"]:
        names.append(facts.details["geometry"])
    # At least one has to be named, or all come: one of those that may be seen, or the geometry.
    return {"propertyName": ",".join(names or [facts.details["geometry"]])}


def _is_conditional(query: ItemQuery) -> bool:
    return bool(
        query.filter
        or query.q
        or query.equals
        or query.bbox
        or query.datetime
        or query.sortby
        or query.offset
    )


def _offset(asked: Asked) -> int:
    place = asked.place
    if place is None:
        return asked.query.offset
    if type(place) is not int or place < 0:
        raise InvalidParameter("cursor", str(place)[:60], "a cursor taken from a next link")
    return place


def _rule(facts: RemoteFacts) -> AxisRule:
    return AxisRule(reference_system(facts.storage_crs), facts.details["swap"])


def _exchanged(batch: Batch) -> Batch:
    def exchange(coordinates: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return coordinates[:, ::-1]

    return replace(batch, geometries=shapely.transform(batch.geometries, exchange))


def _looks_exchanged(sample: Batch, bbox: tuple[float, ...]) -> bool:
    """Whether the features lie outside the stated extent as they were read, and inside with their axes exchanged."""
    bounds = shapely.bounds(sample.geometries)
    bounds = bounds[~np.isnan(bounds).any(axis=1)]
    if not len(bounds) or len(bbox) != 4:
        return False
    margin = max(bbox[2] - bbox[0], bbox[3] - bbox[1]) * 0.1 + 1e-3

    def outside(first: int, second: int) -> Any:
        return (
            (bounds[:, first] > bbox[2] + margin)
            | (bounds[:, first + 2] < bbox[0] - margin)
            | (bounds[:, second] > bbox[3] + margin)
            | (bounds[:, second + 2] < bbox[1] - margin)
        )

    return bool(outside(0, 1).all() and not outside(1, 0).any())


def _abilities(capabilities: Capabilities, feature_type: FeatureType) -> frozenset[Ability]:
    operators = capabilities.operators
    able = {
        Ability.BBOX: "BBOX" in operators and bool(feature_type.geometry_field),
        Ability.EQUALS: "PropertyIsEqualTo" in operators,
        Ability.FILTER: operators >= _COMPARISONS,
        Ability.Q: "PropertyIsLike" in operators,
        Ability.DATETIME: _time_field(capabilities, feature_type) is not None,
    }
    return _ALWAYS | {ability for ability, is_able in able.items() if is_able}


def _time_field(capabilities: Capabilities, feature_type: FeatureType) -> str | None:
    """The only date or time of the feature type, where the service compares."""
    times = [item.name for item in feature_type.fields if item.format is not None]
    return times[0] if len(times) == 1 and capabilities.operators >= _RANGE else None


def _local(name: str) -> str:
    return name.rpartition(":")[2]
