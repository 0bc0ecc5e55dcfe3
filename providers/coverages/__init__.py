"""OGC API - Coverages over raster sources: requests, formats, descriptions, and the pygeoapi plugin.

Nothing here reads a file: `tiles.rasters` does.
"""
