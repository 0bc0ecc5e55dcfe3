"""The tile formats of 3D Tiles 1.0: b3dm, i3dm, pnts and cmpt (OGC 22-025r4, annex of legacy formats)."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.check.batch_table import TableReader, check_batch_table
from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.glb import Resource
from tiles.three_d.check.model import Shape, model_shapes, place

_MOST_NESTED = 1_000
_UNIT_TOLERANCE = 0.02
_ELLIPSOID = (6_378_137.0, 6_378_137.0, 6_356_752.314245)


class Parts(NamedTuple):
    """A tile taken apart: its feature table, its batch table, and what follows them."""

    features: TableReader
    batch: tuple[bytes, bytes]
    rest: bytes


def _take_apart(content: bytes, name: str, header: int, findings: FileFindings) -> Parts | None:
    """Header and tables; None where they cannot be read."""
    if not findings.require(len(content) >= header, f"{name}-header", f"{len(content)} bytes are no {name}"):
        return None
    version, length, *sizes = struct.unpack_from("<6I", content, 4)
    findings.require(version == 1, f"{name}-header", f"version is {version}, needed is 1")
    findings.require(
        length == len(content), f"{name}-header", f"byteLength says {length}, the tile has {len(content)}"
    )
    findings.require(length % 8 == 0, f"{name}-alignment", f"byteLength {length} is not n x 8")
    ends = np.cumsum([header, *sizes]).tolist()
    if not findings.require(ends[-1] <= len(content), f"{name}-header", "its tables run out of the tile"):
        return None
    for which, start, end in zip(
        ("feature table JSON", "feature table binary", "batch table JSON", "batch table binary"),
        ends[:-1],
        ends[1:],
        strict=True,
    ):
        aligned = end == start or (end % 8 == 0 and ("JSON" in which or start % 8 == 0))
        findings.require(aligned, f"{name}-alignment", f"{which} from byte {start} to {end}, not n x 8")
    pieces = [content[start:end] for start, end in itertools.pairwise(ends)]
    features = TableReader(pieces[0], pieces[1], "feature table", findings)
    return Parts(features, (pieces[2], pieces[3]), content[ends[-1] :])


def batched_shapes(content: bytes, up: str, resource: Resource, findings: FileFindings) -> Iterator[Shape]:
    """Check a b3dm and give its vertices in the tile's frame."""
    parts = _take_apart(content, "b3dm", 28, findings)
    if parts is None:
        return
    length = parts.features.whole("BATCH_LENGTH")
    if length is None:
        findings.add("b3dm-batch", "the feature table has no BATCH_LENGTH")
    check_batch_table(*parts.batch, length or 0, findings)
    findings.count("features", length or 0)
    findings.require(
        (len(content) - len(parts.rest)) % 8 == 0, "b3dm-alignment", "the glb does not start at n x 8 bytes"
    )
    center = parts.features.vector("RTC_CENTER")
    for shape in model_shapes(_glb_of(parts.rest), resource, findings, up=up, batch_length=length):
        yield shape if center is None else Shape(shape.points + center, shape.slack)


def _glb_of(content: bytes) -> bytes:
    """A glb without the bytes that pad the tile around it."""
    if content[:4] == b"glTF" and len(content) >= 12:
        (length,) = struct.unpack_from("<I", content, 8)
        if 0 < len(content) - length < 8:
            return content[:length]
    return content


