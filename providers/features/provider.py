"""Feature sources of every kind as a pygeoapi plugin.

pygeoapi makes one of these for every request, so it only looks up an open source. Coordinates come out in the CRS that was
asked for; pygeoapi transforms nothing again (its decorator `crs_transform` is not used).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import orjson
from pygeoapi.crs import CrsTransformSpec
from pygeoapi.provider.base import (
    BaseProvider,
    ProviderConnectionError,
    ProviderInvalidQueryError,
    ProviderItemNotFoundError,
    SchemaType,
)

from providers.errors import (
    AnswerTooLarge,
    InvalidParameter,
    ProviderError,
    SourceUnavailable,
    StoreError,
    UnknownReferenceSystem,
    UnsupportedQuery,
)
from providers.features.context import (
    current_budget_key,
    current_failure,
    current_hidden,
    current_query,
    current_source,
)
from providers.features.page_budget import page_within
from providers.features.parser import QueryLimits, parse_item_query
from providers.features.query import CRS84, ItemQuery
from providers.features.search_places import place_for
from providers.features.source import FeatureSource, refuse_what_it_cannot
from providers.features.sources import open_source

__all__ = ["ChengtuFeatureProvider", "current_hidden", "current_query"]

_NOTHING: frozenset[str] = frozenset()
_LIMITS = QueryLimits()


class ChengtuFeatureProvider(BaseProvider):  # type: ignore[misc] # pygeoapi carries no types
    """Features of one collection. `data` is the path of its embedded store, or `source` the description of another kind.

    `generation` is the collection's (for cursors).

    `hidden` lists fields nobody sees; `current_hidden` wins over it, `current_query` over the arguments of `query`.
    """

    def __init__(self, provider_def: dict[str, Any]) -> None:
        with _pygeoapi_errors():
            self.store: FeatureSource = current_source.get() or _configured(provider_def)
        # A pyproj.CRS passes through pygeoapi as it is; a URI would be looked up in PROJ for each request.
        super().__init__({**provider_def, "storage_crs": self.store.storage.crs})
        self.generation = int(provider_def.get("generation", 0))
        self.time_field = self.store.schema.time_field
        self._hidden = frozenset(provider_def.get("hidden", ()))

    @property
    def hidden(self) -> frozenset[str]:
        """Fields left out of every answer."""
        hidden = current_hidden.get()
        return self._hidden if hidden is None else hidden

    @property
    def fields(self) -> dict[str, dict[str, Any]]:
        """The visible fields as JSON Schema properties; a new dict each time, because pygeoapi writes into it."""
        return self.get_fields()

    def get_fields(self) -> dict[str, dict[str, Any]]:
        """The visible fields as JSON Schema properties."""
        result: dict[str, dict[str, Any]] = {}
        for field in self.store.schema.fields:
            if field.name in self.hidden:
                continue
            described: dict[str, Any] = {"type": field.type, "title": field.title or field.name}
            if field.format is not None:
                described["format"] = field.format
            result[field.name] = described
        return result

    def get_schema(self, schema_type: SchemaType = SchemaType.item) -> tuple[str, dict[str, Any]]:
        """(media type, JSON Schema) of one item."""
        geometry_type = self.store.schema.geometry_type
        kind = "Geometry" if geometry_type == "Geometry" else geometry_type
        return "application/geo+json", {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "required": ["type", "geometry", "properties"],
            "properties": {
                "type": {"const": "Feature"},
                "id": {"type": "string"},
                "geometry": {"$ref": f"https://geojson.org/schema/{kind}.json"},
                "properties": {"type": "object", "properties": self.get_fields()},
            },
        }

    def query(
        self,
        offset: int = 0,
        limit: int = 10,
        resulttype: str = "results",
        bbox: Sequence[float] = (),
        datetime_: str | None = None,
        properties: Sequence[tuple[str, str]] = (),
        sortby: Sequence[dict[str, str]] = (),
        select_properties: Sequence[str] = (),
        skip_geometry: bool = False,
        q: str | None = None,
        filterq: object | None = None,
        crs_transform_spec: CrsTransformSpec | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """A FeatureCollection; `cursor` in it is the key the next page starts after, absent on the last.

        `bbox` comes from pygeoapi in the storage CRS, in its authority's axis order. A filter that pygeoapi has parsed is not
        checked against the schema, so it is refused; this server's own routes give it by `current_query`.
        """
        with _pygeoapi_errors():
            query = current_query.get()
            if query is None:
                _refuse(filter=filterq)
                pairs = [
                    ("offset", str(offset)),
                    ("limit", str(limit)),
                    ("resulttype", resulttype),
                    *properties,
                ]
                pairs += [
                    ("skipGeometry", "true" if skip_geometry else "false"),
                    ("crs", self._crs(crs_transform_spec)),
                ]
                pairs += [("datetime", datetime_)] if datetime_ else []
                pairs += [("properties", ",".join(select_properties))] if select_properties else []
                pairs += [("sortby", ",".join(map(_sort_text, sortby)))] if sortby else []
                pairs += [("q", q)] if q else []
                if len(bbox):
                    pairs += [
                        ("bbox", ",".join(map(repr, map(float, bbox)))),
                        ("bbox-crs", self._storage_uri()),
                    ]
                query = parse_item_query(pairs, self.store.schema, _LIMITS, self.generation, self.hidden)
                refuse_what_it_cannot(query, self.store)
            return self._answer(query)

    def get(
        self, identifier: str, crs_transform_spec: CrsTransformSpec | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """One feature. Raises ProviderItemNotFoundError."""
        with _pygeoapi_errors():
            query = current_query.get()
            crs = self._crs(crs_transform_spec) if query is None else query.crs
            asof = None if query is None else query.asof
            found = self.store.item(str(identifier), crs, self.hidden, asof)
        if found is None:
            message = f"There is no item with the id {str(identifier)[:200]!r} in this collection"
            raise ProviderItemNotFoundError(message, user_msg=message)
        feature: dict[str, Any] = orjson.loads(found.body)
        return feature

    def _answer(self, query: ItemQuery) -> dict[str, Any]:
        with place_for(self.store, query):
            page = page_within(self.store, query, self.hidden, key=current_budget_key.get())
        result: dict[str, Any] = {
            "type": "FeatureCollection",
            "features": orjson.loads(b"[" + b",".join(page.bodies) + b"]"),
            "numberReturned": page.number_returned,
        }
        if page.number_matched is not None:
            result["numberMatched"] = page.number_matched
        if page.cursor is not None:
            result["cursor"] = page.cursor
        return result

    def _storage_uri(self) -> str:
        return self.store.schema.storage_crs or CRS84

    def _crs(self, spec: CrsTransformSpec | None) -> str:
        """pygeoapi gives no specification where the CRS asked for is the storage CRS."""
        return self._storage_uri() if spec is None else str(spec.target_crs_uri)

    def __repr__(self) -> str:
        return f"<ChengtuFeatureProvider> {self.data}"


def _configured(provider_def: Mapping[str, Any]) -> FeatureSource:
    description = provider_def.get("source")
    return open_source(None if description is not None else provider_def["data"], description)


def _sort_text(key: Mapping[str, str]) -> str:
    """pygeoapi's sort key as the parameter has it."""
    return f"{'-' if key.get('order') == '-' else ''}{key['property']}"


def _refuse(**arguments: object) -> None:
    for name, value in arguments.items():
        if value:
            raise UnsupportedQuery(
                f"{name!r} is not understood as pygeoapi has parsed it; filter by bbox, datetime and the queryables"
            )


@contextmanager
def _pygeoapi_errors() -> Iterator[None]:
    """Our errors as those that pygeoapi knows the HTTP status of, with the message shown to the user."""
    try:
        yield
    except (InvalidParameter, UnsupportedQuery, UnknownReferenceSystem, AnswerTooLarge) as error:
        _raise(ProviderInvalidQueryError, error)
    except (StoreError, SourceUnavailable) as error:
        _raise(ProviderConnectionError, error)


def _raise(kind: Any, error: ProviderError) -> NoReturn:
    current_failure.set(error)
    raise kind(str(error), user_msg=str(error)) from error
