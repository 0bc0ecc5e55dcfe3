"""Find truncation where a file's own header or last bytes tell, before anything is read of it."""

from __future__ import annotations

import re

from server.publish.errors import DamagedFile
from server.publish.inputs import Input
from server.publish.text_encoding import beside

_ROOT_END = re.compile(rb"</([\w.-]+:)?(kml|FeatureCollection)\s*>$")


def check_complete(item: Input) -> None:
    """Raises DamagedFile where the file is shorter than it says, lacks a part, or is XML with a document type."""
    size = item.path.stat().st_size
    with item.path.open("rb") as file:
        head = file.read(65_536)
        file.seek(max(0, size - 4096))
        tail = file.read().rstrip(b" \t\r\n\x00")
    expected = 0
    if item.format.driver in ("GPKG", "SQLite"):
        page = int.from_bytes(head[16:18], "big")
        expected = (65_536 if page == 1 else page) * int.from_bytes(head[28:32], "big")
    elif item.format.driver == "ESRI Shapefile":
        expected = 2 * int.from_bytes(head[24:28], "big")
        if beside(item.path, ".shx") is None:
            raise DamagedFile(
                f"{item.name} lacks its index, {item.path.stem}.shx. Give all parts of the Shapefile."
            )
    if size < expected:
        raise DamagedFile(
            f"{item.name} is truncated: its header tells of {expected:,} bytes, the file has {size:,}."
        )
    if item.format.driver in ("KML", "GML"):
        if re.search(rb"<!(DOCTYPE|ENTITY)", head):
            raise DamagedFile(
                f"{item.name} has a document type declaration, which is refused: it may define entities."
            )
        if not _ROOT_END.search(tail):
            raise DamagedFile(f"{item.name} is truncated: its root element is not closed.")
