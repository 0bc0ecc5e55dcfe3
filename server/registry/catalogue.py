"""The registry as a request sees it: one immutable picture of all tenants and collections.

A worker holds a `Catalogue` and asks `CatalogueReader.current()` once a request; the reader answers with the same
object until another process has committed to the registry, so no request that starts after a publish returns sees the
old state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
CRS84H = "http://www.opengis.net/def/crs/OGC/0/CRS84h"


class RepresentationKind(StrEnum):
    """The forms in which one collection can be served."""

    FEATURES = "features"
    TILES = "tiles"
    MAP = "map"
    COVERAGE = "coverage"
    TILESET_3D = "3dtiles"
    TERRAIN = "terrain"
    POINT_CLOUD = "pointcloud"
    SERIES = "series"
    RECORD = "record"


class Access(StrEnum):
    """The rights rule of a collection, in the form this release knows."""

    PUBLIC = "public"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class Field:
    """One attribute of a feature collection.

    `type` is a JSON Schema type ("string", "integer", "number", "boolean"), `format` "date", "date-time" or None.
    `column` is the SQL column in the store; `name` is the name users see (they differ where a source name is not unique
    without case, or collides with a column of ours).
    """

    name: str
    type: str
    format: str | None = None
    column: str = ""
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Representation:
    """One stored form of one generation.

    `path` is relative to the generation's folder. `built_generation` and `built_change` say which state of the data it
    was derived from. `properties` holds what its provider needs; the keys are listed in docs/reference/registry.md.
    """

    kind: RepresentationKind
    path: str
    built_generation: int
    built_change: int = 0
    properties: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


class Interval(NamedTuple):
    """A temporal extent; RFC 3339 strings, None where open."""

    start: str | None
    end: str | None


class PastGeneration(NamedTuple):
    """A generation that was current once and is kept. RFC 3339 instants in UTC; `until` does not belong to it."""

    number: int
    since: str
    until: str
    directory: Path


@dataclass(frozen=True, slots=True)
class Tenant:
    """An isolated owner of collections; belongs to one organisation."""

    id: str
    organisation: str
    titles: Mapping[str, str]
    map_watermark: str | None = None
    map_clip: str | None = None
    """A polygon or multipolygon as WKT in CRS84: maps and map tiles show nothing outside."""


@dataclass(frozen=True, slots=True)
class StyleRecord:
    """A style of a tenant. `format` is "maplibre", "sld-1.0", "sld-1.1" or "chengtu", `document` the style as it was given.

    `collections` are the ids it is offered for, () for all that it fits. `version` rises with every change of the document.
    """

    tenant: str
    id: str
    titles: Mapping[str, str]
    descriptions: Mapping[str, str]
    keywords: tuple[str, ...]
    collections: tuple[str, ...]
    format: str
    document: str
    version: int
    created: str
    updated: str


@dataclass(frozen=True, slots=True)
class Collection:
    """One collection in its current generation.

    `bbox` is CRS84 (west, south, east, north) or CRS84h (west, south, bottom, east, north, top), degrees and metres.
    `titles` and `descriptions` have keys "en" and "zh" ("en" is always there). `directory` is the absolute folder of the
    current generation, `past` the earlier ones that are kept, latest first; `updated` is when the present one became current.
    """

    tenant: str
    id: str
    titles: Mapping[str, str]
    descriptions: Mapping[str, str]
    keywords: tuple[str, ...]
    bbox: tuple[float, ...]
    interval: Interval | None
    storage_crs: str
    access: Access
    attribution: str
    licence: str
    licence_url: str | None
    simulated: bool
    generation: int
    created: str
    updated: str
    directory: Path
    representations: Mapping[RepresentationKind, Representation]
    fields: tuple[Field, ...] = ()
    past: tuple[PastGeneration, ...] = ()
    default_style: str | None = None
    """The style that draws it, by id; None: the one its MAP representation names."""

    @property
    def qualified_id(self) -> str:
        """`tenant.collection`, the id in city-wide views."""
        return f"{self.tenant}.{self.id}"

    def title(self, language: str) -> str:
        """The title in `language` ("en" or "zh"), else in English."""
        return self.titles.get(language) or self.titles["en"]

    def generation_at(self, instant: str) -> PastGeneration | None:
        """The earlier generation that was current at an instant (RFC 3339, UTC); None: the present one, or none at all.

        Instants of one second and of parts of it compare as texts once they have the same form.
        """
        moment = _comparable(instant)
        if moment >= _comparable(self.updated):
            return None
        held = [one for one in self.past if _comparable(one.since) <= moment < _comparable(one.until)]
        return max(held, key=lambda one: one.since, default=None)

    def path_of(self, kind: RepresentationKind) -> Path:
        """Absolute path of a representation. Raises KeyError where the collection has none of that kind."""
        return self.directory / self.representations[kind].path


def _comparable(instant: str) -> str:
    """An RFC 3339 instant in UTC with nine digits of a second."""
    base, _, fraction = instant.removesuffix("Z").partition(".")
    return f"{base}.{fraction:0<9}"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every tenant and collection at one revision of the registry. Ordered by tenant, then id.

    `operator_token_hashes` are the SHA-256 digests of the tokens that `server.identity` accepts. `instance` tells one
    registry from another: revisions of two instances cannot be compared.
    """

    revision: int
    tenants: Mapping[str, Tenant]
    collections: Mapping[tuple[str, str], Collection]
    operator_token_hashes: tuple[bytes, ...] = ()
    instance: str = ""
    styles: Mapping[tuple[str, str], StyleRecord] = field(default_factory=lambda: MappingProxyType({}))

    def find(self, tenant: str, collection: str) -> Collection | None:
        """The collection, private ones too: callers ask `decide` before they show anything."""
        return self.collections.get((tenant, collection))


class CatalogueReader(Protocol):
    """Gives the registry's present state; cheap enough to be asked once a request (about 10 microseconds)."""

    def current(self) -> Catalogue:
        """The catalogue as of now: includes every publish that returned before this call."""
        ...
