"""What a feature collection looks like to those who query it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from providers.features.query import CRS84


@dataclass(frozen=True, slots=True)
class FieldDefinition:
    """One attribute. The same attributes as the registry's `Field`, so either can be made from the other.

    `type` is a JSON Schema type ("string", "integer", "number", "boolean"), `format` "date", "date-time" or None.
    `column` is the SQL column in the store, given by the writer; `name` is what users see. `constraints`: words of JSON
    Schema (and `required`, `unique`) that values sent by clients have to keep; see `providers.features.edits.constraints`.
    """

    name: str
    type: str
    format: str | None = None
    column: str = ""
    title: str | None = None
    constraints: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class CollectionSchema:
    """The fields and reference systems of one collection.

    `storage_crs` is a CRS URI, or "" where the CRS has no code of an authority. `supported_crs` lists the URIs to show in
    the collection document; every other projected or geographic EPSG code that PROJ knows is answered too.
    """

    fields: tuple[FieldDefinition, ...]
    storage_crs: str = CRS84
    time_field: str | None = None
    geometry_type: str = "Geometry"
    supported_crs: tuple[str, ...] = field(default=(CRS84,))

    @cached_property
    def by_name(self) -> dict[str, FieldDefinition]:
        """The fields by the name users see."""
        return {item.name: item for item in self.fields}

    def field(self, name: str) -> FieldDefinition | None:
        """The field of this name, or None."""
        return self.by_name.get(name)
