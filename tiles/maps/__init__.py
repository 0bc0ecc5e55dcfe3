"""Drawing maps: features by Mapnik, rasters by GDAL and numpy, several sources over each other."""

from tiles.maps.images import compose, encode_image, image_formats
from tiles.maps.map_image import map_image
from tiles.maps.raster_source import RasterMapSource, close_rasters
from tiles.maps.source import MapSource
from tiles.maps.style_model import Style
from tiles.maps.styles import default_style_name, load_style, parse_style, style_names
from tiles.maps.vector_source import VectorMapSource, close_vector_maps

__all__ = [
    "MapSource",
    "RasterMapSource",
    "Style",
    "VectorMapSource",
    "close_rasters",
    "close_vector_maps",
    "compose",
    "default_style_name",
    "encode_image",
    "image_formats",
    "load_style",
    "map_image",
    "parse_style",
    "style_names",
]