def instanced_shapes(content: bytes, up: str, resource: Resource, findings: FileFindings) -> Iterator[Shape]:
    """Check an i3dm and give the vertices of all its instances in the tile's frame."""
    parts = _take_apart(content, "i3dm", 32, findings)
    if parts is None:
        return
    features = parts.features
    count = features.whole("INSTANCES_LENGTH")
    positions = None if count is None else _positions(features, count, "i3dm", findings)
    if count is None or positions is None:
        findings.require(count is not None, "i3dm-instances", "there is no INSTANCES_LENGTH")
        return
    findings.count("instances", count)
    batch = features.column("BATCH_ID", count, "UNSIGNED_SHORT", 1)
    check_batch_table(*parts.batch, count if batch is None else int(batch.max()) + 1, findings)
    (form,) = struct.unpack_from("<I", content, 28)
    model = _model_of(form, parts.rest, resource, findings)
    if model is None:
        return
    matrices = np.tile(np.eye(4), (count, 1, 1))
    matrices[:, :3, :3] = _rotations(features, positions, count, findings) * _scales(features, count)[:, None]
    matrices[:, :3, 3] = positions
    for shape in model_shapes(model, resource, findings, up=up):
        yield place(shape.points, shape.slack, matrices)


def _model_of(form: int, rest: bytes, resource: Resource, findings: FileFindings) -> bytes | None:
    if form == 1:
        return _glb_of(rest)
    uri = rest.rstrip(b" \0").decode("utf-8", "replace")
    model = resource(uri) if form == 0 else None
    if model is None:
        findings.add("i3dm-model", f"gltfFormat {form}: model {uri[:80]!r} cannot be read")
    return model


def _positions(
    features: TableReader, count: int, name: str, findings: FileFindings
) -> NDArray[np.float64] | None:
    """Positions (count, 3) in the tile's frame, from floats or from 16-bit steps of a volume."""
    found = features.column("POSITION", count, "FLOAT", 3)
    if found is None:
        steps = features.column("POSITION_QUANTIZED", count, "UNSIGNED_SHORT", 3)
        offset, scale = (features.vector(f"QUANTIZED_VOLUME_{part}") for part in ("OFFSET", "SCALE"))
        if steps is None or offset is None or scale is None:
            findings.add(f"{name}-positions", "there is no readable POSITION")
            return None
        found = steps / 65535.0 * scale + offset
    if not findings.require(
        bool(np.isfinite(found).all()), f"{name}-positions", "a position is not a number"
    ):
        return None
    center = features.vector("RTC_CENTER")
    return found if center is None else found + center


def _rotations(
    features: TableReader, positions: NDArray[np.float64], count: int, findings: FileFindings
) -> NDArray[np.float64]:
    """Rotations (count, 3, 3): x becomes an instance's right vector, y its up vector, z what is across both.

    The axes are those of the tile, so that a model that stands along z has its height along the third vector, not along "up".
    """
    up = features.column("NORMAL_UP", count, "FLOAT", 3)
    right = features.column("NORMAL_RIGHT", count, "FLOAT", 3)
    if up is None:
        packed = [
            features.column(f"NORMAL_{side}_OCT32P", count, "UNSIGNED_SHORT", 2) for side in ("UP", "RIGHT")
        ]
        up, right = (None if one is None else _octahedral(one) for one in packed)
    if up is None or right is None:
        findings.require(
            up is None and right is None, "i3dm-normals", "of NORMAL_UP and NORMAL_RIGHT one is missing"
        )
        east_north_up = features.flag("EAST_NORTH_UP")
        return _east_north_up(positions) if east_north_up else np.tile(np.eye(3), (count, 1, 1))
    for name, vectors in (("NORMAL_UP", up), ("NORMAL_RIGHT", right)):
        worst = float(np.abs(np.linalg.norm(vectors, axis=1) - 1.0).max())
        findings.require(worst < _UNIT_TOLERANCE, "i3dm-normals", f"a {name}'s length is off by {worst:.3f}")
    lean = float(np.abs((up * right).sum(axis=1)).max())
    findings.require(
        lean < _UNIT_TOLERANCE, "i3dm-normals", "NORMAL_UP and NORMAL_RIGHT are not across each other"
    )
    return np.stack((right, up, np.cross(right, up)), axis=2)


