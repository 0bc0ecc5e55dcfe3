"""Conformance classes: what the server does everywhere, and what each collection has been found to do.

Classes that depend on data are not claimed: the self-tests of publishing (`providers.features.conformance` for features,
`tiles.maps.self_test` for maps) have asked the source, and their results are stored with the collection. A view lists the classes
that all its collections of a kind passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from server.http.ogc.conformance_maps import MAP_CHECKED, MAP_EVERYWHERE
from server.http.ogc.coverage_documents import coverage_classes, edr_classes
from server.http.ogc.geovolumes import CLASSES, I3S_CLASS, geovolumes_classes
from server.registry.catalogue import Collection, RepresentationKind

Kind = RepresentationKind
_SPEC = "http://www.opengis.net/spec"
_FEATURES_1 = f"{_SPEC}/ogcapi-features-1/1.0/conf"
_TILES = f"{_SPEC}/ogcapi-tiles-1/1.0/conf"
_PROCESSES = f"{_SPEC}/ogcapi-processes-1/1.0/conf"

SERVER = (
    *(
        f"{_SPEC}/ogcapi-common-1/1.0/conf/{name}"
        for name in ("core", "landing-page", "json", "html", "oas30")
    ),
    f"{_SPEC}/ogcapi-common-2/1.0/conf/collections",
    f"{_FEATURES_1}/oas30",
    f"{_SPEC}/tms/2.0/conf/tilematrixset",
    f"{_SPEC}/tms/2.0/conf/json-tilematrixset",
    f"{_SPEC}/ogcapi-records-1/1.0/conf/record-core",
    f"{_SPEC}/ogcapi-records-1/1.0/conf/json",
    *(f"{_PROCESSES}/{name}" for name in ("core", "json", "ogc-process-description")),
)
"""What does not depend on a collection; HTTP tests hold each."""

OF_KIND: Mapping[RepresentationKind, tuple[str, ...]] = {
    Kind.TILES: tuple(
        f"{_TILES}/{name}"
        for name in (
            "core",
            "tileset",
            "tilesets-list",
            "dataset-tilesets",
            "geodata-tilesets",
            "oas30",
            "mvt",
        )
    ),
    Kind.MAP: (
        *(
            f"{_TILES}/{name}"
            for name in (
                *("core", "tileset", "tilesets-list", "dataset-tilesets", "geodata-tilesets", "oas30"),
                *("collections-selection", "datetime", "png", "jpeg"),
            )
        ),
        *MAP_EVERYWHERE,
    ),
    Kind.COVERAGE: coverage_classes(),
    Kind.SERIES: edr_classes(),
}
"""What every representation of a kind does; tests of the server and its clients hold it."""

TESTED_KINDS = (Kind.FEATURES, Kind.MAP, Kind.COVERAGE, Kind.SERIES, Kind.POINT_CLOUD)
"""Kinds of which publishing stores what a self-test passed, as the property `conformance`."""


def _passed(collection: Collection, kind: RepresentationKind) -> Sequence[str]:
    representation = collection.representations.get(kind)
    return () if representation is None else representation.properties.get("conformance", ())


def classes_of(collection: Collection) -> list[str]:
    """The classes one collection conforms to."""
    # The items of a point cloud are its points, unless it has features too: then those are what the classes speak of.
    kinds = [
        kind
        for kind in TESTED_KINDS
        if kind is not Kind.POINT_CLOUD or Kind.FEATURES not in collection.representations
    ]
    classes = [uri for kind in kinds for uri in _passed(collection, kind)]
    for kind in collection.representations:
        classes += OF_KIND.get(kind, ())
    if Kind.COVERAGE in collection.representations:
        classes += edr_classes()
    classes += geovolumes_classes(collection)
    return list(dict.fromkeys(classes))


def classes_of_all(collections: Sequence[Collection], known: Iterable[str]) -> list[str]:
    """The classes of a view: those of the server and of the kinds, and of tested ones those that every collection passed.

    `known` are all classes of features there are, in their order: what a view without feature collections lists.
    """
    ordered = _shared(collections, Kind.FEATURES, known)
    maps = _shared(collections, Kind.MAP, MAP_CHECKED)
    everywhere = [uri for classes in OF_KIND.values() for uri in classes]
    return list(dict.fromkeys((*SERVER, *ordered, *maps, *everywhere, *_volumes(collections), *_styles())))


def _shared(collections: Sequence[Collection], kind: RepresentationKind, known: Iterable[str]) -> list[str]:
    """Those of `known` that every collection of a kind passed; all where there is none of that kind."""
    shared: set[str] | None = None
    for collection in collections:
        if kind in collection.representations:
            passed = set(_passed(collection, kind))
            if kind is Kind.MAP and not _has_time(collection):
                passed |= {uri for uri in MAP_CHECKED if uri.endswith("/datetime")}
            shared = passed if shared is None else shared & passed
    return [uri for uri in known if shared is None or uri in shared]


def _volumes(collections: Sequence[Collection]) -> tuple[str, ...]:
    """Those of 3D GeoVolumes, unless a collection with a 3D tileset has an extent without heights."""
    volumes = [one for one in collections if Kind.TILESET_3D in one.representations]
    return tuple(
        uri for uri in (*CLASSES, I3S_CLASS) if all(uri in geovolumes_classes(one) for one in volumes)
    )


def _has_time(collection: Collection) -> bool:
    features = collection.representations.get(Kind.FEATURES)
    coverage = collection.representations.get(Kind.COVERAGE)
    return bool(
        (features is not None and features.properties.get("time_field"))
        or (coverage is not None and coverage.properties.get("instants"))
    )


def _styles() -> tuple[str, ...]:
    # Here, because the routes of styles need the documents that list these classes.
    from server.http.ogc.styles import STYLE_CLASSES

    return STYLE_CLASSES
