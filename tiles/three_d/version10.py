"""Tiles as 3D Tiles 1.0 has them: b3dm, i3dm and cmpt (OGC 18-053r2, clauses 9 to 11).

Geometry becomes 32-bit floats around RTC_CENTER, for clients of that time know no quantisation; attributes become a batch table.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.attributes import PropertyColumn, PropertyTable
from tiles.three_d.errors import GlbError
from tiles.three_d.glb import gather
from tiles.three_d.glb_buffer import GlbBuffer, pack_glb
from tiles.three_d.glb_materials import GlbMaterials
from tiles.three_d.glb_nodes import rotation_matrices
from tiles.three_d.glb_primitives import PLAIN, lay_out, write_model_primitive, write_primitive
from tiles.three_d.objects import InstancePart, MeshPart
from tiles.three_d.placement import LocalFrame
from tiles.three_d.read_glb import TileContents, read_glb

_COMPONENTS = {
    "i1": "BYTE",
    "u1": "UNSIGNED_BYTE",
    "i2": "SHORT",
    "u2": "UNSIGNED_SHORT",
    "i4": "INT",
    "u4": "UNSIGNED_INT",
    "f4": "FLOAT",
    "f8": "DOUBLE",
}


def version10_tile(content: bytes, *, composite: bool = False) -> bytes:
    """A tile of 3D Tiles 1.0 for a .glb: b3dm, i3dm, or cmpt where it has meshes and instances, or several models.

    `composite`: always a cmpt, so that all contents of a tileset can have one name. Raises GlbError.
    """
    contents = read_glb(content)
    meshes = [part for part in contents.parts if isinstance(part, MeshPart)]
    instances = [part for part in contents.parts if isinstance(part, InstancePart)]
    tiles = [_b3dm(contents, meshes)] if meshes else []
    tiles += [_i3dm(contents, part) for part in instances]
    if not tiles:
        raise GlbError("the tile draws no triangles")
    return tiles[0] if len(tiles) == 1 and not composite else _cmpt(tiles)


def _b3dm(contents: TileContents, parts: list[MeshPart]) -> bytes:
    count = contents.table.count if contents.table is not None else 0
    features = _document({"BATCH_LENGTH": count, "RTC_CENTER": contents.frame.origin.tolist()}, 28)
    batch, binary = _batch_table(contents.table)
    glb = _model(parts, contents.frame, contents.attribution, batched=count > 0)
    return _tile(b"b3dm", b"", [features, b"", batch, binary], glb)


def _i3dm(contents: TileContents, part: InstancePart) -> bytes:
    """One model at many places. NORMAL_RIGHT and NORMAL_UP are the model's x and y axes after it was turned z up."""
    axes = rotation_matrices(part.rotations)
    to_globe = contents.frame.axes
    columns: list[tuple[str, NDArray[Any]]] = [
        ("POSITION", (part.positions @ to_globe).astype("<f4")),
        ("NORMAL_RIGHT", (axes[:, :, 0] @ to_globe).astype("<f4")),
        ("NORMAL_UP", (axes[:, :, 1] @ to_globe).astype("<f4")),
        ("SCALE_NON_UNIFORM", part.scales.astype("<f4")),
    ]
    table = None
    if contents.table is not None and int(part.feature_ids.min()) >= 0:
        # A row an instance: readers take the batch table to be as long as that.
        table = contents.table.take(part.feature_ids)
        kind = "<u2" if table.count <= 0xFFFF else "<u4"
        columns.append(("BATCH_ID", np.arange(table.count, dtype=kind)))
    described: dict[str, Any] = {
        "INSTANCES_LENGTH": len(part.positions),
        "RTC_CENTER": contents.frame.origin.tolist(),
    }
    binary = bytearray()
    for name, values in columns:
        described[name] = {"byteOffset": len(binary)}
        binary += values.tobytes()
    if "BATCH_ID" in described:
        described["BATCH_ID"]["componentType"] = _COMPONENTS[columns[-1][1].dtype.str[1:]]
    binary += b"\x00" * (-len(binary) % 8)
    batch, batch_binary = _batch_table(table)
    glb = _model(list(part.model), None, contents.attribution, batched=False)
    sections = [_document(described, 32), bytes(binary), batch, batch_binary]
    return _tile(b"i3dm", (1).to_bytes(4, "little"), sections, glb)


