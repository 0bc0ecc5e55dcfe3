"""Any file of points as a source: which format it is in, which CRS its points are in, and brought to a projected one."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pyproj

from pointclouds.crs import crs_beside, horizontal_part, parse_crs, require_usable, with_vertical
from pointclouds.errors import EmptyPointCloudError, UnreadablePointCloudError
from pointclouds.formats.guarded import Limits, Report
from pointclouds.formats.reprojecting import projected_crs_of, reproject
from pointclouds.las.layout import Records
from pointclouds.las.reader import CHUNK_POINTS, reading
from pointclouds.sources import Box3, LasSource, PointSource, SourceDescription

_HEAD_BYTES: Final = 65_536


@dataclass(frozen=True)
class SourceOptions:
    """How files are to be read, where they do not say it themselves.

    format: a key of FORMATS; None: by content.
    columns, separator, encoding: of text, see text_lines.look_at.
    scale: of coordinates in text, PLY and E57; None: from the data.
    vertical: the vertical CRS, in place of the file's.
    target_crs: a projected CRS to bring the points to while they are read.
    workspace: where E57 and zipped EPT are unpacked; None: the system's temporary folder.
    require_crs: False: a file without a CRS is opened all the same, with `crs` None.
    limits: of the child process that reads E57.
    """

    format: str | None = None
    columns: str | None = None
    separator: str | None = None
    encoding: str | None = None
    scale: float | None = None
    vertical: str | None = None
    target_crs: str | None = None
    workspace: Path | None = None
    require_crs: bool = True
    limits: Limits = field(default_factory=Limits)


_USUAL: Final = SourceOptions()
_Opener = Callable[[Path, pyproj.CRS | None, SourceOptions, Report | None], PointSource]


def open_source(
    path: Path,
    crs: str | pyproj.CRS | None = None,
    options: SourceOptions = _USUAL,
    report: Report | None = None,
) -> PointSource:
    """Open a file (or the folder of an EPT) in a projected CRS.

    Degrees and geocentric coordinates are brought to a projected CRS of the place (`projected_crs_of`); the notes say so.

    Args:
        crs: in place of whatever the file names.
        options: see there.
        report: gets the progress of what has to be read before the first point can be given (E57).

    Raises:
        UnreadablePointCloudError, EmptyPointCloudError: no point cloud, a damaged one, or none with points.
        MissingCrsError, UnusableCrsError: no CRS, or one of no use.
    """
    return open_sources([path], crs, options, report)[0]


def open_sources(
    paths: Sequence[Path],
    crs: str | pyproj.CRS | None = None,
    options: SourceOptions = _USUAL,
    report: Report | None = None,
) -> list[PointSource]:
    """Open the files of one cloud: as `open_source`, and those in degrees brought to one CRS. Raises as it does."""
    if not paths:
        raise EmptyPointCloudError("no point cloud file was given; name at least one")
    override = parse_crs(crs) if crs is not None else None
    target = parse_crs(options.target_crs, "--target-crs") if options.target_crs else None
    sources = [_labelled(path, override, options, report) for path in paths]
    if target is None:
        target = _common_projection(sources)
    return [_brought(source, target, options) for source in sources]


def _labelled(
    path: Path, crs: pyproj.CRS | None, options: SourceOptions, report: Report | None
) -> PointSource:
    """The source in the CRS that its points are in, vertical one included."""
    key = options.format or recognise(path)
    if key is None or key not in _OPENERS:
        raise UnreadablePointCloudError(
            f"{path.name} is no point cloud that can be read; allowed: {', '.join(FORMATS.values())}"
        )
    source = _OPENERS[key](path, crs, options, report)
    known = source.description.crs or crs_beside(path)
    if options.vertical:
        known = with_vertical(require_usable_or_geographic(known, path.name), options.vertical)
    if known is None or known == source.description.crs:
        return source
    return LasSource(path, known) if isinstance(source, LasSource) else LabelledSource(source, known)


def require_usable_or_geographic(crs: pyproj.CRS | None, name: str) -> pyproj.CRS:
    """The CRS. Raises MissingCrsError where there is none, UnusableCrsError for one of a plan or a machine."""
    if crs is not None and (horizontal_part(crs).is_geographic or crs.is_geocentric):
        return crs
    return require_usable(crs, name)


def _needs_projection(source: PointSource) -> bool:
    crs = source.description.crs
    return crs is not None and (horizontal_part(crs).is_geographic or crs.is_geocentric)


def _common_projection(sources: Sequence[PointSource]) -> pyproj.CRS | None:
    """Where the first of the sources in degrees belongs, judged by the box of all of them; None where none is."""
    found = [source.description for source in sources if _needs_projection(source)]
    if not found:
        return None
    first = found[0].crs
    assert first is not None
    boxes = [one.box for one in found if one.box is not None and one.crs == first]
    low = [min(box[axis] for box in boxes) for axis in range(3)]
    high = [max(box[axis] for box in boxes) for axis in range(3, 6)]
    whole: Box3 = (low[0], low[1], low[2], high[0], high[1], high[2])
    return projected_crs_of(first, whole)


def _brought(source: PointSource, target: pyproj.CRS | None, options: SourceOptions) -> PointSource:
    crs = source.description.crs
    if crs is None and not options.require_crs:
        return source
    require_usable_or_geographic(crs, source.description.name)
    if target is not None and (options.target_crs or _needs_projection(source)):
        return reproject(source, target)
    return source


class LabelledSource:
    """Another source's points, said to be in another CRS."""

    def __init__(self, source: PointSource, crs: pyproj.CRS) -> None:
        self._source = source
        self._description = replace(source.description, crs=crs)

    @property
    def description(self) -> SourceDescription:
        """The other's, with this CRS."""
        return self._description

    def chunks(
        self, points: int = CHUNK_POINTS, start: int = 0, stop: int | None = None
    ) -> Iterator[Records]:
        """The other's."""
        return self._source.chunks(points, start, stop)


