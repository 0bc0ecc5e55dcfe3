"""From the files that were named to the datasets to read: parts put together, archives unpacked, paths held in."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.publish.archives import ArchiveLimits, decompress, is_archive, is_gzip, unpack
from server.publish.errors import (
    FileNotUsable,
    LayerChoice,
    PathOutside,
    SchemaMismatch,
    UnknownFormat,
)
from server.publish.formats import (
    FORMATS,
    Family,
    Format,
    allowed_formats,
    is_citygml,
    named_format,
    recognise_format,
    take_sample,
)
from server.publish.imdf import imdf_folder, units_of

_PART_SUFFIXES = frozenset(
    (
        ".dbf",
        ".shx",
        ".prj",
        ".cpg",
        ".qpj",
        ".sbn",
        ".sbx",
        ".qix",
        ".qmd",
        ".atx",
        ".fix",
        ".ovr",
        ".msk",
        ".tfw",
        ".tifw",
        ".pgw",
        ".jgw",
        ".wld",
        ".hdr",
        ".aux",
        ".xml",
        ".gfs",
        ".xsd",
        ".lic",
        ".txt",
        ".pdf",
        ".lyr",
    )
)
"""Suffixes of files that come along with a dataset and are not datasets themselves."""


@dataclass(frozen=True, slots=True)
class Input:
    """One dataset to read. `name` is how to speak of it: its path inside the archive where it came in one."""

    path: Path
    format: Format
    name: str


def find_inputs(
    files: Sequence[Path],
    workspace: Path,
    limits: ArchiveLimits,
    *,
    format_key: str | None = None,
    layer: str | None = None,
) -> list[Input]:
    """The datasets in `files`; archives are unpacked below `workspace`. All are of one format.

    Raises subclasses of InputError.
    """
    if not files:
        raise FileNotUsable("No file was given to publish.")
    stores = [path for path in files if is_zarr_store(path)]
    ept = [path for path in files if is_ept(path)]
    links = _LinksInFolders()
    given = [_usable(path, links) for path in _in_folders(files) if path not in (*stores, *ept)]
    inputs = [Input(_held_store(path), FORMATS["zarr"], path.name) for path in stores]
    inputs += [Input(path.absolute(), FORMATS["ept"], path.name) for path in ept]
    for number, path in enumerate(_without_parts(given)):
        if is_archive(path):
            inputs += _from_archive(path, workspace / f"unpacked-{number}", limits, format_key, layer)
        else:
            if is_gzip(path):
                path = decompress(path, workspace / f"unpacked-{number}", limits)  # noqa: PLW2901
            found = named_format(format_key) if format_key else recognise_format(path)
            inputs.append(Input(path, found, path.name))
    titles = sorted({item.format.title for item in inputs})
    if len(titles) > 1:
        raise SchemaMismatch(
            f"One collection is made of files of one format; these are {' and '.join(titles)}. Publish them one by one."
        )
    return inputs


_ZARR_MARKS = (".zgroup", ".zattrs", ".zmetadata", "zarr.json")


def is_zarr_store(path: Path) -> bool:
    """Whether a folder is a Zarr store (version 2 or 3)."""
    return path.is_dir() and any((path / mark).is_file() for mark in _ZARR_MARKS)


def is_ept(path: Path) -> bool:
    """Whether a folder is an Entwine Point Tile; its files are held in when they are read."""
    return path.is_dir() and (path / "ept.json").is_file()


def _held_store(path: Path) -> Path:
    """The absolute path of a store in which no link leads elsewhere. Raises PathOutside."""
    path = path.absolute()
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            if Path(folder, name).is_symlink():
                raise PathOutside(
                    f"{Path(folder, name)} is a symbolic link. Give a Zarr store without links."
                )
    return path


def _in_folders(files: Sequence[Path]) -> list[Path]:
    """The files, and instead of a folder the rasters in it (else the point clouds), by name."""
    found: list[Path] = []
    for path in files:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(file for file in path.iterdir() if file.is_file())
        found += (
            [file for file in inside if file.suffix.lower() in _RASTER_SUFFIXES]
            or [file for file in inside if file.suffix.lower() in _POINT_CLOUD_SUFFIXES]
            or [path]
        )
    return found


_RASTER_SUFFIXES = frozenset(
    (".tif", ".tiff", ".jp2", ".img", ".nc", ".nc4", ".h5", ".hdf5", ".asc", ".dt2", ".hgt")
)


_POINT_CLOUD_SUFFIXES = frozenset((".las", ".laz", ".e57", ".ply", ".xyz", ".pts"))


class _LinksInFolders:
    """The symbolic links of folders, each folder looked through once: a flight has thousands of tiles in one."""

    def __init__(self) -> None:
        self._found: dict[Path, list[Path]] = {}

    def beside(self, path: Path) -> list[Path]:
        """Links that have the file's name but for the suffixes."""
        if path.parent not in self._found:
            with os.scandir(path.parent) as entries:
                self._found[path.parent] = [Path(entry.path) for entry in entries if entry.is_symlink()]
        return [link for link in self._found[path.parent] if link.name.startswith(f"{path.stem}.")]


