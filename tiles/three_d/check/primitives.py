"""Primitives of a glTF mesh: attributes, indices, triangles, compressed ones too (glTF 2.0, clause 3.7)."""

from __future__ import annotations

from typing import Any, NamedTuple

import DracoPy
import numpy as np
from numpy.typing import NDArray

from tiles.three_d.check.accessors import COMPONENTS, Accessors, Values
from tiles.three_d.check.findings import FileFindings
from tiles.three_d.check.glb import Gltf, integer, is_index, object_of
from tiles.three_d.check.materials import texture_coordinates

# int8 normals are off by at most half a step in each axis.
_UNIT_TOLERANCE = 0.02
# Of a mesh's triangles: rounding makes some thin ones flat, more tell of a mistake.
_MOST_DEGENERATE = 0.5
_FEWEST_TO_JUDGE = 4
_FLOAT, _NORMALIZED = {"<f4"}, {"i1", "u1", "<i2", "<u2"}
_TYPES = {
    "POSITION": ("VEC3",),
    "NORMAL": ("VEC3",),
    "TANGENT": ("VEC4",),
    "TEXCOORD": ("VEC2",),
    "COLOR": ("VEC3", "VEC4"),
    "_FEATURE_ID": ("SCALAR",),
}
_KINDS = {
    "POSITION": _FLOAT,
    "NORMAL": _FLOAT,
    "TANGENT": _FLOAT,
    "TEXCOORD": _FLOAT | {"u1", "<u2"},
    "COLOR": _FLOAT | {"u1", "<u2"},
    "_FEATURE_ID": _FLOAT | {"u1", "<u2", "i1", "<i2"},
}
_QUANTIZED = {
    "POSITION": _NORMALIZED,
    "NORMAL": {"i1", "<i2"},
    "TANGENT": {"i1", "<i2"},
    "TEXCOORD": _NORMALIZED,
}


class Geometry(NamedTuple):
    """A primitive read back: vertices (n, 3) in its node's frame, and how far each may be off by its own rounding.

    `attributes` has every readable attribute; `steps` is 1 where positions are whole numbers, else the spacing of 32-bit
    floats at the farthest vertex.
    """

    positions: NDArray[np.float64]
    steps: float
    attributes: dict[str, Values]


def read_primitive(
    gltf: Gltf, accessors: Accessors, primitive: dict[str, Any], findings: FileFindings
) -> Geometry | None:
    """Check a primitive; None where it has no readable vertices."""
    stated = object_of(primitive, "attributes")
    decoded, corners = _decompressed(gltf, primitive, findings)
    attributes: dict[str, Values] = {}
    for name, number in stated.items():
        values = accessors.read(number, None if decoded is None else decoded.get(name))
        if values is not None:
            attributes[name] = values
            _check_type(gltf, name, number, findings, compressed=decoded is not None)
    positions = attributes.get("POSITION")
    if positions is None:
        findings.require("POSITION" in stated, "gltf-attributes", "a primitive has no POSITION")
        return None
    bounded = {"min", "max"} <= (gltf.entry("accessors", stated["POSITION"]) or {}).keys()
    findings.require(bounded, "gltf-accessor-bounds", "POSITION has no min and max")
    for name, values in attributes.items():
        same = len(values.values) == len(positions.values)
        findings.require(
            same,
            "gltf-attributes",
            f"{name} has {len(values.values)} of {len(positions.values)} vertices",
        )
        _check_values(name, values, findings)
    _check_material(gltf, primitive, stated, findings)
    if positions.values.shape[1] != 3:
        return None
    indices = _indices(gltf, accessors, primitive, len(positions.values), corners, findings)
    _check_triangles(primitive, positions.stored, indices, findings)
    if not np.isfinite(positions.values).all():
        return None
    findings.count("vertices", len(positions.values))
    return Geometry(positions.values.astype(np.float64), _steps(positions), attributes)


def _steps(positions: Values) -> float:
    if positions.stored.dtype.kind == "f":
        return float(np.spacing(np.float32(np.abs(positions.values).max())))
    return 1.0 / float(np.iinfo(positions.stored.dtype).max) if positions.normalized else 1.0


