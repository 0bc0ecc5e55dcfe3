"""The glb of a tile as the resources of an I3S node: a geometry buffer, attributes, maybe a texture.

Geometry buffer (uncompressed): uint32 vertex count, uint32 feature count, then float32 positions (degrees, degrees, metres from the
node's centre), float32 normals (in ECEF), float32 texture coordinates, uint8 colours, then per feature uint64 ids and uint32 first and last
triangle. Triangles lie feature by feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyproj
from numpy.typing import NDArray

from tiles.three_d.attributes import PropertyColumn, PropertyTable
from tiles.three_d.i3s.nodes import NodeMesh
from tiles.three_d.i3s.textures import PartTexture, one_texture
from tiles.three_d.mesh import Mesh
from tiles.three_d.objects import MeshPart, Texture
from tiles.three_d.read_glb import TileContents, flattened, read_glb

_MATERIALS = {None: 0, "image/jpeg": 1, "image/png": 2}
_TRANSLUCENT = 3
"""What is added to the number of a material definition of a layer where something is seen through."""

type Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NodeContent:
    """A tile's resources. `first_id` is the object id of row 0 of `table`; `rows` (f,) the rows of its features, rising."""

    vertex_count: int
    geometry: bytes
    rows: NDArray[np.int64]
    first_id: int
    table: PropertyTable | None
    texture: Texture | None
    translucent: bool

    @property
    def mesh(self) -> NodeMesh:
        """What a node page tells of it."""
        material = _MATERIALS[None if self.texture is None else self.texture.media_type]
        if self.translucent:
            material += _TRANSLUCENT
        return NodeMesh(self.vertex_count, len(self.rows), material)

    def object_ids(self) -> bytes:
        """The attribute of object ids: uint32 count, uint32 values."""
        ids = (self.first_id + self.rows).astype("<u4")
        return len(ids).to_bytes(4, "little") + ids.tobytes()

    def attribute(self, identifier: str, *, numeric: bool) -> bytes:
        """A column by its id in the tileset. Numbers: uint32 count, 4 bytes of padding, float64 values (NaN for none). Texts: uint32
        count, uint32 bytes of all, uint32 bytes of each with its closing zero, the texts."""
        column = None
        if self.table is not None:
            column = next((one for one in self.table.columns if one.id == identifier), None)
        count = len(self.rows)
        if numeric:
            values = np.full(count, np.nan) if column is None else _numbers(column)[self.rows]
            return count.to_bytes(4, "little") + bytes(4) + values.astype("<f8").tobytes()
        texts = (
            [b"" for _ in range(count)]
            if column is None
            else [_text(column, row) for row in self.rows.tolist()]
        )
        texts = [text + b"\x00" for text in texts]
        sizes = np.array([len(text) for text in texts], dtype="<u4")
        return (
            count.to_bytes(4, "little")
            + int(sizes.sum()).to_bytes(4, "little")
            + sizes.tobytes()
            + b"".join(texts)
        )


def node_content(glb: bytes, centre: tuple[float, float, float], resource: int) -> NodeContent | None:
    """The resources of a tile whose node has this centre (degrees, m) and resource number; None where nothing is drawn.

    Raises GlbError where the glb is broken.
    """
    contents = read_glb(glb)
    parts = [part for part in flattened(contents.parts) if len(part.mesh.triangles)]
    if not parts:
        return None
    texture, drawn = one_texture(parts)
    columns = [_corners(part, contents, centre, look) for part, look in zip(parts, drawn, strict=True)]
    position, normal, coordinate, colour, feature = (
        np.concatenate(column) for column in zip(*columns, strict=True)
    )
    order = np.argsort(feature[::3], kind="stable")
    corners = (order[:, None] * 3 + np.arange(3)).ravel()
    rows, starts = np.unique(feature[::3][order], return_index=True)
    ends = np.r_[starts[1:], len(order)] - 1
    first_id = _first_id(resource)
    count = len(corners)
    geometry = b"".join(
        (
            count.to_bytes(4, "little"),
            len(rows).to_bytes(4, "little"),
            position[corners].astype("<f4").tobytes(),
            normal[corners].astype("<f4").tobytes(),
            coordinate[corners].astype("<f4").tobytes(),
            colour[corners].tobytes(),
            (first_id + rows).astype("<u8").tobytes(),
            np.column_stack((starts, ends)).astype("<u4").tobytes(),
        )
    )
    translucent = bool((colour[:, 3] < 255).any())
    return NodeContent(count, geometry, rows, first_id, contents.table, texture, translucent)


def _first_id(resource: int) -> int:
    """Object ids differ over the layer: 16 bits for the node and 16 for the row, of which a tile never holds more."""
    return (resource << 16) & 0xFFFF_FFFF


def _corners(
    part: MeshPart, contents: TileContents, centre: tuple[float, float, float], look: PartTexture
) -> tuple[Floats, Floats, Floats, NDArray[np.uint8], NDArray[np.int64]]:
    """Per corner of each triangle: position, normal, texture coordinate, colour, feature."""
    mesh = part.mesh
    rows = mesh.triangles.ravel()
    ecef = contents.frame.to_ecef(mesh.positions)
    longitude, latitude, height = _geodetic().transform(ecef[:, 0], ecef[:, 1], ecef[:, 2])
    offset = np.column_stack(
        ((longitude - centre[0] + 180.0) % 360.0 - 180.0, latitude - centre[1], height - centre[2])
    )
    alpha = part.material.colour[3]
    shade = part.material.colour if look.colour is None else (*look.colour, alpha)
    colours = np.broadcast_to(np.array(_bytes(shade), dtype=np.uint8), (len(rows), 4))
    if mesh.classes is not None and mesh.palette and look.colour is None:
        colours = _of_classes(mesh, alpha)[rows]
    features = np.maximum(mesh.feature_ids[rows], 0)
    return (
        offset[rows],
        (mesh.normals @ contents.frame.axes)[rows],
        look.coordinates[rows],
        np.ascontiguousarray(colours),
        features,
    )


def _of_classes(mesh: Mesh, alpha: float) -> NDArray[np.uint8]:
    assert mesh.classes is not None
    shades = np.array([_bytes((*entry.colour, alpha)) for entry in mesh.palette], dtype=np.uint8)
    return np.asarray(shades[mesh.classes])


def _bytes(colour: tuple[float, float, float, float]) -> list[int]:
    """Linear red, green, blue and alpha as the sRGB bytes that I3S has (IEC 61966-2-1)."""
    light = np.clip(np.array(colour[:3]), 0.0, 1.0)
    shown = np.where(
        light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 1e-9) ** (1.0 / 2.4) - 0.055
    )
    return [*np.rint(shown * 255.0).astype(int).tolist(), round(colour[3] * 255.0)]


def _numbers(column: PropertyColumn) -> Floats:
    if column.offsets is not None:
        return np.full(len(column.offsets) - 1, np.nan)
    values = column.values.astype(np.float64)
    missing = column.schema.get("noData")
    if missing is not None:
        values[column.values == missing] = np.nan
    return values


def _text(column: PropertyColumn, row: int) -> bytes:
    if column.offsets is not None:
        return column.values[column.offsets[row] : column.offsets[row + 1]].tobytes()
    value = column.values[row].item()
    if value == column.schema.get("noData"):
        return b""
    return str(value).lower().encode() if isinstance(value, bool) else str(value).encode()


def _geodetic() -> pyproj.Transformer:
    return pyproj.Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
