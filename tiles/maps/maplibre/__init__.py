"""Styles as MapLibre writes them (style specification, version 8), from and to the inner model.

MapLibre counts zoom levels of 512 pixels a tile: its level is one less than ours at the same scale.
"""
