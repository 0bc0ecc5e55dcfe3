"""Tiles of a coverage (requirement class coverage-tiles): the cells of a tile matrix set's tile as GeoTIFF."""

from __future__ import annotations

from providers.coverages.axes import Axis
from providers.coverages.instants import chosen_instants
from providers.coverages.references import own_reference, same
from providers.coverages.request import CoverageRequest
from providers.coverages.selection import Piece, Selection, bands_of, is_continuous
from providers.features.crs import reference_system
from tiles.grids import TileId, grid, tile_bounds
from tiles.rasters.source import Bounds, RasterSource, Resampling


def select_tile(source: RasterSource, grid_id: str, tile: TileId, request: CoverageRequest) -> Selection:
    """The cells of a tile: as many as it has pixels, over its exact extent; of the request only bands and time count.

    A span of time gives its latest instant. Raises UnknownTileMatrixSet, TileOutOfRange, InvalidParameter, UnknownInstant.
    """
    pyramid = grid(grid_id)
    pyramid.check(tile)
    matrix = pyramid.matrix(tile.z)
    bounds = Bounds(*tile_bounds(grid_id, tile))
    description = source.description
    bands = bands_of(request.properties, description)
    instant = None
    if request.time is not None:
        instant = chosen_instants(description.instants, request.time)[-1]
    reference = reference_system(pyramid.crs)
    # Codes stay codes; what is between two measured values may be given between them.
    resampling: Resampling = "bilinear" if all(map(is_continuous, bands)) else "nearest"
    sliced: frozenset[Axis] = frozenset({"time"}) if instant is not None else frozenset()
    return Selection(
        description=description,
        reference=reference,
        bands=bands,
        instants=(instant,),
        timed=instant is not None,
        bounds=bounds,
        rows=matrix.tile_height,
        pieces=(Piece(bounds, matrix.tile_width),),
        sliced=sliced,
        warped=not same(reference, own_reference(description)),
        resampling=resampling,
    )
