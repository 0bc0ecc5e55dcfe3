"""Decodes buffer views of EXT_meshopt_compression (its appendix A, version 0 of vertices and 1 of triangles and indices)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GROUP = 16
_TAIL_OF_ATTRIBUTES, _TAIL_OF_TRIANGLES, _TAIL_OF_INDICES = 32, 16, 4
# More is a mistake, or an attack: a view of a tile.
_MOST_BYTES = 1 << 28


class MeshoptError(Exception):
    """The stream cannot be decoded."""


def decode_view(content: bytes, stated: dict[str, Any]) -> bytes:
    """The bytes of a buffer view from its compressed form. `stated` is the extension object. Raises MeshoptError."""
    count, stride = stated.get("count"), stated.get("byteStride")
    mode, filtered = stated.get("mode"), stated.get("filter", "NONE")
    if not isinstance(count, int) or not isinstance(stride, int) or not 0 < count * stride <= _MOST_BYTES:
        raise MeshoptError(f"count {count!r} of byteStride {stride!r}")
    if mode == "ATTRIBUTES":
        if stride % 4 or stride > 256:
            raise MeshoptError(f"byteStride {stride} of attributes")
        return _filtered(_attributes(content, count, stride), filtered, stride)
    if stride not in (2, 4):
        raise MeshoptError(f"byteStride {stride} of indices")
    if mode == "TRIANGLES" and count % 3 == 0:
        indices = _Triangles(content, count // 3).decode()
    elif mode == "INDICES":
        indices = _indices(content, count)
    else:
        raise MeshoptError(f"mode {mode!r} of {count} entries")
    return np.array(indices, dtype=np.int64).astype("<u4").astype("<u2" if stride == 2 else "<u4").tobytes()


def _attributes(content: bytes, count: int, stride: int) -> NDArray[np.uint8]:
    """Vertices (count, stride)."""
    tail = max(stride, _TAIL_OF_ATTRIBUTES)
    if len(content) < 1 + tail or content[0] != 0xA0:
        raise MeshoptError("no stream of vertices in version 0")
    last = np.frombuffer(content, np.uint8)[len(content) - stride :].copy()
    end, position = len(content) - tail, 1
    most = min((8192 // stride) & ~(_GROUP - 1), 256)
    vertices = np.empty((count, stride), np.uint8)
    for first in range(0, count, most):
        size = min(most, count - first)
        for byte in range(stride):
            deltas, position = _deltas(content, position, end, size)
            column = (np.cumsum(deltas) + last[byte]).astype(np.uint8)
            vertices[first : first + size, byte] = column
            last[byte] = column[-1]
    if position != end:
        raise MeshoptError(f"{end - position} bytes are left")
    return vertices


def _deltas(content: bytes, position: int, end: int, size: int) -> tuple[NDArray[np.int64], int]:
    """Differences (size,) of one byte of the vertices of a block, and where the next begins."""
    groups = (size + _GROUP - 1) // _GROUP
    header, position = position, position + (groups + 3) // 4
    found = np.zeros(groups * _GROUP, np.int64)
    if position > end:
        raise MeshoptError("the stream ends early")
    for group in range(groups):
        mode = (content[header + group // 4] >> (2 * (group % 4))) & 3
        if mode == 0:
            continue
        packed = (0, 4, 8, 16)[mode]
        if position + packed > end:
            raise MeshoptError("the stream ends early")
        raw = np.frombuffer(content, np.uint8, packed, position)
        position += packed
        if mode == 3:
            values = raw.astype(np.int64)
        else:
            shifts = (6, 4, 2, 0) if mode == 1 else (4, 0)
            sentinel = 3 if mode == 1 else 15
            values = (
                np.stack([(raw >> shift) & sentinel for shift in shifts], axis=1).ravel().astype(np.int64)
            )
            large = np.flatnonzero(values == sentinel)
            if position + len(large) > end:
                raise MeshoptError("the stream ends early")
            values[large] = np.frombuffer(content, np.uint8, len(large), position)
            position += len(large)
        found[group * _GROUP : (group + 1) * _GROUP] = values
    return (found[:size] >> 1) ^ -(found[:size] & 1), position


class _Triangles:
    """A stream of triangles: codes that name recent edges and vertices."""

    def __init__(self, content: bytes, count: int) -> None:
        if len(content) < 1 + count + _TAIL_OF_TRIANGLES or content[0] != 0xE1:
            raise MeshoptError("no stream of triangles in version 1")
        self._content, self._count = content, count
        self._position, self._end = 1 + count, len(content) - _TAIL_OF_TRIANGLES
        self._edges: list[tuple[int, int]] = [(0, 0)] * 16
        self._vertices = [0] * 16
        self._edge = self._vertex = self._next = self._last = 0

    def decode(self) -> list[int]:
        """Three indices a triangle."""
        table = self._content[self._end :]
        found: list[int] = []
        for code in self._content[1 : 1 + self._count]:
            if code < 0xF0:
                found += self._beside_edge(code)
            else:
                found += self._alone(code, table[code & 15] if code < 0xFE else self._byte())
        if self._position != self._end:
            raise MeshoptError(f"{self._end - self._position} bytes are left")
        return found

    def _beside_edge(self, code: int) -> tuple[int, int, int]:
        a, b = self._edges[(self._edge - 1 - (code >> 4)) & 15]
        which = code & 15
        if which == 0:
            c = self._fresh()
        elif which < 13:
            c = self._vertices[(self._vertex - 1 - which) & 15]
        else:
            self._last = self._free() if which == 15 else self._last + (which - (which ^ 3))
            c = self._last
        if which == 0 or which >= 13:
            self._push_vertex(c)
        self._push_edge(c, b)
        self._push_edge(a, c)
        return a, b, c

    def _alone(self, code: int, pair: int) -> tuple[int, int, int]:
        kinds = [15 if code == 0xFF else 0, pair >> 4, pair & 15]
        if code >= 0xFE and pair == 0:
            self._next = 0
        corners = []
        for kind in kinds:
            if kind == 0:
                corners.append(self._fresh())
            else:
                corners.append(self._vertices[(self._vertex - kind) & 15])
        if code >= 0xFE:
            for place, kind in enumerate(kinds):
                if kind == 15:
                    self._last = corners[place] = self._free()
        for corner, kind in zip(corners, kinds, strict=True):
            if kind == 0 or (code >= 0xFE and kind == 15):
                self._push_vertex(corner)
        a, b, c = corners
        self._push_edge(b, a)
        self._push_edge(c, b)
        self._push_edge(a, c)
        return a, b, c

    def _fresh(self) -> int:
        self._next += 1
        return self._next - 1

    def _free(self) -> int:
        """An index told by its distance from the last such one."""
        value, self._position = _varint(self._content, self._position, self._end)
        return self._last + _zigzag(value)

    def _byte(self) -> int:
        if self._position >= self._end:
            raise MeshoptError("the stream ends early")
        self._position += 1
        return self._content[self._position - 1]

    def _push_vertex(self, vertex: int) -> None:
        self._vertices[self._vertex] = vertex
        self._vertex = (self._vertex + 1) & 15

    def _push_edge(self, a: int, b: int) -> None:
        self._edges[self._edge] = (a, b)
        self._edge = (self._edge + 1) & 15


def _indices(content: bytes, count: int) -> list[int]:
    """A stream of indices, each by its distance from one of the last two."""
    if len(content) < 1 + count + _TAIL_OF_INDICES or content[0] != 0xD1:
        raise MeshoptError("no stream of indices in version 1")
    end, position = len(content) - _TAIL_OF_INDICES, 1
    last, found = [0, 0], []
    for _ in range(count):
        value, position = _varint(content, position, end)
        last[value & 1] += _zigzag(value >> 1)
        found.append(last[value & 1])
    if position != end:
        raise MeshoptError(f"{end - position} bytes are left")
    return found


def _varint(content: bytes, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if position >= end:
            break
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise MeshoptError("a number does not end")


def _zigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _filtered(vertices: NDArray[np.uint8], name: Any, stride: int) -> bytes:
    if name == "NONE":
        return vertices.tobytes()
    if name == "OCTAHEDRAL" and stride in (4, 8):
        return _octahedral(vertices.view("<i1" if stride == 4 else "<i2"))
    if name == "QUATERNION" and stride == 8:
        return _quaternions(vertices.view("<i2"))
    if name == "EXPONENTIAL":
        packed = vertices.view("<i4")
        mantissa, exponent = (packed << 8) >> 8, packed >> 24
        values: NDArray[np.float64] = np.ldexp(mantissa.astype(np.float64), exponent)
        return values.astype("<f4").tobytes()
    raise MeshoptError(f"filter {name!r} of byteStride {stride}")


def _octahedral(packed: NDArray[Any]) -> bytes:
    """Unit vectors from the faces of an octahedron; the fourth number stays."""
    highest = float(np.iinfo(packed.dtype).max)
    x, y, one = (packed[:, axis].astype(np.float64) for axis in range(3))
    z = one - np.abs(x) - np.abs(y)
    fold = np.minimum(z, 0.0)
    x, y = x + np.where(x >= 0.0, fold, -fold), y + np.where(y >= 0.0, fold, -fold)
    vectors = np.stack((x, y, z), axis=1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unpacked = packed.copy()
    unpacked[:, :3] = np.round(vectors / np.maximum(lengths, 1e-12) * highest)
    return unpacked.tobytes()


def _quaternions(packed: NDArray[Any]) -> bytes:
    """Unit quaternions of which the largest number, whose place is told, is left out."""
    scale = np.sqrt(0.5) / (packed[:, 3].astype(np.int64) | 3)
    small = packed[:, :3].astype(np.float64) * scale[:, None]
    largest = np.sqrt(np.maximum(0.0, 1.0 - (small**2).sum(axis=1)))
    place = packed[:, 3].astype(np.int64) & 3
    unpacked = np.empty_like(packed)
    rows = np.arange(len(packed))
    for step, values in enumerate((largest, *small.T)):
        unpacked[rows, (place + step) & 3] = np.round(values * 32767.0)
    return unpacked.tobytes()
