"""Gives the layers of a vector tile another name, so that one kept tile serves the views that name its collection differently."""

from __future__ import annotations

from tiles.errors import VectorTileError

_LAYERS = 0x1A  # field 3 of a tile, length-delimited (Vector Tile Specification 2.1, 4.1)
_NAME = 0x0A  # field 1 of a layer


def renamed_layers(tile: bytes, name: str) -> bytes:
    """The tile with each layer named `name`; features, keys and values are copied as they are. Raises VectorTileError."""
    encoded = name.encode()
    field = b"\x0a" + _varint(len(encoded)) + encoded
    parts: list[bytes] = []
    position = 0
    while position < len(tile):
        if tile[position] != _LAYERS:
            raise VectorTileError(f"byte {position} of a vector tile begins no layer")
        length, start = _read_varint(tile, position + 1)
        position = start + length
        if position > len(tile):
            raise VectorTileError("a vector tile ends within a layer")
        begin, end = _name_at(tile, start, position)
        layer = length - (end - begin) + len(field)
        parts += (b"\x1a", _varint(layer), tile[start:begin], field, tile[end:position])
    return b"".join(parts)


def _name_at(tile: bytes, position: int, end: int) -> tuple[int, int]:
    """Where the name's field begins and ends within a layer's message."""
    while position < end:
        begin = position
        key, position = _read_varint(tile, position)
        wire_type = key & 7
        if wire_type == 2:
            length, position = _read_varint(tile, position)
            position += length
        elif wire_type == 0:
            _, position = _read_varint(tile, position)
        else:
            raise VectorTileError(f"a layer of a vector tile has a field of wire type {wire_type}")
        if key == _NAME:
            return begin, position
    raise VectorTileError("a layer of a vector tile has no name")


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise VectorTileError("a vector tile ends within a number")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