def _cmpt(tiles: list[bytes]) -> bytes:
    body = b"".join(tiles)
    head = b"cmpt" + (1).to_bytes(4, "little") + (16 + len(body)).to_bytes(4, "little")
    return head + len(tiles).to_bytes(4, "little") + body


def _tile(magic: bytes, extra: bytes, sections: list[bytes], glb: bytes) -> bytes:
    """Header, feature table, batch table and glb; every part is padded already, for all start at multiples of 8 bytes."""
    body = b"".join(sections) + glb + b"\x00" * (-len(glb) % 8)
    length = 28 + len(extra) + len(body)
    lengths = b"".join(len(section).to_bytes(4, "little") for section in sections)
    return magic + (1).to_bytes(4, "little") + length.to_bytes(4, "little") + lengths + extra + body


def _document(document: dict[str, Any], start: int) -> bytes:
    """JSON that starts at byte `start` of a tile, filled with spaces so that what follows starts at a multiple of 8."""
    text = orjson.dumps(document)
    return text + b" " * (-(start + len(text)) % 8)


def _batch_table(table: PropertyTable | None) -> tuple[bytes, bytes]:
    """Batch table, JSON and binary: numbers without gaps in the binary part, the rest as JSON with null for what is missing."""
    if table is None or not table.columns:
        return b"", b""
    document: dict[str, Any] = {}
    binary = bytearray()
    for column in table.columns:
        component = _COMPONENTS.get(column.values.dtype.str[1:]) if column.offsets is None else None
        if component is None or _is_missing(column).any():
            document[column.id] = _listed(column)
            continue
        binary += b"\x00" * (-len(binary) % 8)
        document[column.id] = {"byteOffset": len(binary), "componentType": component, "type": "SCALAR"}
        binary += column.values.tobytes()
    binary += b"\x00" * (-len(binary) % 8)
    return _document(document, 0), bytes(binary)


def _is_missing(column: PropertyColumn) -> NDArray[np.bool_]:
    """Rows of a column of numbers without a value (n,)."""
    missing = (
        ~np.isfinite(column.values) if column.values.dtype.kind == "f" else column.values != column.values
    )
    sentinel = column.schema.get("noData")
    if isinstance(sentinel, int | float):
        missing = missing | (column.values == np.asarray(sentinel).astype(column.values.dtype))
    return np.asarray(missing)


def _listed(column: PropertyColumn) -> list[Any]:
    """A column as JSON values."""
    if column.offsets is None:
        if column.values.dtype == np.bool_:
            return list(column.values.tolist())
        pairs = zip(column.values.tolist(), _is_missing(column).tolist(), strict=True)
        return [None if missing else value for value, missing in pairs]
    text, limits = column.values.tobytes(), column.offsets.tolist()
    nothing = column.schema.get("noData")
    values = [text[start:stop].decode("utf-8", "replace") for start, stop in pairwise(limits)]
    return [None if value == nothing else value for value in values]


def _model(parts: list[MeshPart], frame: LocalFrame | None, attribution: str, *, batched: bool) -> bytes:
    """The glb inside a tile: turned as the frame is, but around RTC_CENTER; without a frame a model for instances."""
    buffer = GlbBuffer()
    materials = GlbMaterials(buffer)
    primitives = []
    for part in gather(parts) if frame is not None else parts:
        if frame is None:
            primitives.append(write_model_primitive(buffer, materials, part, plain=True))
            continue
        rows = np.arange(len(part.mesh.palette)) if part.mesh.classes is not None else None
        named = part
        if not batched:
            named = replace(part, mesh=replace(part.mesh, feature_ids=np.zeros_like(part.mesh.feature_ids)))
        primitives.append(
            write_primitive(buffer, materials, lay_out(named), PLAIN, rows, ids_name="_BATCHID")
        )
    used = sorted({"EXT_texture_webp"} & materials.extensions)
    document = {
        "asset": {
            "version": "2.0",
            "generator": "chengtu",
            **({"copyright": attribution} if attribution else {}),
        },
        **({"extensionsUsed": used, "extensionsRequired": used} if used else {}),
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0} if frame is None else {"mesh": 0, "rotation": frame.node_transform()[1]}],
        "meshes": [{"primitives": primitives}],
        **materials.described(),
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    return pack_glb(orjson.dumps(document), bytes(buffer.data))
