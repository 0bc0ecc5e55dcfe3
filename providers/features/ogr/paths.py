"""Which files may be read in place, and as what: contained in the folders the operator named, by drivers that reach nothing else.

Left out of the drivers: those that name other files or servers (VRT, WFS, CSW, Elasticsearch, ...), and databases over a network.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from providers.errors import StoreCorrupt, StoreError, StoreMissing

DRIVERS: tuple[str, ...] = (
    "GPKG",
    "SQLite",
    "FlatGeobuf",
    "ESRI Shapefile",
    "OpenFileGDB",
    "MapInfo File",
    "GeoJSON",
    "GeoJSONSeq",
    "ESRIJSON",
    "TopoJSON",
    "GML",
    "GPX",
    "CSV",
    "DXF",
    "DGN",
    "S57",
    "OGR_GMT",
)
"""GDAL's names of the formats that are read in place."""
RANDOM_READ = frozenset(
    (
        "GPKG",
        "SQLite",
        "FlatGeobuf",
        "ESRI Shapefile",
        "OpenFileGDB",
        "MapInfo File",
        "GeoJSON",
        "ESRIJSON",
        "TopoJSON",
    )
)
"""Formats from which GDAL reads one feature by its number without a search."""
_MAXIMUM_UNPACKED = 2 * 1024**3
_MAXIMUM_RATIO = 200
_RATIO_FREE = 10_000_000
_MAXIMUM_MEMBERS = 1000
_MEMBERS = (
    ".gpkg",
    ".shp",
    ".fgb",
    ".geojson",
    ".json",
    ".gml",
    ".sqlite",
    ".tab",
    ".mif",
    ".gpx",
    ".csv",
    ".dxf",
    ".000",
)
_SIDE_FILES = frozenset((".shp", ".tab", ".mif", ".csv", ".gml"))


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file that may be read. `opened` is the name GDAL opens, `path` the file itself, free of links."""

    path: Path
    opened: str

    @property
    def name(self) -> str:
        """For messages: without its folders."""
        return self.path.name

    @property
    def is_archive(self) -> bool:
        """Whether it is a member of a ZIP archive."""
        return self.opened.startswith("/vsizip/")


def placed_file(path: Path, file_roots: Sequence[Path]) -> PlacedFile:
    """The file at `path`, links followed, if it lies in one of the roots. Raises StoreMissing, StoreError, StoreCorrupt."""
    try:
        real = path.resolve(strict=True)
        inside = any(real.is_relative_to(root.resolve()) for root in file_roots)
    except (OSError, RuntimeError, ValueError) as error:
        raise StoreMissing(f"There is no file {path.name!r} to read in place") from error
    if not inside:
        raise StoreError(
            f"{path.name!r} does not lie in a folder from which files may be read in place; "
            "add its folder to the setting file_roots, or publish the file"
        )
    if real.is_dir() and real.suffix.lower() != ".gdb":
        raise StoreError(
            f"{path.name!r} is a folder; of folders only file geodatabases (.gdb) are read in place"
        )
    if not (real.is_file() or real.is_dir()):
        raise StoreError(f"{path.name!r} is neither a file nor a file geodatabase")
    if real.is_file() and zipfile.is_zipfile(real):
        return PlacedFile(real, f"/vsizip/{real}/{_member(real)}")
    return PlacedFile(real, str(real))


def _member(archive: Path) -> str:
    """The one data set in an archive."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise StoreCorrupt(f"{archive.name!r} is no sound ZIP archive: {error}") from error
    size, packed = sum(member.file_size for member in members), max(1, archive.stat().st_size)
    if (
        len(members) > _MAXIMUM_MEMBERS
        or size > _MAXIMUM_UNPACKED
        or (size > _RATIO_FREE and size / packed > _MAXIMUM_RATIO)
    ):
        raise StoreError(
            f"{archive.name!r} holds {len(members)} files of {size:,} bytes in {packed:,}; allowed are {_MAXIMUM_MEMBERS} files, "
            f"{_MAXIMUM_UNPACKED:,} bytes, {_MAXIMUM_RATIO} times its size. Unpack it and name the file"
        )
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        if ".." in parts or member.filename.startswith("/") or stat.S_ISLNK(member.external_attr >> 16):
            raise StoreError(
                f"{archive.name!r} holds a file whose path leads outside of it ({member.filename!r})"
            )
        if member.flag_bits & 1:
            raise StoreError(f"{archive.name!r} is protected by a password; unpack it and name the file")
    found = [
        member.filename
        for member in members
        if PurePosixPath(member.filename).suffix.lower() in _MEMBERS and "__MACOSX" not in member.filename
    ]
    if len(found) != 1:
        raise StoreError(
            f"{archive.name!r} has to hold one data set to be read in place; found: {', '.join(sorted(found)[:10]) or 'none'}"
        )
    return found[0]


def files_behind(place: PlacedFile) -> list[Path]:
    """The files whose change is a change of the data: the file, what stands beside it, or what is in its folder."""
    path = place.path
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file() and file.suffix != ".lock")
    found = [path]
    if path.suffix.lower() in _SIDE_FILES:
        found += sorted(
            file for file in path.parent.glob(f"{_literal(path.stem)}.*") if file.is_file() and file != path
        )
    log = path.with_name(path.name + "-wal")
    return [*found, log] if log.is_file() else found


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def names_its_format(place: PlacedFile) -> bool:
    """Whether the first bytes alone say what the file is, so that no GDAL driver can take it for something else."""
    if place.is_archive or place.path.is_dir():
        return False
    try:
        with place.path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return (
        head == b"SQLite format 3\x00"
        or head.startswith(b"fgb\x03fgb")
        or (head.startswith(b"\x00\x00\x27\x0a") and place.path.suffix.lower() == ".shp")
    )


def check_whole_shapefile(place: PlacedFile) -> None:
    """Raise StoreCorrupt where a shapefile is shorter than its header says: GDAL goes on with missing geometries."""
    if place.is_archive or place.path.suffix.lower() != ".shp":
        return
    try:
        with place.path.open("rb") as file:
            head = file.read(28)
            size = file.seek(0, 2)
    except OSError as error:
        raise StoreMissing(f"{place.name!r} cannot be read: {error.strerror or error}") from error
    stated = int.from_bytes(head[24:28], "big") * 2
    if len(head) < 28 or size < stated:
        raise StoreCorrupt(f"{place.name!r} is truncated: it has {size} bytes of {stated}")