def recognise(path: Path) -> str | None:
    """The key of the format a file or folder is in, by its content; None where it is no point cloud.

    Text is taken for points where its first lines hold three numbers side by side.

    Raises:
        UnreadablePointCloudError: it cannot be read at all.
    """
    from pointclouds.formats.ept import is_ept_folder
    from pointclouds.formats.ept_archive import is_ept_archive

    with reading(path):
        if path.is_dir():
            return "ept" if is_ept_folder(path) else None
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    if path.name == "ept.json" or (head.startswith(b"PK") and is_ept_archive(path)):
        return "ept"
    for mark, key in ((b"LASF", "las"), (b"ASTM-E57", "e57"), (b"ply", "pointply")):
        if head.startswith(mark):
            return key
    return "xyz" if is_text_of_points(head, path.name) else None


def is_text_of_points(head: bytes, name: str, columns: str | None = None) -> bool:
    """Whether the beginning of a file reads as text of points."""
    from pointclouds.formats.text_lines import look_at

    try:
        look_at(head, name, columns=columns)
    except (UnreadablePointCloudError, UnicodeError):
        return False
    return True


def _open_las(
    path: Path, crs: pyproj.CRS | None, options: SourceOptions, report: Report | None
) -> PointSource:
    return LasSource(path, crs)


def _open_ept(
    path: Path, crs: pyproj.CRS | None, options: SourceOptions, report: Report | None
) -> PointSource:
    from pointclouds.formats.ept import EptSource
    from pointclouds.formats.ept_archive import unpack_ept

    if path.is_dir() or path.name == "ept.json":
        return EptSource(path if path.is_dir() else path.parent, crs)
    with reading(path):
        folder = Path(tempfile.mkdtemp(prefix="ept-", dir=options.workspace))
    try:
        place = folder / path.stem
        unpack_ept(path, place)
        source = EptSource(place, crs)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(source, shutil.rmtree, str(folder), ignore_errors=True)
    return source


def _open_e57(
    path: Path, crs: pyproj.CRS | None, options: SourceOptions, report: Report | None
) -> PointSource:
    from pointclouds.formats.e57 import E57Source

    return E57Source(
        path, crs, scale=options.scale, workspace=options.workspace, limits=options.limits, report=report
    )


def _open_ply(
    path: Path, crs: pyproj.CRS | None, options: SourceOptions, report: Report | None
) -> PointSource:
    from pointclouds.formats.ply import PlySource

    return PlySource(path, crs or crs_beside(path), scale=options.scale)


def _open_text(
    path: Path, crs: pyproj.CRS | None, options: SourceOptions, report: Report | None
) -> PointSource:
    from pointclouds.formats.text import TextSource

    return TextSource(
        path,
        crs or crs_beside(path),
        columns=options.columns,
        separator=options.separator,
        encoding=options.encoding,
        scale=options.scale,
    )


FORMATS: Final = {
    "las": "LAS, LAZ or COPC",
    "ept": "EPT (a folder with ept.json, or a ZIP of it)",
    "e57": "E57",
    "pointply": "PLY without faces",
    "xyz": "points as text (XYZ, CSV, PTS)",
}
"""Key and title of every format of points."""
_OPENERS: Final[dict[str, _Opener]] = {
    "las": _open_las,
    "ept": _open_ept,
    "e57": _open_e57,
    "pointply": _open_ply,
    "xyz": _open_text,
}
