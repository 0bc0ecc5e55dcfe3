"""Vector tiles made on request from a feature store: a direct function, and a pygeoapi plugin around it.

OGC API - Tiles Part 1; Mapbox Vector Tile 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pygeoapi.models.provider.base import TileMatrixSetEnumType, TileSetMetadata
from pygeoapi.provider.base import ProviderConnectionError
from pygeoapi.provider.base_mvt import BaseMVTProvider
from pygeoapi.provider.tile import ProviderTileNotFoundError, ProviderTilesetIdNotFoundError
from pygeoapi.util import url_join

from providers.errors import StoreError
from providers.features.context import current_hidden
from providers.features.crs import reference_system, transform_between
from providers.features.query import BBox
from providers.features.store import FeatureColumns, FeatureStore, open_store
from tiles.errors import TileOutOfRange, UnknownTileMatrixSet
from tiles.grids import Bounds, Grid, TileId, grid
from tiles.vector.layer import encode_layer

_EXTENT = 4096
_BUFFER = 64
_MAXIMUM_FEATURES = 20_000
_EARTH_RADIUS = 6378137.0
_MERCATOR_LATITUDE = 89.0  # beyond every square world; keeps the projection finite
_OFFERED = ("WebMercatorQuad", "WorldCRS84Quad")
_NOTHING: frozenset[str] = frozenset()
_MEDIA_TYPE = "application/vnd.mapbox-vector-tile"


def vector_tile(
    store: FeatureStore,
    tms_id: str,
    z: int,
    row: int,
    col: int,
    layer_name: str,
    hidden: frozenset[str] = _NOTHING,
) -> bytes:
    """One tile with one layer; b"" where nothing lies in it. `row` counts from the top, `col` from the left.

    Below the store's `full_zoom` only features as large as a pixel, and the largest of each small cell, are in it; at most
    20,000 are. Every visible field is an attribute; the feature's id is the tile's feature id where all ids are integers,
    else the attribute "id" (or "_id" where a field has that name). Raises UnknownTileMatrixSet, TileOutOfRange.
    """
    tiling = grid(tms_id)
    bounds = tiling.bounds(TileId(z, col, row))
    box = _box84(tiling, bounds)
    if not _meets(store.bbox, box):
        return b""
    names = [field.name for field in store.schema.fields if field.name not in hidden]
    found = store.read(box, names, _MAXIMUM_FEATURES, zoom=_mercator_zoom(tiling, z))
    if not len(found):
        return b""
    columns: dict[str, Any] = dict(found.columns)
    ids = None
    if store.facts.integer_ids:
        ids = np.array(found.ids, dtype=np.int64)
    else:
        columns = {"_id" if "id" in columns else "id": found.ids, **columns}
    return encode_layer(
        layer_name, _projected(store, found, tiling), ids, columns, bounds, extent=_EXTENT, buffer=_BUFFER
    )


def _box84(tiling: Grid, bounds: Bounds) -> BBox:
    """The tile with its buffer in CRS84."""
    margin = (bounds.maxx - bounds.minx) * _BUFFER / _EXTENT
    west, south, east, north = (
        bounds.minx - margin,
        bounds.miny - margin,
        bounds.maxx + margin,
        bounds.maxy + margin,
    )
    if tiling.id == "WebMercatorQuad":
        west, east = math.degrees(west / _EARTH_RADIUS), math.degrees(east / _EARTH_RADIUS)
        south, north = _latitude(south), _latitude(north)
    return BBox(west, max(south, -90.0), east, min(north, 90.0))


def _latitude(y: float) -> float:
    return math.degrees(math.atan(math.sinh(y / _EARTH_RADIUS)))


def _meets(extent: tuple[float, ...], box: BBox) -> bool:
    """Whether the collection's extent (4 or 6 numbers, CRS84) and the box have a point in common."""
    if not extent:
        return False
    west, south = extent[0], extent[1]
    east, north = extent[len(extent) // 2], extent[len(extent) // 2 + 1]
    return west <= box.east and east >= box.west and south <= box.north and north >= box.south


def _mercator_zoom(tiling: Grid, z: int) -> int:
    """The WebMercatorQuad zoom with pixels of (about) the same size on the equator."""
    cell = tiling.cell_size(z) * tiling.metres_per_unit
    return max(0, round(math.log2(2 * math.pi * _EARTH_RADIUS / 256 / cell)))


def _projected(store: FeatureStore, found: FeatureColumns, tiling: Grid) -> NDArray[np.object_]:
    """The geometries in the CRS of the grid, x = east."""
    if tiling.id == "WebMercatorQuad" and store.storage.is_wgs84:
        return np.asarray(shapely.transform(found.geometries, _mercator), dtype=object)
    transform = transform_between(store.storage, reference_system(tiling.authority_code))
    if transform is None:
        return found.geometries
    coordinates = shapely.get_coordinates(found.geometries)
    x, y = transform(coordinates[:, 0], coordinates[:, 1])
    moved = shapely.set_coordinates(shapely.force_2d(found.geometries), np.column_stack([x, y]))
    return np.asarray(moved, dtype=object)


def _mercator(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees to EPSG:3857 (spherical: PROJ gives the same, at three times the cost for the few points of a tile)."""
    latitude = np.clip(coordinates[:, 1], -_MERCATOR_LATITUDE, _MERCATOR_LATITUDE)
    x = np.radians(coordinates[:, 0]) * _EARTH_RADIUS
    y = np.arctanh(np.sin(np.radians(latitude))) * _EARTH_RADIUS
    return np.column_stack([x, y])


class ChengtuMVTProvider(BaseMVTProvider):  # type: ignore[misc] # pygeoapi carries no types
    """Vector tiles of one store. `data` is the path of the file, `options.zoom` {min, max}, `options.layer` the name."""

    def __init__(self, provider_def: dict[str, Any]) -> None:
        super().__init__({**provider_def, "options": provider_def.get("options") or {}})
        self.options.setdefault("zoom", {"min": 0, "max": 22})
        self._service_url = ""
        self._service_metadata_url = ""

    def get_layer(self) -> str:
        """Name of the layer in every tile."""
        return str(self.options.get("layer", "features"))

    def get_fields(self) -> dict[str, dict[str, Any]]:
        """The visible fields as JSON Schema properties."""
        hidden = current_hidden.get() or _NOTHING
        with _pygeoapi_errors():
            fields = open_store(self.data).schema.fields
        return {field.name: {"type": field.type} for field in fields if field.name not in hidden}

    def get_tiling_schemes(self) -> list[TileMatrixSetEnumType]:
        """The tile matrix sets offered."""
        return [
            scheme
            for scheme in super().get_tiling_schemes()
            if scheme.tileMatrixSet in (self.schemes or _OFFERED)
        ]

    def get_tiles_service(
        self,
        baseurl: str | None = None,
        servicepath: str | None = None,
        dirpath: str | None = None,
        tile_type: str | None = None,
    ) -> dict[str, Any]:
        """Links to the tiles and their metadata."""
        self._service_url = servicepath or ""
        links: dict[str, Any] = self.get_tms_links()
        return links

    def get_tiles(
        self,
        layer: str = "features",
        tileset: str | None = None,
        z: int | str | None = None,
        y: int | str | None = None,
        x: int | str | None = None,
        format_: str | None = None,
    ) -> bytes | None:
        """The tile in row `y` and column `x`; None where nothing lies in it (pygeoapi answers 204)."""
        hidden = current_hidden.get() or _NOTHING
        with _pygeoapi_errors():
            zoom, row, column = _whole_numbers(z, y, x)
            tile = vector_tile(open_store(self.data), str(tileset), zoom, row, column, layer, hidden)
        return tile or None

    def get_default_metadata(
        self,
        dataset: str,
        server_url: str,
        layer: str,
        tileset: str,
        title: str,
        description: str,
        keywords: list[str] | None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """OGC tile set metadata (17-083r4, clause 9)."""
        scheme = self._scheme(tileset)
        definition = {
            "href": scheme.tileMatrixSetURI,
            "rel": "http://www.opengis.net/def/rel/ogc/1.0/tiling-scheme",
            "type": "application/json",
            "title": f"{scheme.tileMatrixSet} tile matrix set definition",
        }
        item = {
            "href": _template(server_url, dataset, tileset),
            "rel": "item",
            "type": _MEDIA_TYPE,
            "title": f"{tileset} vector tiles of {layer}",
        }
        content = TileSetMetadata(
            title=title,
            description=description,
            keywords=keywords,
            crs=scheme.crs,
            tileMatrixSetURI=scheme.tileMatrixSetURI,
        ).model_dump(exclude_none=True, by_alias=True, mode="json")
        return {**content, "links": [definition, item]}

    def get_vendor_metadata(
        self,
        dataset: str,
        server_url: str,
        layer: str,
        tileset: str,
        title: str,
        description: str,
        keywords: list[str] | None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """TileJSON 3.0.0."""
        self._scheme(tileset)
        template = _template(server_url, dataset, tileset)
        template = template.replace("{tileMatrix}/{tileRow}/{tileCol}", "{z}/{y}/{x}")
        fields = {name: field["type"] for name, field in self.get_fields().items()}
        with _pygeoapi_errors():
            extent = open_store(self.data).bbox
        half = len(extent) // 2
        zoom = self.options["zoom"]
        return {
            "tilejson": "3.0.0",
            "name": title,
            "description": description,
            "tiles": [template],
            "minzoom": zoom["min"],
            "maxzoom": zoom["max"],
            "bounds": [*extent[:2], *extent[half : half + 2]],
            "vector_layers": [
                {"id": layer, "fields": fields, "minzoom": zoom["min"], "maxzoom": zoom["max"]}
            ],
        }

    def get_html_metadata(
        self,
        dataset: str,
        server_url: str,
        layer: str,
        tileset: str,
        title: str,
        description: str,
        keywords: list[str] | None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """What pygeoapi's page of a tile set shows."""
        metadata_url = url_join(server_url, f"collections/{dataset}/tiles/{tileset}/metadata")
        return {
            "id": dataset,
            "title": title,
            "tileset": tileset,
            "collections_path": _template(server_url, dataset, tileset),
            "json_url": f"{metadata_url}?f=json",
        }

    def _scheme(self, tileset: str) -> TileMatrixSetEnumType:
        for scheme in self.get_tiling_schemes():
            if scheme.tileMatrixSet == tileset:
                return scheme
        message = f"There is no tile set {tileset!r}; there are {', '.join(_OFFERED)}"
        raise ProviderTilesetIdNotFoundError(message, user_msg=message)

    def __repr__(self) -> str:
        return f"<ChengtuMVTProvider> {self.data}"


def _template(server_url: str, dataset: str, tileset: str) -> str:
    path = f"collections/{dataset}/tiles/{tileset}"
    return str(url_join(server_url, path, "{tileMatrix}/{tileRow}/{tileCol}?f=mvt"))


def _whole_numbers(*values: int | str | None) -> list[int]:
    try:
        return [int(str(value)) for value in values]
    except ValueError:
        raise TileOutOfRange(f"zoom, row and column are whole numbers; asked was {values}") from None


@contextmanager
def _pygeoapi_errors() -> Iterator[None]:
    """Our errors as those that pygeoapi knows the HTTP status of."""
    try:
        yield
    except UnknownTileMatrixSet as error:
        raise ProviderTilesetIdNotFoundError(str(error), user_msg=str(error)) from error
    except TileOutOfRange as error:
        raise ProviderTileNotFoundError(str(error), user_msg=str(error)) from error
    except StoreError as error:
        raise ProviderConnectionError(str(error), user_msg=str(error)) from error