def _decompressed(
    gltf: Gltf, primitive: dict[str, Any], findings: FileFindings
) -> tuple[dict[str, NDArray[Any]] | None, NDArray[np.int64] | None]:
    """Attributes and indices of a Draco mesh (KHR_draco_mesh_compression); None where there is none."""
    packed = object_of(object_of(primitive, "extensions"), "KHR_draco_mesh_compression")
    if not packed:
        return None, None
    content = gltf.view(packed.get("bufferView"))
    if content is None:
        findings.add("gltf-draco", "the compressed mesh cannot be read")
        return {}, None
    try:
        mesh = DracoPy.decode(content)
    except (DracoPy.FileTypeException, ValueError, RuntimeError) as error:
        findings.add("gltf-draco", f"the compressed mesh cannot be decoded: {error}")
        return {}, None
    known = {entry["unique_id"]: entry["data"] for entry in mesh.attributes}
    found = {}
    for name, number in object_of(packed, "attributes").items():
        if findings.require(
            number in known, "gltf-draco", f"{name} is attribute {number!r}, which the mesh lacks"
        ):
            values = np.asarray(known[number])
            found[name] = values.reshape(len(values), -1)
    faces = getattr(mesh, "faces", None)
    return found, None if faces is None else np.asarray(faces, dtype=np.int64).reshape(-1)


def _check_type(gltf: Gltf, name: str, number: int, findings: FileFindings, *, compressed: bool) -> None:
    """Component types and shapes that the standard allows for an attribute, and its alignment."""
    accessor = gltf.list_of("accessors")[number]
    kind = COMPONENTS[accessor["componentType"]]
    plain = name if name in _TYPES else name.rstrip("0123456789").rstrip("_")
    if plain in _TYPES:
        allowed = _KINDS[plain]
        wide = _QUANTIZED.get(plain, set())
        findings.require(
            accessor["type"] in _TYPES[plain] and kind in allowed | wide,
            "gltf-attributes",
            f"{name} is {accessor['type']} of {kind}",
        )
        # The extension is what allows whole numbers (KHR_mesh_quantization).
        needed = kind not in allowed and not gltf.requires("KHR_mesh_quantization")
        findings.require(not needed, "gltf-extensions", f"{name} as {kind} needs KHR_mesh_quantization")
        if plain in ("TEXCOORD", "COLOR") and kind in ("u1", "<u2") and not needed:
            right = accessor.get("normalized") is True or gltf.requires("KHR_mesh_quantization")
            findings.require(right, "gltf-attributes", f"{name} as {kind} must be normalized")
    elif not name.startswith("_") and plain not in ("JOINTS", "WEIGHTS"):
        findings.add("gltf-attributes", f"{name} is no attribute of the standard, and does not start with _")
    if not compressed and "bufferView" in accessor:
        _check_step(gltf, name, accessor, findings)


