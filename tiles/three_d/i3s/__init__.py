"""I3S scene layers (OGC 17-014r9, version 1.8) made of our 3D tilesets on request: a bridge for ArcGIS.

A tile of the tileset is a node; its geometry and attributes are made of the tile's glb. Nothing is stored twice.
"""

from __future__ import annotations

from tiles.three_d.i3s.documents import LayerField, layer_fields, mesh_layer, scene_layer, scene_server
from tiles.three_d.i3s.geometry import NodeContent, node_content
from tiles.three_d.i3s.nodes import NODES_PER_PAGE, NodeTree

__all__ = [
    "NODES_PER_PAGE",
    "LayerField",
    "NodeContent",
    "NodeTree",
    "layer_fields",
    "mesh_layer",
    "node_content",
    "scene_layer",
    "scene_server",
]
