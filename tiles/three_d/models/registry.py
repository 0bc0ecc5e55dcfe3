"""The built-in models by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

from tiles.three_d.errors import UnknownModelError
from tiles.three_d.models import furniture, vegetation
from tiles.three_d.objects import MeshPart


@dataclass(frozen=True, slots=True)
class ModelType:
    """One model: its names by language, how it is made, and whether it looks alike from all sides (trees)."""

    id: str
    titles: Mapping[str, str]
    make: Callable[[], tuple[MeshPart, ...]]
    round: bool = False

    @property
    def parts(self) -> tuple[MeshPart, ...]:
        """Its meshes, always the same ones."""
        return _made(self.make)

    @property
    def height(self) -> float:
        """Metres from the ground to its top."""
        return extent_of(self.parts)[1]

    @property
    def width(self) -> float:
        """Metres across, the larger of its two sides."""
        return extent_of(self.parts)[0]


def extent_of(parts: tuple[MeshPart, ...]) -> tuple[float, float]:
    """Width (the larger side) and height above its origin (m) of a model; height from its bottom where it lies above it."""
    low = np.min([part.mesh.positions.min(axis=0) for part in parts], axis=0)
    high = np.max([part.mesh.positions.max(axis=0) for part in parts], axis=0)
    height = high[2] if high[2] > 0.0 else high[2] - low[2]
    return float((high - low)[:2].max()), float(height)


@cache
def _made(make: Callable[[], tuple[MeshPart, ...]]) -> tuple[MeshPart, ...]:
    return make()


_ALL = (
    ("broadleaf_tree", "Broadleaf tree", "阔叶树", vegetation.broadleaf_tree),
    ("columnar_tree", "Columnar tree", "柱形树", vegetation.columnar_tree),
    ("conifer", "Conifer", "针叶树", vegetation.conifer),
    ("palm", "Palm", "棕榈树", vegetation.palm),
    ("bush", "Bush", "灌木", vegetation.bush),
    ("street_lamp", "Street lamp", "路灯", furniture.street_lamp),
    ("lantern", "Lantern", "庭院灯", furniture.lantern),
    ("bench", "Bench", "长椅", furniture.bench),
    ("traffic_light", "Traffic light", "交通信号灯", furniture.traffic_light),
    ("traffic_sign", "Traffic sign", "交通标志", furniture.traffic_sign),
    ("street_name_sign", "Street name sign", "路名牌", furniture.street_name_sign),
    ("hydrant", "Fire hydrant", "消防栓", furniture.hydrant),
    ("manhole_cover", "Manhole cover", "井盖", furniture.manhole_cover),
    ("bollard", "Bollard", "隔离桩", furniture.bollard),
    ("litter_bin", "Litter bin", "垃圾箱", furniture.litter_bin),
    ("utility_pole", "Utility pole", "电杆", furniture.utility_pole),
    ("camera", "Surveillance camera", "监控摄像头", furniture.camera),
    ("bus_shelter", "Bus shelter", "公交候车亭", furniture.bus_shelter),
    ("bicycle_stand", "Bicycle stand", "自行车架", furniture.bicycle_stand),
)

MODELS: Mapping[str, ModelType] = MappingProxyType(
    {
        name: ModelType(
            name, MappingProxyType({"en": en, "zh": zh}), make, make.__module__ == vegetation.__name__
        )
        for name, en, zh, make in _ALL
    }
)


def model(name: str) -> ModelType:
    """A built-in model by its id or one of its titles. Raises UnknownModelError."""
    if name in MODELS:
        return MODELS[name]
    for found in MODELS.values():
        if name.casefold() in (title.casefold() for title in found.titles.values()):
            return found
    raise UnknownModelError(
        f"there is no model {name!r}; there are {', '.join(MODELS)}, and any .glb file of yours"
    )
