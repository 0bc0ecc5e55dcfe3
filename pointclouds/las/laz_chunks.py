"""The layout of a layered LAZ chunk, checked before the codec believes it.

A chunk of point format 6-10 begins with its first point as it is, then a count and one 32-bit length for every
layer. A codec makes room for a layer before it reads it: a damaged length asks for four gigabytes.
"""

import struct
from typing import BinaryIO, Final

import lazrs

from pointclouds.errors import UnreadablePointCloudError

# xy and returns, z, classification, flags, intensity, scan angle, user data, point source, GPS time; then
# red-green-blue, infrared and the wave packet where the format has them.
_LAYERS: Final = {6: 9, 7: 10, 8: 11, 9: 10, 10: 12}
_STANDARD_BYTES: Final = {6: 30, 7: 36, 8: 38, 9: 59, 10: 67}


def head_size(point_format: int, record_length: int) -> int:
    """Bytes of a chunk before its first layer. Every extra byte is a layer of its own."""
    layers = _LAYERS[point_format] + record_length - _STANDARD_BYTES[point_format]
    return record_length + 4 + 4 * layers


def require_sound_layers(
    head: bytes, chunk_bytes: int, point_format: int, record_length: int, name: str
) -> int:
    """Compare the lengths of a chunk's layers with the chunk's own. Returns the chunk's count of points.

    Raises:
        UnreadablePointCloudError: they do not add up; `name` is the file's.
    """
    size = head_size(point_format, record_length)
    if len(head) < size:
        raise UnreadablePointCloudError(f"{name} is cut off inside the head of a LAZ chunk")
    count, *lengths = struct.unpack_from(f"<{(size - record_length) // 4}I", head, record_length)
    if size + sum(lengths) != chunk_bytes:
        raise UnreadablePointCloudError(
            f"{name} is corrupt: the layers of a LAZ chunk of {chunk_bytes} bytes add up to {size + sum(lengths)}"
        )
    return int(count)


def check_all_chunks(
    stream: BinaryIO, name: str, *, start: int, laszip: bytes, point_format: int, record_length: int
) -> None:
    """Check every chunk of a layered LAZ file whose points begin at byte `start`; other formats have no layers.

    Raises:
        UnreadablePointCloudError: a chunk, or the table of chunks, is damaged.
    """
    if point_format not in _LAYERS:
        return
    stream.seek(start)
    table = lazrs.read_chunk_table(stream, lazrs.LazVlr(laszip))
    position = start + 8
    size = head_size(point_format, record_length)
    for _, chunk_bytes in table:
        stream.seek(position)
        require_sound_layers(stream.read(size), chunk_bytes, point_format, record_length, name)
        position += chunk_bytes
