"""The scans of an E57 file (ASTM E2807) written out as plain point records. To be run in a process of its own: libE57 is C++.

Every scan is read twice: once for the spans of its values, once for its records.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pointclouds.errors import UnreadablePointCloudError
from pointclouds.formats.columns import Layout, Spans, dimension_of, make_layout
from pointclouds.las.structures import GPS_STANDARD_TIME

_BUFFER_POINTS: Final = 500_000
_MOST_SCANS: Final = 100_000
_POINTS_A_BYTE: Final = 8
_GPS_SHIFT: Final = 1e9
_CARTESIAN: Final = ("cartesianX", "cartesianY", "cartesianZ")
_SPHERICAL: Final = ("sphericalRange", "sphericalAzimuth", "sphericalElevation")
_COLOURS: Final = {"colorRed": "Red", "colorGreen": "Green", "colorBlue": "Blue"}
_STATES: Final = ("cartesianInvalidState", "sphericalInvalidState")
_FLAGS: Final = ("isColorInvalid", "isIntensityInvalid", "isTimeStampInvalid")
_NOT_KEPT: Final = frozenset(("rowIndex", "columnIndex", *_STATES, *_FLAGS, *_CARTESIAN, *_SPHERICAL))


@dataclass(frozen=True)
class E57Facts:
    """What the records mean, and what was left behind. `crs` is the file's coordinateMetadata."""

    layout: Layout
    spans: Spans
    crs: str
    scans: int
    invalid: int
    dropped: tuple[str, ...]


@contextmanager
def _reading_e57(name: str) -> Iterator[None]:
    from pye57 import libe57

    try:
        yield
    except libe57.E57Exception as error:
        raise UnreadablePointCloudError(
            f"{name} cannot be read as E57: {_words(error)}; the file is damaged"
        ) from error
    except (ValueError, OverflowError, KeyError, IndexError, TypeError, RuntimeError) as error:
        raise UnreadablePointCloudError(f"{name} cannot be read as E57: {_words(error)}") from error


def _words(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200].rstrip(".")


def unpack_e57(
    path: str, target: str, scale: float | None, geographic: bool | None, report: Any = None
) -> E57Facts:
    """Write all valid points of all scans to `target`, one packed record after another.

    Args:
        scale: of the coordinates; None: chosen from the data.
        geographic: x and y are degrees; None: as coordinateMetadata says.
        report: gets ("e57", 0 to 1).

    Raises:
        UnreadablePointCloudError, EmptyPointCloudError: it cannot be read, or holds no valid point.
    """
    from pye57 import libe57

    name = Path(path).name
    with _reading_e57(name), closing(libe57.ImageFile(path, "r")) as image:
        scans = _scans(image, name, Path(path).stat().st_size)
        total = max(1, 2 * sum(scan.count for scan in scans))
        spans, invalid, seen = Spans(), 0, 0
        for scan in scans:
            for columns, lost in scan.blocks():
                spans.add(columns)
                invalid += lost
                seen += len(columns["X"]) + lost
                _tell(report, seen / total)
        crs = _text(image.root(), "coordinateMetadata").strip()
        timed = any(scan.has_time for scan in scans)
        layout = make_layout(
            spans,
            name,
            geographic=_is_geographic(crs) if geographic is None else geographic,
            scale=scale,
            encoding=GPS_STANDARD_TIME if timed else 0,
        )
        with Path(target).open("wb") as stream:
            for scan in scans:
                for columns, lost in scan.blocks():
                    layout.records(columns).tofile(stream)
                    seen += len(columns["X"]) + lost
                    _tell(report, seen / total)
        dropped = tuple(sorted({one for scan in scans for one in scan.dropped} | _images(image)))
    return E57Facts(layout, spans, crs, len(scans), invalid, dropped)


def _tell(report: Any, part: float) -> None:
    if report is not None:
        report("e57", min(part, 1.0))


def _is_geographic(crs: str) -> bool:
    import pyproj
    from pyproj.exceptions import CRSError

    try:
        return bool(crs) and bool(pyproj.CRS.from_user_input(crs).is_geographic)
    except CRSError:
        return False


def _text(node: Any, name: str) -> str:
    return str(node[name].value()) if node.isDefined(name) else ""


def _images(image: Any) -> set[str]:
    root = image.root()
    return {"images"} if root.isDefined("images2D") and root["images2D"].childCount() else set()


def _scans(image: Any, name: str, size: int) -> list[_Scan]:
    root = image.root()
    nodes = root["data3D"] if root.isDefined("data3D") else None
    if nodes is None or nodes.childCount() == 0:
        raise UnreadablePointCloudError(f"{name} holds no scans (data3D of the E57 file is empty)")
    if nodes.childCount() > _MOST_SCANS:
        raise UnreadablePointCloudError(
            f"{name} says {nodes.childCount()} scans; at most {_MOST_SCANS} are read"
        )
    scans = [_Scan(image, nodes[index], index) for index in range(nodes.childCount())]
    if sum(scan.count for scan in scans) > size * _POINTS_A_BYTE:
        raise UnreadablePointCloudError(
            f"{name} says {sum(scan.count for scan in scans)} points in {size} bytes; the file is damaged"
        )
    return scans


