"""The encodings of features beside GeoJSON and HTML: their names, media types, and the functions that write them.

A writer takes batches of features and gives bytes, so one function serves a page of items and the whole of a collection. It
is loaded when the first client asks for its format.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from providers.features.crs import ReferenceSystem
from providers.features.query import ItemQuery
from providers.features.schema import CollectionSchema, FieldDefinition
from providers.features.source import FeatureColumns

type Batch = list[bytes] | FeatureColumns
type Writer = Callable[[WritingContext, Iterator[Batch]], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class WritingContext:
    """What a writer knows beside the features.

    `name` is the collection's id (layer, file name), `url` the collection's own. `storage` is the CRS of the geometries in
    `FeatureColumns`; `query` says what is wanted of them (`crs`, `properties`, `skip_geometry`), `fields` are the fields to
    write, in order: visible and wanted ones. `links`, `timestamp` and `number_matched` are those of the page; `item` is true
    where one feature alone is asked for, and the answer is that feature and not a collection of one.
    """

    name: str
    title: str
    url: str
    schema: CollectionSchema
    storage: ReferenceSystem
    query: ItemQuery
    fields: tuple[FieldDefinition, ...]
    links: Sequence[Mapping[str, Any]] = ()
    timestamp: str = ""
    number_matched: int | None = None
    item: bool = False


@dataclass(frozen=True, slots=True)
class ItemFormat:
    """One encoding.

    `name` is the value of `f`; `media_type` goes out as Content-Type; `accepts` are further media types of Accept, without
    parameters, that mean it. `ending` is that of a file's name, "" where it is shown and not saved. `batches`: whether the
    writer takes GeoJSON Feature bytes in the CRS asked for, or columns in the storage CRS. `writer` is "module:function".
    `items`: whether items and item offer it (every format is offered for downloads).
    """

    name: str
    media_type: str
    ending: str
    batches: Literal["bodies", "columns"]
    writer: str
    accepts: tuple[str, ...] = ()
    compressible: bool = True
    items: bool = True

    def load(self) -> Writer:
        """The function that writes it."""
        module, _, name = self.writer.partition(":")
        found: Writer = getattr(importlib.import_module(module), name)
        return found


_FORMATS = (
    ItemFormat("csv", "text/csv; charset=utf-8", "csv", "bodies", "providers.formatters.csv:write_csv"),
)

ITEM_FORMATS: Mapping[str, ItemFormat] = MappingProxyType({form.name: form for form in _FORMATS})
"""The encodings by name, in the order in which links name them."""


def fields_to_write(
    schema: CollectionSchema, query: ItemQuery, hidden: frozenset[str]
) -> tuple[FieldDefinition, ...]:
    """The fields of `schema` that are not hidden and that the query wants, in the schema's order."""
    wanted = query.properties
    return tuple(
        field
        for field in schema.fields
        if field.name not in hidden and (wanted is None or field.name in wanted)
    )
