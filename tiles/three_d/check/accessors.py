"""Accessors of a glTF asset: values, bounds, alignment (glTF 2.0, clause 3.6.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.glb import MESHOPT, Gltf, integer, object_of

COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
# More is a mistake, or an attack.
_MOST_VALUES = 1 << 27
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}


class Values(NamedTuple):
    """An accessor's values (count, width) as they are meant: normalized integers are divided. `stored` are those of the file."""

    values: NDArray[Any]
    stored: NDArray[Any]
    normalized: bool


class Accessors:
    """Reads accessors, each once."""

    def __init__(self, gltf: Gltf, findings: FileFindings) -> None:
        self._gltf, self._findings = gltf, findings
        self._read: dict[int, Values | None] = {}

    def read(self, number: Any, decoded: NDArray[Any] | None = None) -> Values | None:
        """The values of an accessor; None, and a finding, where they cannot be read.

        `decoded` (count, width) is what a compressed mesh has for it.
        """
        accessor = self._gltf.entry("accessors", number)
        if accessor is None:
            self._findings.add("gltf-accessor", f"accessor {number!r} does not exist")
            return None
        if number not in self._read:
            self._read[number] = self._values(number, accessor, decoded)
        return self._read[number]

    def _values(self, number: int, accessor: dict[str, Any], decoded: NDArray[Any] | None) -> Values | None:
        kind, width = (
            COMPONENTS.get(integer(accessor.get("componentType"))),
            _WIDTHS.get(str(accessor.get("type"))),
        )
        count = integer(accessor.get("count"))
        if kind is None or width is None or not 1 <= count <= _MOST_VALUES:
            self._findings.add("gltf-accessor", f"accessor {number} has no readable type, or no values")
            return None
        if decoded is not None:
            stored: NDArray[Any] | None = self._decoded(number, decoded, count, width)
        elif "bufferView" in accessor:
            stored = self._view(number, accessor, np.dtype(kind), width, count)
        else:
            stored = np.zeros((count, width), kind)
        if stored is not None and "sparse" in accessor:
            stored = self._sparse(number, object_of(accessor, "sparse"), stored)
        if stored is None:
            return None
        if decoded is None:
            self._check_bounds(accessor, stored, number)
        normalized = accessor.get("normalized") is True
        return Values(_meant(stored, normalized), stored, normalized)

    def _decoded(self, number: int, decoded: NDArray[Any], count: int, width: int) -> NDArray[Any] | None:
        right = decoded.shape == (count, width)
        self._findings.require(
            right, "gltf-draco", f"accessor {number} says {count} x {width}, decoded are {decoded.shape}"
        )
        return decoded if right else None

    def _view(
        self, number: int, accessor: dict[str, Any], kind: np.dtype[Any], width: int, count: int
    ) -> NDArray[Any] | None:
        content = self._gltf.view(accessor["bufferView"])
        view = self._gltf.entry("bufferViews", accessor["bufferView"])
        if content is None or view is None:
            self._findings.add("gltf-accessor", f"accessor {number} has no readable buffer view")
            return None
        item, offset = kind.itemsize, integer(accessor.get("byteOffset", 0))
        stride = integer(view.get("byteStride", item * width))
        for name in MESHOPT:
            stride = integer(object_of(object_of(view, "extensions"), name).get("byteStride", stride))
        aligned = (offset + integer(view.get("byteOffset", 0))) % item == 0 == offset % item
        self._findings.require(
            aligned, "gltf-alignment", f"accessor {number} starts at byte {offset}, not n x {item}"
        )
        needed = offset + stride * (count - 1) + item * width
        fits = offset >= 0 and item * width <= stride and needed <= len(content)
        if not self._findings.require(
            fits, "gltf-accessor-range", f"accessor {number} needs {needed} bytes of a view of {len(content)}"
        ):
            return None
        values: NDArray[Any] = np.ndarray((count, width), kind, content, offset, (stride, item))
        return values

    def _sparse(self, number: int, sparse: dict[str, Any], values: NDArray[Any]) -> NDArray[Any] | None:
        """The values with those replaced that the sparse part names (clause 3.6.2.3)."""
        count = integer(sparse.get("count"))
        where, what = object_of(sparse, "indices"), object_of(sparse, "values")
        kind = COMPONENTS.get(integer(where.get("componentType")))
        index_bytes, value_bytes = (self._gltf.view(part.get("bufferView")) for part in (where, what))
        size = count * values.shape[1] * values.dtype.itemsize
        start, first = integer(where.get("byteOffset", 0)), integer(what.get("byteOffset", 0))
        if (
            kind not in ("u1", "<u2", "<u4")
            or index_bytes is None
            or value_bytes is None
            or count < 1
            or min(start, first) < 0
            or start + count * np.dtype(kind).itemsize > len(index_bytes)
            or first + size > len(value_bytes)
        ):
            self._findings.add("gltf-sparse", f"accessor {number}: its sparse part cannot be read")
            return None
        indices = np.frombuffer(index_bytes, kind, count, start).astype(np.int64)
        rising = bool((np.diff(indices) > 0).all() and indices[-1] < len(values))
        if not self._findings.require(
            rising, "gltf-sparse", f"accessor {number}: sparse indices do not rise below {len(values)}"
        ):
            return None
        replaced = values.copy()
        replaced[indices] = np.frombuffer(value_bytes, values.dtype, count * values.shape[1], first).reshape(
            count, -1
        )
        return replaced

    def _check_bounds(self, accessor: Mapping[str, Any], values: NDArray[Any], number: int) -> None:
        for name in ("min", "max"):
            stated = accessor.get(name)
            if stated is None:
                continue
            found = values.min(axis=0) if name == "min" else values.max(axis=0)
            try:
                bound = np.asarray(stated, dtype=np.float64)
            except (TypeError, ValueError):
                bound = np.empty(0)
            if bound.shape != found.shape or not np.array_equal(
                bound.astype(np.float32) if found.dtype.kind == "f" else bound, found
            ):
                self._findings.add(
                    "gltf-accessor-bounds", f"accessor {number} says {name} {stated}, it is {found.tolist()}"
                )


def _meant(stored: NDArray[Any], normalized: bool) -> NDArray[Any]:
    """Normalized integers as the decimals they stand for (clause 3.11)."""
    if not normalized or stored.dtype.kind == "f":
        return stored
    highest = float(np.iinfo(stored.dtype).max)
    meant: NDArray[Any] = np.maximum(stored.astype(np.float64) / highest, -1.0)
    return meant
