"""Models that others have drawn, put on the globe as city objects: glTF, OBJ, PLY, STL, IFC and IndoorGML.

Each reader is a `CityModelFile`: its objects take the same way as those of CityJSON, with their attributes, plans and features.
"""

from __future__ import annotations

from tiles.three_d.placed_models.placement import ModelPlacement

__all__ = ["ModelPlacement"]