class _Scan:
    """One scan: its fields, its pose, and its points in blocks."""

    def __init__(self, image: Any, node: Any, index: int) -> None:
        from pye57 import libe57

        self._image, self._index = image, index
        self._points = node["points"]
        self.count = int(self._points.childCount())
        prototype = libe57.StructureNode(self._points.prototype())
        numbers = {libe57.E57_INTEGER, libe57.E57_SCALED_INTEGER, libe57.E57_FLOAT}
        children = [prototype.get(number) for number in range(prototype.childCount())]
        self._fields = [str(child.elementName()) for child in children if child.type() in numbers]
        if all(field in self._fields for field in _CARTESIAN):
            self._cartesian = True
        elif all(field in self._fields for field in _SPHERICAL):
            self._cartesian = False
        else:
            raise ValueError(f"scan {index + 1} has neither cartesian nor spherical coordinates")
        self.dropped = (
            {"row and column indexes"} if {"rowIndex", "columnIndex"} & set(self._fields) else set()
        )
        self._rotation, self._translation = _pose(node)
        self._start = _start(node)

    @property
    def has_time(self) -> bool:
        """Whether its points have a time on the GPS clock."""
        return self._start is not None and "timeStamp" in self._fields

    def blocks(self) -> Iterator[tuple[dict[str, npt.NDArray[Any]], int]]:
        """Columns of valid points, and how many invalid ones were among them."""
        from pye57 import libe57

        wanted = [field for field in self._fields if field not in ("rowIndex", "columnIndex")]
        capacity = max(1, min(_BUFFER_POINTS, self.count))
        arrays = {field: np.zeros(capacity) for field in wanted}
        buffers = libe57.VectorSourceDestBuffer()
        for field in wanted:
            buffers.append(libe57.SourceDestBuffer(self._image, field, arrays[field], capacity, True, True))
        left = self.count
        with closing(self._points.reader(buffers)) as reader:
            while left > 0:
                read = int(reader.read())
                if read <= 0:
                    raise ValueError(
                        f"scan {self._index + 1} says {self.count} points, {left} of them are missing"
                    )
                left -= read
                block = {field: values[:read] for field, values in arrays.items()}
                good = np.ones(read, bool)
                for state in _STATES:
                    if state in block and state.startswith("cartesian") == self._cartesian:
                        good = block[state] == 0
                yield (
                    self._columns({field: values[good] for field, values in block.items()}),
                    int((~good).sum()),
                )

    def _columns(self, block: dict[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[Any]]:
        if self._cartesian:
            local = np.stack([block[field] for field in _CARTESIAN])
        else:
            # E2807, 8.4.4: azimuth from the x axis, elevation from the xy plane
            distance, azimuth, elevation = (block[field] for field in _SPHERICAL)
            flat = distance * np.cos(elevation)
            local = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), distance * np.sin(elevation)])
        x, y, z = self._rotation @ local + self._translation[:, None]
        columns: dict[str, npt.NDArray[Any]] = {"X": x, "Y": y, "Z": z}
        columns["PointSourceId"] = np.full(len(x), (self._index + 1) % 65_536, np.uint16)
        for field, values in block.items():
            if field in _COLOURS:
                columns[_COLOURS[field]] = _where_valid(values, block.get("isColorInvalid"))
            elif field == "intensity":
                columns["Intensity"] = _where_valid(values, block.get("isIntensityInvalid"))
            elif field == "returnIndex":
                columns["ReturnNumber"] = values + 1
            elif field == "returnCount":
                columns["NumberOfReturns"] = values
            elif field == "timeStamp":
                if self._start is not None:
                    columns["GpsTime"] = self._start + values - _GPS_SHIFT
            elif field not in _NOT_KEPT:
                columns[dimension_of(field.rsplit(":", 1)[-1])] = values
        return columns


def _where_valid(
    values: npt.NDArray[np.float64], invalid: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.float64]:
    return values.copy() if invalid is None else np.where(invalid == 0, values, 0.0)


def _pose(node: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Rotation (3, 3) and translation (3,) of a scan; E2807, 8.4.3: a unit quaternion w, x, y, z."""
    rotation, translation = np.eye(3), np.zeros(3)
    if not node.isDefined("pose"):
        return rotation, translation
    pose = node["pose"]
    if pose.isDefined("translation"):
        translation = np.array([pose["translation"][axis].value() for axis in "xyz"], np.float64)
    if pose.isDefined("rotation"):
        quaternion = np.array([pose["rotation"][part].value() for part in "wxyz"], np.float64)
        length = float(np.linalg.norm(quaternion))
        if not np.isfinite(length) or length < 1e-9:
            raise ValueError("a scan's rotation is no quaternion")
        w, x, y, z = quaternion / length
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
    return rotation, translation


def _start(node: Any) -> float | None:
    """When the scan began, GPS seconds; None where it does not say."""
    if not node.isDefined("acquisitionStart"):
        return None
    start = float(node["acquisitionStart"]["dateTimeValue"].value())
    return start if np.isfinite(start) and start > 0 else None
