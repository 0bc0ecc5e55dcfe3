"""What every point of a tile carries besides its place and colour: dimensions as property attributes (EXT_structural_metadata)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pointclouds.las.dimensions import Dimension
from pointclouds.las.layout import Records

POINT_CLASS: Final = "point"
DEFAULT: Final = (
    "Classification",
    "Intensity",
    "ReturnNumber",
    "NumberOfReturns",
    "GpsTime",
    "PointSourceId",
)
"""What points carry unless a request names other dimensions."""
_TITLES: Final[Mapping[str, tuple[str, str]]] = {
    "Intensity": ("Intensity", "强度"),
    "ReturnNumber": ("Return number", "回波序号"),
    "NumberOfReturns": ("Number of returns", "回波总数"),
    "Synthetic": ("Synthetic", "合成点"),
    "KeyPoint": ("Key point", "关键点"),
    "Withheld": ("Withheld", "剔除点"),
    "Overlap": ("Overlap", "重叠点"),
    "ScannerChannel": ("Scanner channel", "扫描通道"),
    "ScanDirectionFlag": ("Scan direction", "扫描方向"),
    "EdgeOfFlightLine": ("Edge of flight line", "航线边缘"),
    "Classification": ("Class", "类别"),
    "UserData": ("User data", "用户数据"),
    "ScanAngle": ("Scan angle", "扫描角"),
    "PointSourceId": ("Flight line", "航线号"),
    "GpsTime": ("GPS time", "GPS 时间"),
    "Red": ("Red", "红"),
    "Green": ("Green", "绿"),
    "Blue": ("Blue", "蓝"),
    "Infrared": ("Near infrared", "近红外"),
}
_COMPONENTS: Final[Mapping[str, tuple[str, int]]] = {
    "u1": ("UINT8", 5121),
    "i1": ("INT8", 5120),
    "u2": ("UINT16", 5123),
    "i2": ("INT16", 5122),
    "f4": ("FLOAT32", 5126),
}
"""numpy kind -> component type of the metadata and of glTF: all that a vertex attribute may be."""


@dataclass(frozen=True)
class PointAttribute:
    """One dimension as tiles carry it.

    `id` names the property, `attribute` the vertex attribute, `kind` the numpy kind ("u1", "u2", "i1", "i2", "f4"). `base` is
    subtracted from what is carried: GPS times need more than 32 bits, their differences seldom.
    """

    dimension: Dimension
    id: str
    attribute: str
    kind: str
    base: float = 0.0

    @property
    def component(self) -> int:
        """glTF's number of the component type."""
        return _COMPONENTS[self.kind][1]

    def column(self, records: Records) -> npt.NDArray[Any]:
        """(n,) what is carried."""
        values: npt.NDArray[Any] = self.dimension.values(records)
        if self.base:
            values = values - self.base
        if self.kind == "f4":
            with np.errstate(over="ignore"):
                return values.astype(np.float32)
        return values.astype(self.kind, copy=False)

    def schema(self) -> dict[str, Any]:
        """The class property."""
        name = self.dimension.name
        english, chinese = _TITLES.get(name, (name, ""))
        titles = {"en": english, "zh": chinese} if chinese else {"en": english}
        said = self.dimension.description if self.dimension.extra else " / ".join(titles.values())
        schema: dict[str, Any] = {
            "name": english,
            "type": "SCALAR",
            "componentType": _COMPONENTS[self.kind][0],
            "extras": {"titles": titles, "dimension": name},
        }
        if self.base:
            said = f"{said}: seconds since GPS time {self.base:.0f}, which is the offset"
            schema["offset"] = self.base
        if said and said != english:
            schema["description"] = said
        return schema


def attributes_of(
    dimensions: Sequence[Dimension], names: Sequence[str], gps_base: float
) -> tuple[PointAttribute, ...]:
    """The attributes of some dimensions, in this order; those a vertex attribute cannot hold become 32-bit floats.

    `names` must be among the dimensions, of one number each (KeyError).
    """
    known = {one.name: one for one in dimensions if one.members == 1}
    taken: set[str] = set()
    found = []
    for name in names:
        one = known[name]
        identifier = _identifier(name, taken)
        attribute = "_" + re.sub(r"[^A-Z0-9_]", "", identifier.upper())
        kind = np.dtype(one.dtype).str[1:]
        if one.is_scaled or kind not in _COMPONENTS:
            kind = "f4"
        base = gps_base if name == "GpsTime" else 0.0
        found.append(PointAttribute(one, identifier, attribute, kind, base))
    return tuple(found)


def carried(dimensions: Sequence[Dimension], hidden: frozenset[str]) -> tuple[str, ...]:
    """Names of what can be carried: every dimension of one number but the coordinates, without what is hidden."""
    return tuple(
        one.name
        for one in dimensions
        if one.members == 1 and one.name not in ("X", "Y", "Z") and one.name not in hidden
    )


def _identifier(name: str, taken: set[str]) -> str:
    """An identifier of the metadata specification ([A-Za-z_][A-Za-z0-9_]*) no other property has, whatever the case."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    plain = plain if re.match(r"[A-Za-z_]", plain) else f"_{plain}"
    found, number = plain, 2
    while found.upper() in taken:
        found, number = f"{plain}_{number}", number + 1
    taken.add(found.upper())
    return found


def schema_of(attributes: Sequence[PointAttribute]) -> dict[str, Any]:
    """The schema of the points of a tile."""
    return {
        "id": "chengtu_points",
        "classes": {
            POINT_CLASS: {"name": "Point", "properties": {one.id: one.schema() for one in attributes}}
        },
    }
