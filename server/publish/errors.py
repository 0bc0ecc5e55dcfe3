"""What can be wrong with data that someone wants to publish.

    server.errors.PublishError
    ├── InputError                     the files, or how they were asked to be read
    │   ├── FileNotUsable              absent, a directory, not readable, not a regular file
    │   ├── PathOutside                a symbolic link or an archive member that leads elsewhere
    │   ├── ArchiveTooLarge            a compressed file that unpacks to more than is allowed
    │   ├── UnknownFormat              none of the formats we read
    │   ├── DamagedFile                truncated or corrupt
    │   ├── OptionError                an option that does not fit what is in the files
    │   │   └── LayerChoice            several layers, and none or a wrong one named
    │   ├── SchemaMismatch             several files that do not belong together
    │   ├── TextEncodingError          attribute text that is not in the encoding it should be in
    │   ├── CrsError                   no CRS, one PROJ does not know, or coordinates that cannot be in it
    │   ├── EmptyDataset               nothing to publish
    │   ├── InvalidGeometry            NaN or infinite coordinates, broken polygons
    │   └── DuplicateFeatureId
    ├── BuildError                     a representation could not be made of these data
    ├── StorageFull                    no space, quota or file size limit while writing
    └── PublishCancelled               whoever started the publish stopped it

An id that is taken, an unknown tenant and the like are the registry's: server.errors.RegistryError.
"""

from __future__ import annotations

from server.errors import PublishError


class InputError(PublishError):
    """The files, or how they were asked to be read."""


class FileNotUsable(InputError):
    """A file is absent, a directory, not readable, or not a regular file."""


class PathOutside(InputError):
    """A symbolic link or an archive member leads outside its folder."""


class ArchiveTooLarge(InputError):
    """A compressed file would unpack to more than is allowed."""


class UnknownFormat(InputError):
    """The content is in none of the formats that are read here."""


class DamagedFile(InputError):
    """The content ends early or contradicts itself."""


class OptionError(InputError):
    """An option does not fit what is in the files."""


class LayerChoice(OptionError):
    """The file has several layers, and none or an unknown one was named."""


class SchemaMismatch(InputError):
    """Several files were given that do not have the same layers, fields or CRS."""


class TextEncodingError(InputError):
    """Attribute text is not in the encoding that was said or found."""


class CrsError(InputError):
    """No CRS, an unknown one, or one the coordinates cannot be in."""


class EmptyDataset(InputError):
    """There is nothing to publish."""


class InvalidGeometry(InputError):
    """Coordinates that are no numbers, or geometries against the rules of Simple Features."""


class DuplicateFeatureId(InputError):
    """Two features would have one id."""


class BuildError(PublishError):
    """A representation could not be made of these data."""


class StorageFull(PublishError):
    """Writing stopped for want of space, quota or a file size limit."""


class PublishCancelled(PublishError):
    """Whoever started the publish stopped it."""