def _east_north_up(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotations (n, 3, 3) to east, north and up at places on the globe, up being across the ellipsoid."""
    up = positions / np.array(_ELLIPSOID) ** 2
    up /= np.maximum(np.linalg.norm(up, axis=1, keepdims=True), 1e-30)
    east = np.cross(np.array([0.0, 0.0, 1.0]), up)
    east /= np.maximum(np.linalg.norm(east, axis=1, keepdims=True), 1e-30)
    return np.stack((east, np.cross(up, east), up), axis=2)


def _octahedral(packed: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = (packed / 65535.0 * 2.0 - 1.0).T
    z = 1.0 - np.abs(x) - np.abs(y)
    folded = np.where(z < 0.0)
    x[folded], y[folded] = (
        (1.0 - np.abs(y[folded])) * np.where(x[folded] >= 0.0, 1.0, -1.0),
        (1.0 - np.abs(x[folded])) * np.where(y[folded] >= 0.0, 1.0, -1.0),
    )
    vectors = np.stack((x, y, z), axis=1)
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _scales(features: TableReader, count: int) -> NDArray[np.float64]:
    """Scales (count, 3)."""
    scales = np.ones((count, 3))
    for name, width in (("SCALE", 1), ("SCALE_NON_UNIFORM", 3)):
        found = features.column(name, count, "FLOAT", width)
        if found is not None:
            scales = scales * found
    return scales


def point_shapes(content: bytes, findings: FileFindings) -> Iterator[Shape]:
    """Check a pnts and give its points in the tile's frame."""
    parts = _take_apart(content, "pnts", 28, findings)
    if parts is None:
        return
    features = parts.features
    count = features.whole("POINTS_LENGTH")
    if count is None or count < 1:
        findings.add("pnts-points", f"POINTS_LENGTH is {count}")
        return
    findings.count("points", count)
    length = features.whole("BATCH_LENGTH")
    check_batch_table(*parts.batch, count if length is None else length, findings)
    if features.extension("3DTILES_draco_point_compression"):
        findings.remark("pnts-draco", "points compressed by Draco are not read here")
        return
    for name, kind, width in (
        ("RGBA", "UNSIGNED_BYTE", 4),
        ("RGB", "UNSIGNED_BYTE", 3),
        ("RGB565", "UNSIGNED_SHORT", 1),
        ("NORMAL", "FLOAT", 3),
        ("NORMAL_OCT16P", "UNSIGNED_BYTE", 2),
    ):
        features.column(name, count, kind, width)
    batch = features.column("BATCH_ID", count, "UNSIGNED_SHORT", 1)
    if batch is not None:
        inside = length is not None and float(batch.max()) < length
        findings.require(inside, "pnts-batch", f"BATCH_ID {batch.max():g}, BATCH_LENGTH is {length}")
    positions = _positions(features, count, "pnts", findings)
    if positions is not None:
        volume = features.vector("QUANTIZED_VOLUME_SCALE")
        yield Shape(positions, 0.0 if volume is None else float(volume.max()) / 65535.0)


def composite_parts(content: bytes, findings: FileFindings) -> Iterator[bytes]:
    """Check the frame of a cmpt and give the tiles inside."""
    if not findings.require(len(content) >= 16, "cmpt-header", f"{len(content)} bytes are no cmpt"):
        return
    version, length, count = struct.unpack_from("<3I", content, 4)
    findings.require(version == 1, "cmpt-header", f"version is {version}, needed is 1")
    findings.require(
        length == len(content), "cmpt-header", f"byteLength says {length}, the tile has {len(content)}"
    )
    start = 16
    for number in range(min(count, _MOST_NESTED)):
        findings.require(start % 8 == 0, "cmpt-alignment", f"tile {number} starts at {start}, not n x 8")
        size = struct.unpack_from("<I", content, start + 8)[0] if start + 12 <= len(content) else 0
        if not findings.require(
            12 <= size <= len(content) - start, "cmpt-header", f"tile {number} of {count} is cut off"
        ):
            return
        yield content[start : start + size]
        start += size
    findings.require(
        start == len(content), "cmpt-header", f"{len(content) - start} bytes follow the last tile"
    )