def _check_step(gltf: Gltf, name: str, accessor: dict[str, Any], findings: FileFindings) -> None:
    """Vertex attributes start and step at multiples of four bytes (glTF 2.0, 3.6.2.4)."""
    view = gltf.list_of("bufferViews")[accessor["bufferView"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}.get(accessor["type"], 4)
    step = view.get("byteStride", width * np.dtype(COMPONENTS[accessor["componentType"]]).itemsize)
    aligned = accessor.get("byteOffset", 0) % 4 == 0 and step % 4 == 0
    findings.require(aligned, "gltf-alignment", f"{name} does not step at multiples of 4 bytes")
    findings.require(
        view.get("target", 34962) == 34962, "gltf-buffer-view", f"the view of {name} is not for vertices"
    )


def _check_values(name: str, values: Values, findings: FileFindings) -> None:
    if values.values.dtype.kind == "f":
        rule = "gltf-positions" if name == "POSITION" else "gltf-attributes"
        if not findings.require(
            bool(np.isfinite(values.values).all()), rule, f"a value of {name} is not a number"
        ):
            return
    if name in ("NORMAL", "TANGENT"):
        scale = float(np.iinfo(values.stored.dtype).max) if values.stored.dtype.kind == "i" else 1.0
        length = np.linalg.norm(values.stored[:, :3].astype(np.float64) / scale, axis=1)
        worst = float(np.abs(length - 1.0).max())
        rule = "gltf-normals" if name == "NORMAL" else "gltf-attributes"
        findings.require(worst < _UNIT_TOLERANCE, rule, f"a {name}'s length is off by {worst:.3f}")


def _check_material(
    gltf: Gltf, primitive: dict[str, Any], attributes: dict[str, Any], findings: FileFindings
) -> None:
    number = primitive.get("material")
    if number is None:
        return
    materials = gltf.list_of("materials")
    if findings.require(
        is_index(number, len(materials)), "gltf-material", f"a primitive points to material {number!r}"
    ):
        for one in sorted(texture_coordinates(materials[number])):
            findings.require(
                f"TEXCOORD_{one}" in attributes, "gltf-material", f"material {number} needs TEXCOORD_{one}"
            )


def _indices(
    gltf: Gltf,
    accessors: Accessors,
    primitive: dict[str, Any],
    count: int,
    decoded: NDArray[np.int64] | None,
    findings: FileFindings,
) -> NDArray[np.int64] | None:
    """The indices of a primitive's corners, those of a compressed mesh included; None where they cannot be read."""
    number = primitive.get("indices")
    if number is None:
        return np.arange(count)
    values = accessors.read(number, None if decoded is None else decoded[:, None])
    if values is None:
        return None
    accessor = gltf.list_of("accessors")[number]
    right = COMPONENTS[accessor["componentType"]] in ("u1", "<u2", "<u4") and accessor["type"] == "SCALAR"
    findings.require(right, "gltf-indices", "indices are no whole numbers above 0")
    view = gltf.entry("bufferViews", accessor.get("bufferView")) or {}
    findings.require(
        view.get("target", 34963) == 34963 and "byteStride" not in view,
        "gltf-buffer-view",
        "the view of indices is not for indices",
    )
    indices = values.stored[:, 0].astype(np.int64)
    highest = int(indices.max())
    inside = highest < count
    findings.require(inside, "gltf-indices", f"index {highest} of {count} vertices")
    return indices if inside and right else None


def _check_triangles(
    primitive: dict[str, Any], stored: NDArray[Any], indices: NDArray[np.int64] | None, findings: FileFindings
) -> None:
    mode = integer(primitive.get("mode", 4))
    findings.require(0 <= mode <= 6, "gltf-primitive", f"mode {primitive.get('mode')!r}")
    if indices is None:
        return
    if mode == 0:
        findings.count("points", len(indices))
    if mode == 4:
        whole = len(indices) % 3 == 0
        findings.require(whole, "gltf-indices", f"{len(indices)} corners are no triangles")
    if mode == 4 and whole:
        corners = indices.reshape(-1, 3)
    elif mode == 5 and len(indices) >= 3:
        corners = np.stack((indices[:-2], indices[1:-1], indices[2:]), axis=1)
    elif mode == 6 and len(indices) >= 3:
        corners = np.stack((np.full(len(indices) - 2, indices[0]), indices[1:-1], indices[2:]), axis=1)
    else:
        return
    findings.count("triangles", len(corners))
    _check_flat(stored, corners, findings, joined=mode == 5)


def _check_flat(
    stored: NDArray[Any], corners: NDArray[np.int64], findings: FileFindings, *, joined: bool
) -> None:
    """The share of triangles without an area. Strips use some to go from one part to the next."""
    a, b, c = (stored[corners[:, corner]].astype(np.float64) for corner in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    share = float((area == 0.0).mean())
    message = f"{share:.0%} of {len(corners)} triangles have no area"
    if share > _MOST_DEGENERATE and len(corners) >= _FEWEST_TO_JUDGE and not joined:
        findings.add("gltf-degenerate", message)
    elif share > 0.01 and not joined:
        findings.remark("gltf-degenerate", message)
