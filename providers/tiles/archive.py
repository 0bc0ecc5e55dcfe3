"""Tiles built when a large layer is published, in one PMTiles archive: the low zooms, whose tiles take the longest to make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from providers.features.query import BBox
from providers.features.source import FeatureSource
from providers.features.store import FeatureStore
from providers.tiles.choice import TileFields
from providers.tiles.generic import window_box84
from providers.tiles.vector import vector_tile, window_at
from tiles.grids import TileId, tile_range
from tiles.pmtiles import Archive, ArchiveSummary, ArchiveWriter, tile_numbers

_GRID = "WebMercatorQuad"
_LARGE = 50_000  # features: below this no tile takes long
_MOST_TILES = 20_000
_MOST_OPEN = 64
_LATITUDES = (-85.0511287, 85.0511287)

type Progress = Callable[[int, int], None]


def archive_zooms(store: FeatureStore, max_zoom: int) -> tuple[int, int] | None:
    """The zooms whose tiles are worth building ahead: those that show a choice of the features. None for a small layer."""
    if store.count() < _LARGE or not store.bbox:
        return None
    highest, tiles = -1, 0
    for zoom in range(min(max_zoom, store.facts.full_zoom - 1) + 1):
        found = tile_range(_GRID, store.bbox, zoom)
        tiles += (found.max_column - found.min_column + 1) * (found.max_row - found.min_row + 1)
        if tiles > _MOST_TILES:
            break
        highest = zoom
    return (0, highest) if highest >= 0 else None


def build_pmtiles(
    source: FeatureSource,
    path: Path,
    min_zoom: int,
    max_zoom: int,
    *,
    layer: str,
    tile_fields: TileFields | None = None,
    attribution: str = "",
    progress: Progress | None = None,
) -> ArchiveSummary:
    """Write the WebMercatorQuad tiles of these zooms; equal data gives equal bytes.

    `progress` is told, tile by tile, how many of the tiles of the present zoom are done, and how many there are. The file
    appears under its name when it is whole: a build that was interrupted starts again. Memory: some 200 bytes a tile, and one
    tile. Raises StoreError, ArchiveError.
    """
    box = source.bbox
    flat = (box[0], box[1], box[len(box) // 2], box[len(box) // 2 + 1]) if box else (0.0, 0.0, 0.0, 0.0)
    with ArchiveWriter(path) as writer:
        if box:
            for zoom in range(min_zoom, max_zoom + 1):
                columns, rows = _tiles_of(box, zoom)
                numbers = tile_numbers(zoom, columns, rows)
                order = np.argsort(numbers)
                for done, index in enumerate(order.tolist(), 1):
                    tile = vector_tile(
                        source,
                        _GRID,
                        zoom,
                        int(rows[index]),
                        int(columns[index]),
                        layer,
                        tile_fields=tile_fields,
                    )
                    writer.add(int(numbers[index]), tile)
                    if progress is not None:
                        progress(done, len(order))
        metadata = {
            "name": layer,
            "attribution": attribution,
            "vector_layers": [_layer_of(source, layer, min_zoom, max_zoom)],
        }
        return writer.finish(metadata, _held(flat), (min_zoom, max_zoom))


def _tiles_of(box: tuple[float, ...], zoom: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows of all tiles of a zoom that a box, or what is drawn in their margins, can touch."""
    found = tile_range(_GRID, box, zoom)
    last = (1 << zoom) - 1
    columns = np.arange(max(found.min_column - 1, 0), min(found.max_column + 1, last) + 1)
    rows = np.arange(max(found.min_row - 1, 0), min(found.max_row + 1, last) + 1)
    grid_columns, grid_rows = np.meshgrid(columns, rows)
    return grid_columns.ravel(), grid_rows.ravel()


def _held(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The box within the square world."""
    west, south, east, north = box
    low, high = _LATITUDES
    return max(west, -180.0), min(max(south, low), high), min(east, 180.0), max(min(north, high), low)


def _layer_of(source: FeatureSource, layer: str, min_zoom: int, max_zoom: int) -> dict[str, object]:
    return {
        "id": layer,
        "fields": dict(_field_types(source)),
        "minzoom": min_zoom,
        "maxzoom": max_zoom,
    }


def _field_types(source: FeatureSource) -> Iterator[tuple[str, str]]:
    kinds = {"integer": "Number", "number": "Number", "boolean": "Boolean"}
    for field in source.schema.fields:
        yield field.name, kinds.get(field.type, "String")


def margin_box84(tile: TileId) -> BBox:
    """A tile of WebMercatorQuad with its margin in CRS84: an edit outside of it does not change the tile."""
    box = window_box84(window_at(_GRID, tile))
    assert box is not None  # Mercator lies everywhere on Earth
    return box


_archives: OrderedDict[str, Archive] = OrderedDict()
_lock = Lock()


def open_archive(path: Path) -> Archive:
    """The archive at a path, opened at its first use in this process. Never call it before a fork. Raises ArchiveError."""
    name = str(path)
    with _lock:
        archive = _archives.get(name)
        if archive is not None:
            _archives.move_to_end(name)
            return archive
    archive = Archive(path)
    with _lock:
        archive = _archives.setdefault(name, archive)
        while len(_archives) > _MOST_OPEN:
            _archives.popitem(last=False)
    return archive


def close_archives() -> None:
    """Forget every open archive (tests; a worker that ends)."""
    with _lock:
        _archives.clear()
