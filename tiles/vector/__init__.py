"""Mapbox Vector Tile 2.1 encoding on numpy arrays, without a protobuf library."""

from tiles.vector.layer import encode_layer

__all__ = ["encode_layer"]
