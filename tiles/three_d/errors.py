"""What can go wrong when a 3D tileset is built.

TilesError
└── ThreeDError                 a 3D tileset cannot be built
    ├── NothingToBuildError     no object is left that could be drawn
    ├── AttributeTableError     attribute columns do not fit the objects
    ├── CityJSONError           the file is not CityJSON, or its structure is broken as a whole
    ├── GlbError                a binary glTF cannot be written, or one that was given cannot be read
    └── PlacementError          coordinates cannot be placed on the globe
        └── VerticalReferenceError  heights cannot be brought to the ellipsoid

An object that is broken by itself is no exception: it is reported as an `ObjectProblem` and the rest is built.
"""

from __future__ import annotations

from tiles.errors import TilesError


class ThreeDError(TilesError):
    """A 3D tileset cannot be built."""


class NothingToBuildError(ThreeDError):
    """No object is left that could be drawn."""


class AttributeTableError(ThreeDError):
    """Attribute columns, ids or measures do not have one value per object."""


class CityJSONError(ThreeDError):
    """The file is not CityJSON, or its structure is broken as a whole."""


class GlbError(ThreeDError):
    """A binary glTF cannot be written of these parts, or one that was given cannot be read."""


class PlacementError(ThreeDError):
    """Coordinates cannot be placed on the globe."""


class VerticalReferenceError(PlacementError):
    """Heights cannot be brought to the ellipsoid without guessing."""
