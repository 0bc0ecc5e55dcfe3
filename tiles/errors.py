"""What can go wrong in grids, tiles and maps.

TilesError
├── UnknownTileMatrixSet      no such tile matrix set here
├── TileMatrixSetError        a tile matrix set of one's own is not one that can be served
├── TileOutOfRange            the tile lies outside its tile matrix set
├── ArchiveError              a PMTiles archive cannot be written or read
├── VectorTileError           a layer cannot be written as a vector tile
├── StyleError                a map style is not understood
│   └── UnknownStyle          no style of that name
├── MapError                  a map cannot be drawn
│   ├── MapSizeError          width or height outside the limits
│   ├── MapAreaError          the bounding box is empty, not finite, or outside the CRS
│   ├── UnsupportedCrs        the CRS is unknown, or cannot be reached from the data
│   ├── UnsupportedImageFormat  no encoder for that media type
│   ├── MapSourceError        the data of a map cannot be read
│   └── UnknownInstant        the data hold nothing of that time
├── RasterError               raster data is gone, damaged, or not of a form that is read
├── RenderingBusy             too many renderings wait; come back in `retry_after` seconds
├── TileCacheError            a name of a kept tile is none
│   ├── TileCacheUnavailable  the store of kept tiles does not answer
│   └── TileCacheFull         there is no room to keep a tile
├── SceneError                a 3D tileset or terrain cannot be built, read or made (tiles.three_d.errors)
└── MapServiceError           the map service cannot be built from its layers

Every message says what was asked, what was found and what is allowed.
"""

from __future__ import annotations


class TilesError(Exception):
    """Root of every error of this package."""


class UnknownTileMatrixSet(TilesError):
    """The tile matrix set is not one of those this server knows."""


class TileMatrixSetError(TilesError):
    """A definition of a tile matrix set is malformed, contradicts itself, or takes a name that is taken."""


class TileOutOfRange(TilesError):
    """Zoom level, column or row lies outside the tile matrix set."""


class ArchiveError(TilesError):
    """A PMTiles archive is damaged, or its tiles come out of order."""


class VectorTileError(TilesError):
    """The input arrays cannot be written as one vector tile layer."""


class StyleError(TilesError):
    """A map style holds a key or a value that is not understood."""


class UnknownStyle(StyleError):
    """No style of that name among the loaded ones."""


class MapError(TilesError):
    """A map image cannot be drawn."""


class MapSizeError(MapError):
    """Width or height of the asked image lies outside the limits."""


class MapAreaError(MapError):
    """The asked bounding box is empty, not finite, or outside what its CRS can express."""


class UnsupportedCrs(MapError):
    """The asked CRS is unknown to PROJ, or no transformation leads to it."""


class UnsupportedImageFormat(MapError):
    """No encoder for the asked image format."""


class MapSourceError(MapError):
    """The data behind a map cannot be read (gone, truncated, wrong table)."""


class UnknownInstant(MapError):
    """The asked instant is not one of the data's."""


class RasterError(TilesError):
    """A raster file, a mosaic's index or an array is gone, damaged, or not of a form that is read."""


class RenderingBusy(TilesError):
    """All places for renderings are taken, and enough requests wait for one."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TileCacheError(TilesError):
    """A name of a kept tile has parts that are no plain names, or a setting of the cache is not sound."""


class TileCacheUnavailable(TileCacheError):
    """The store of kept tiles does not answer; tiles are made without it."""


class TileCacheFull(TileCacheError):
    """There is no room for another kept tile; tiles are made without keeping them."""


class SceneError(TilesError):
    """A 3D tileset cannot be built, read or made; the kinds are in `tiles.three_d.errors`, which costs more to load."""


class MapServiceError(TilesError):
    """The map service cannot be built: doubled names, no layer, a cache folder outside its place."""
