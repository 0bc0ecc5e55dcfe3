"""Raster data: cloud optimised GeoTIFFs, mosaics of many, multi-dimensional arrays, behind one protocol."""