def _usable(path: Path, links: _LinksInFolders) -> Path:
    """The absolute path of a regular file that can be read, and whose parts lie where it lies."""
    path = path.absolute()
    _hold_in(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise FileNotUsable(f"{path} is a directory. Name the files in it that make up the collection.")
        if not stat.S_ISREG(mode):
            raise FileNotUsable(f"{path} is not a regular file (a device, pipe or socket).")
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise FileNotUsable(f"{path} cannot be read: {error.strerror or error}.") from error
    for part in links.beside(path):
        _hold_in(part)
    return path


def _hold_in(path: Path) -> None:
    """Refuse a symbolic link that leads out of its folder: GDAL would read whatever it points at."""
    # os.path.realpath bears links that lead in a circle; opening them says what is wrong.
    target = Path(os.path.realpath(path))
    if path.is_symlink() and target.parent != Path(os.path.realpath(path.parent)):
        raise PathOutside(
            f"{path} is a symbolic link out of its folder, to {target}. Give the path of the file itself."
        )


def _without_parts(paths: Sequence[Path]) -> list[Path]:
    """Drop what belongs to another given file (`publish roads.*`) and what was given twice."""
    stems = {path.with_suffix("") for path in paths if path.suffix.lower() not in _PART_SUFFIXES}
    kept = [
        path for path in paths if path.suffix.lower() not in _PART_SUFFIXES or _main_stem(path) not in stems
    ]
    return list(dict.fromkeys(kept))


def _main_stem(path: Path) -> Path:
    bare = path.with_suffix("")  # roads.shp.xml and image.tif.aux.xml have two
    return bare.with_suffix("") if bare.suffix.lower() in (".shp", ".tif", ".tiff", ".aux") else bare


def _from_archive(
    archive: Path, folder: Path, limits: ArchiveLimits, format_key: str | None, layer: str | None
) -> list[Input]:
    candidates: list[Input] = []
    unpacked = unpack(archive, folder, limits)
    store = next((place for place in (folder, *folder.iterdir()) if is_zarr_store(place)), None)
    if store is not None:
        return [Input(_held_store(store), FORMATS["zarr"], archive.name)]
    tiled = next((place for place in (folder, *sorted(folder.iterdir())) if is_ept(place)), None)
    if tiled is not None and format_key in (None, "ept"):
        return [Input(tiled, FORMATS["ept"], archive.name)]
    indoors = imdf_folder(folder)
    if indoors is not None and format_key in (None, "imdf"):
        return [Input(units_of(indoors, folder / "imdf-units.geojson"), FORMATS["imdf"], archive.name)]
    first = [folder / "tileset.json", *(place / "tileset.json" for place in sorted(folder.iterdir()))]
    whole = next((path for path in first if path in unpacked), None)
    if whole is not None and format_key in (None, "3dtiles"):
        # Thousands of tiles need not be looked at, each of which might be taken for a dataset.
        return [Input(whole, FORMATS["3dtiles"], f"{archive.name}/{whole.relative_to(folder)}")]
    for path in unpacked:
        if (
            path.suffix.lower() in _PART_SUFFIXES
            and not _is_city_xml(path)
            and not _is_asked(path, format_key)
        ):
            continue
        try:
            found = named_format(format_key) if format_key else recognise_format(path)
        except UnknownFormat:
            continue
        candidates.append(Input(path, found, f"{archive.name}/{path.relative_to(folder)}"))
    tilesets = [item for item in candidates if item.format.family is Family.TILESET]
    if tilesets:
        # The others are its tiles and what is beside them.
        return [
            min(
                tilesets, key=lambda item: (len(item.path.parts), item.path.name != "tileset.json", item.name)
            )
        ]
    if not candidates:
        raise UnknownFormat(
            f"{archive.name} holds no dataset that can be published. Allowed: {allowed_formats()}."
        )
    models = [item for item in candidates if item.format.family is Family.CITY_MODEL]
    if models and layer is None:
        # Images beside city models are their textures; a city often comes in many files.
        candidates = models
    clouds = [item for item in candidates if item.format.family is Family.POINT_CLOUD]
    if clouds and layer is None:
        # Tiles of one flight; what lies beside them describes them.
        return clouds
    if len(candidates) == 1 or (models and layer is None):
        return candidates
    names = [item.path.stem for item in candidates]
    chosen = [item for item in candidates if item.path.stem == layer]
    if len(chosen) != 1:
        raise LayerChoice(
            f"{archive.name} holds {len(candidates)} datasets: {', '.join(names)}. Name one as the layer"
            + (f"; {layer!r} is not one of them." if layer else ".")
        )
    return chosen


def _is_asked(path: Path, format_key: str | None) -> bool:
    """Text of points that was asked for by its format, though readme files end like it."""
    return format_key == "xyz" and path.suffix.lower() == ".txt"


def _is_city_xml(path: Path) -> bool:
    return path.suffix.lower() == ".xml" and is_citygml(take_sample(path))
