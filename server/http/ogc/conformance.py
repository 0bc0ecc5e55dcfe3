"""Conformance classes: what the server does everywhere, and what each collection has been found to do.

Classes of features are not claimed: the self-test of publishing (`providers.features.conformance`) has asked the source, and
its result is stored with the collection. A view lists the classes that all its feature collections passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from server.registry.catalogue import Collection, RepresentationKind

Kind = RepresentationKind
_SPEC = "http://www.opengis.net/spec"
_FEATURES_1 = f"{_SPEC}/ogcapi-features-1/1.0/conf"
_TILES = f"{_SPEC}/ogcapi-tiles-1/1.0/conf"
_PROCESSES = f"{_SPEC}/ogcapi-processes-1/1.0/conf"
_GEOVOLUMES = "https://www.opengis.net/spec/ogcapi-geovolumes-1/1.0/conf"

SERVER = (
    *(
        f"{_SPEC}/ogcapi-common-1/1.0/conf/{name}"
        for name in ("core", "landing-page", "json", "html", "oas30")
    ),
    f"{_SPEC}/ogcapi-common-2/1.0/conf/collections",
    f"{_FEATURES_1}/oas30",
    f"{_SPEC}/ogcapi-records-1/1.0/conf/record-core",
    f"{_SPEC}/ogcapi-records-1/1.0/conf/json",
    *(f"{_PROCESSES}/{name}" for name in ("core", "json", "ogc-process-description")),
)
"""What does not depend on a collection; HTTP tests hold each."""

OF_KIND: Mapping[RepresentationKind, tuple[str, ...]] = {
    Kind.TILES: tuple(
        f"{_TILES}/{name}"
        for name in ("core", "tileset", "tilesets-list", "dataset-tilesets", "geodata-tilesets", "mvt")
    ),
    Kind.MAP: (f"{_SPEC}/ogcapi-maps-1/1.0/conf/core",),
    Kind.COVERAGE: (f"{_SPEC}/ogcapi-coverages-1/0.0/conf/core",),
    Kind.SERIES: (f"{_SPEC}/ogcapi-edr-1/1.0/conf/core",),
    Kind.TILESET_3D: (f"{_GEOVOLUMES}/core", f"{_GEOVOLUMES}/3d-tiles"),
}
"""What every representation of a kind does; tests of the clients hold it."""


def classes_of(collection: Collection) -> list[str]:
    """The classes one collection conforms to."""
    classes: list[str] = []
    features = collection.representations.get(Kind.FEATURES)
    if features is not None:
        classes += features.properties.get("conformance", ())
    for kind in collection.representations:
        classes += OF_KIND.get(kind, ())
    return classes


def classes_of_all(collections: Sequence[Collection], known: Iterable[str]) -> list[str]:
    """The classes of a view: those of the server, of the kinds, and of features those that every collection passed.

    `known` are all classes of features there are, in their order: what a view without feature collections lists.
    """
    shared: set[str] | None = None
    for collection in collections:
        features = collection.representations.get(Kind.FEATURES)
        if features is not None:
            passed = set(features.properties.get("conformance", ()))
            shared = passed if shared is None else shared & passed
    ordered = [uri for uri in known if shared is None or uri in shared]
    everywhere = [uri for classes in OF_KIND.values() for uri in classes]
    return list(dict.fromkeys((*SERVER, *ordered, *everywhere)))
