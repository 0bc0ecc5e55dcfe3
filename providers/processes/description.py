"""Parts of process descriptions (OGC 18-062r2 clause 7.9) that several processes share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pygeoapi.process.base import BaseProcessor

POLYGON_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["type", "coordinates"],
    "properties": {
        "type": {"type": "string", "enum": ["Polygon", "MultiPolygon"]},
        "coordinates": {"type": "array"},
    },
    "contentMediaType": "application/geo+json",
}
COLLECTION_INPUT: Mapping[str, Any] = {
    "title": "Collection",
    "description": "Id of a collection of this view, as in /collections",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
    "minOccurs": 1,
    "maxOccurs": 1,
}


def _copy(value: Any) -> Any:
    """A deep copy of JSON-like values in plain dicts and lists."""
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


class Processor(BaseProcessor):  # type: ignore[misc] # pygeoapi is untyped
    """A process with a resolver of collections; `processor_def["resolver"]` is its key.

    One is made for every execution and nothing of an execution is kept on it. Its metadata are a copy, because pygeoapi
    takes parts out of them while it writes the OpenAPI document.
    """

    METADATA: Mapping[str, Any]

    def __init__(self, processor_def: dict[str, Any]) -> None:
        super().__init__(processor_def, _copy(self.METADATA))
        self.resolver_key = str(processor_def.get("resolver", "city"))
        self.supports_outputs = True
