"""Opens what each kind of representation is made of and says what is wrong with it; `CHECKERS` has one a kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from pointclouds.errors import PointCloudError
from providers.errors import ProviderError
from server.cli import point_cloud_checks
from server.registry.catalogue import Representation, RepresentationKind

Checker = Callable[[Path, Representation], str | None]
"""What is wrong with the representation whose file or folder is at the path, None where nothing is."""


def what_is_wrong(path: Path, representation: Representation) -> str | None:
    """What is wrong with a representation's files, in words; None where nothing is."""
    if not path.exists():
        return f"there is nothing at {path}"
    try:
        return CHECKERS[representation.kind](path, representation)
    except (OSError, ProviderError, PointCloudError) as error:
        return f"{path} cannot be read: {error}"


def _features(path: Path, representation: Representation) -> str | None:
    from providers.features.store.reader import FeatureStore

    store = FeatureStore(path)
    found, published = store.count(), representation.properties.get("count")
    if store.change() == 0 and published is not None and found != published:
        return f"{path} has {found} features, {published} were published"
    return None


def _mosaic(path: Path, representation: Representation) -> str | None:
    from tiles.errors import RasterError
    from tiles.rasters.mosaic_index import lease_index

    try:
        with lease_index(path) as index:
            missing = [
                scene.file
                for scene in index.scenes(None, None, "first")
                if not (path.parent / scene.file).is_file()
            ]
            found = index.count()
    except RasterError as error:
        return f"{path} cannot be read: {error}"
    if missing:
        return f"{path} lacks {len(missing)} of its scenes, the first of them {missing[0]}"
    published = representation.properties.get("scenes")
    return None if found == published else f"{path} has {found} scenes, {published} are told of"


def _coverage(path: Path, representation: Representation) -> str | None:
    if representation.properties.get("store") == "mosaic":
        return _mosaic(path, representation)
    if representation.properties.get("store") == "points":
        return point_cloud_checks.point_coverage(path)
    import rasterio

    try:
        with rasterio.open(path) as dataset:
            found = (dataset.width, dataset.height)
            # The last corner: a file that was cut short is missing its end.
            dataset.read(1, window=((found[1] - 1, found[1]), (found[0] - 1, found[0])))
    except rasterio.errors.RasterioError as error:
        return f"{path} cannot be read: {error}"
    published = (representation.properties.get("width"), representation.properties.get("height"))
    return None if found == published else f"{path} is {found} pixels, {published} were published"


def _tileset(path: Path, representation: Representation) -> str | None:
    if representation.properties.get("store") == "points":
        return point_cloud_checks.point_tileset(path)
    return _json_with(path if path.is_file() else path / "tileset.json", "root")


def _terrain(path: Path, _representation: Representation) -> str | None:
    return _json_with(path if path.is_file() else path / "layer.json", "tiles")


def _series(path: Path, representation: Representation) -> str | None:
    from providers.sensors.store import SeriesStore

    found, published = SeriesStore(path).summary().count, representation.properties.get("count")
    return None if found == published else f"{path} has {found} observations, {published} were published"


def _made_from_others(_path: Path, _representation: Representation) -> str | None:
    return None


def _json_with(path: Path, member: str) -> str | None:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        return f"{path} is not JSON: {error}"
    return None if member in document else f"{path} has no {member!r}"


CHECKERS: Mapping[RepresentationKind, Checker] = MappingProxyType(
    {
        RepresentationKind.FEATURES: _features,
        RepresentationKind.TILES: _made_from_others,
        RepresentationKind.MAP: _made_from_others,
        RepresentationKind.COVERAGE: _coverage,
        RepresentationKind.TILESET_3D: _tileset,
        RepresentationKind.TERRAIN: _terrain,
        RepresentationKind.POINT_CLOUD: point_cloud_checks.point_cloud,
        RepresentationKind.SERIES: _series,
        RepresentationKind.RECORD: _made_from_others,
    }
)
