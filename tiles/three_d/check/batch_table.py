"""Feature tables and batch tables of 3D Tiles 1.0: JSON whose members may lie in a binary part."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tiles.three_d.check.findings import FileFindings

_KINDS = {
    "BYTE": "i1",
    "UNSIGNED_BYTE": "u1",
    "SHORT": "<i2",
    "UNSIGNED_SHORT": "<u2",
    "INT": "<i4",
    "UNSIGNED_INT": "<u4",
    "FLOAT": "<f4",
    "DOUBLE": "<f8",
}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


class TableReader:
    """A table's JSON with its binary part. What cannot be read is found, and missing."""

    def __init__(self, text: bytes, binary: bytes, name: str, findings: FileFindings) -> None:
        self._binary, self._name, self._findings = binary, name, findings
        self.members: dict[str, Any] = {}
        if text:
            try:
                document = orjson.loads(text.rstrip(b" \0"))
            except orjson.JSONDecodeError as error:
                findings.add("table-json", f"{name}: {error}")
                return
            if findings.require(isinstance(document, dict), "table-json", f"{name}: no object"):
                self.members = document

    def whole(self, name: str) -> int | None:
        """A whole number of at least 0, in the JSON or in the binary part."""
        value = self.members.get(name)
        if isinstance(value, dict):
            found = self.column(name, 1, "UNSIGNED_INT", 1)
            return None if found is None else int(found[0, 0])
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    def flag(self, name: str) -> bool:
        """Whether a member is true."""
        return self.members.get(name) is True

    def extension(self, name: str) -> Any:
        """A member of `extensions`, None where it is missing."""
        extensions = self.members.get("extensions")
        return extensions.get(name) if isinstance(extensions, dict) else None

    def vector(self, name: str) -> NDArray[np.float64] | None:
        """Three numbers, in the JSON or in the binary part; None where there are none."""
        value = self.members.get(name)
        if value is None:
            return None
        if isinstance(value, dict):
            found = self.column(name, 1, "FLOAT", 3)
            return None if found is None else found[0]
        try:
            numbers = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            numbers = np.empty(0)
        right = numbers.shape == (3,) and bool(np.isfinite(numbers).all())
        self._findings.require(right, "table-values", f"{self._name}: {name} is not three numbers")
        return numbers if right else None

    def column(self, name: str, count: int, kind: str, width: int) -> NDArray[np.float64] | None:
        """`count` rows of `width` numbers; None where there are none, or, with a finding, where they cannot be read."""
        stated = self.members.get(name)
        if stated is None:
            return None
        if isinstance(stated, list):
            numbers = np.asarray(stated, dtype=np.float64)
            right = numbers.size == count * width
            self._findings.require(
                right, "table-values", f"{self._name}: {name} has {numbers.size} numbers, not {count * width}"
            )
            return numbers.reshape(count, width) if right else None
        kind = stated.get("componentType", kind) if isinstance(stated, dict) else kind
        offset = stated.get("byteOffset") if isinstance(stated, dict) else None
        item = np.dtype(_KINDS.get(kind, "u1"))
        if kind not in _KINDS or not isinstance(offset, int) or offset < 0:
            self._findings.add("table-values", f"{self._name}: {name} is {stated!r}")
            return None
        self._findings.require(
            offset % item.itemsize == 0,
            "table-alignment",
            f"{self._name}: {name} starts at byte {offset}, not n x {item.itemsize}",
        )
        if not self._findings.require(
            offset + count * width * item.itemsize <= len(self._binary),
            "table-values",
            f"{self._name}: {name} of {count} rows runs out of {len(self._binary)} bytes",
        ):
            return None
        found = np.frombuffer(self._binary, item, count * width, offset)
        return found.reshape(count, width).astype(np.float64)


def check_batch_table(text: bytes, binary: bytes, count: int, findings: FileFindings) -> None:
    """Every property of a batch table has a value for each of `count` features."""
    table = TableReader(text, binary, "batch table", findings)
    for name, value in table.members.items():
        if name in ("extensions", "extras", "HIERARCHY"):
            continue
        if isinstance(value, list):
            findings.require(
                len(value) == count, "table-values", f"batch table: {name} has {len(value)} of {count} values"
            )
        elif isinstance(value, dict) and value.get("type") in _WIDTHS:
            table.column(name, count, "", _WIDTHS[value["type"]])
        else:
            findings.add("table-values", f"batch table: {name} is {str(value)[:80]}")
