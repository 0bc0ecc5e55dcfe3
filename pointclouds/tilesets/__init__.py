"""3D Tiles of points: contents, subtrees, colours, and their place on the globe."""
