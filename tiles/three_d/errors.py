"""What can go wrong when a 3D tileset is built.

SceneError (a TilesError)
└── ThreeDError                 a 3D tileset cannot be built
    ├── NothingToBuildError     no object is left that could be drawn
    ├── BuildCancelledError     whoever started the build has stopped it
    ├── BuildProcessError       processes of the build died again and again
    ├── AttributeTableError     attribute columns do not fit the objects
    ├── CityModelError          a file of city models cannot be read as a whole
    │   ├── CityJSONError       it is not CityJSON, or its structure is broken as a whole
    │   └── CityGMLError        it is not CityGML, or no well-formed XML
    ├── CityModelStoreError     what was kept of city models at publish cannot be read
    ├── UnknownModelError       no model of that name is built in
    ├── GlbError                a binary glTF cannot be written, or one that was given cannot be read
    ├── LiveTilesetError        what edits changed of a tileset cannot be read or written
    └── PlacementError          coordinates cannot be placed on the globe
        └── VerticalReferenceError  heights cannot be brought to the ellipsoid

An object that is broken by itself is no exception: it is reported as an `ObjectProblem` and the rest is built.
"""

from __future__ import annotations

from tiles.errors import SceneError


class ThreeDError(SceneError):
    """A 3D tileset cannot be built."""


class NothingToBuildError(ThreeDError):
    """No object is left that could be drawn."""


class BuildCancelledError(ThreeDError):
    """Whoever started the build has stopped it; the same build can go on where it was."""


class BuildProcessError(ThreeDError):
    """Processes of the build died again and again."""


class AttributeTableError(ThreeDError):
    """Attribute columns, ids or measures do not have one value per object."""


class CityModelError(ThreeDError):
    """A file of city models cannot be read as a whole."""


class CityGMLError(CityModelError):
    """The file is not CityGML, or no well-formed XML."""


class CityModelStoreError(ThreeDError):
    """What was kept of city models at publish cannot be read."""


class CityJSONError(CityModelError):
    """The file is not CityJSON, or its structure is broken as a whole."""


class UnknownModelError(ThreeDError):
    """No model of that name is built in."""


class GlbError(ThreeDError):
    """A binary glTF cannot be written of these parts, or one that was given cannot be read."""


class LiveTilesetError(ThreeDError):
    """What edits changed of a tileset cannot be read or written."""


class PlacementError(ThreeDError):
    """Coordinates cannot be placed on the globe."""


class VerticalReferenceError(PlacementError):
    """Heights cannot be brought to the ellipsoid without guessing."""
