"""The names of classification codes (ASPRS LAS 1.4 R15, table 17, point formats 6-10)."""

from __future__ import annotations

from typing import Final

ASPRS_CLASSES: Final[dict[int, tuple[str, str]]] = {
    0: ("Created, never classified", "已创建，未分类"),
    1: ("Unclassified", "未分类"),
    2: ("Ground", "地面"),
    3: ("Low vegetation", "低矮植被"),
    4: ("Medium vegetation", "中等植被"),
    5: ("High vegetation", "高大植被"),
    6: ("Building", "建筑物"),
    7: ("Low point (noise)", "低点（噪声）"),
    9: ("Water", "水体"),
    10: ("Rail", "铁路"),
    11: ("Road surface", "路面"),
    13: ("Wire - guard (shield)", "架空地线"),
    14: ("Wire - conductor (phase)", "导线（相线）"),
    15: ("Transmission tower", "输电塔"),
    16: ("Wire-structure connector", "导线连接件"),
    17: ("Bridge deck", "桥面"),
    18: ("High noise", "高点（噪声）"),
    19: ("Overhead structure", "架空结构"),
    20: ("Ignored ground", "忽略的地面"),
    21: ("Snow", "积雪"),
    22: ("Temporal exclusion", "时间性排除"),
}
"""Code -> name in English and Chinese; 8 and 12 are reserved, 23-63 too."""

_RESERVED: Final = ("Reserved", "保留")
_USER: Final = ("User defined", "用户自定义")
_FIRST_OF_USERS: Final = 64


def class_name(code: int, language: str = "en") -> str:
    """The name of a code in "en" or "zh" (anything else: English)."""
    names = ASPRS_CLASSES.get(code) or (_RESERVED if code < _FIRST_OF_USERS else _USER)
    return names[1] if language == "zh" else names[0]
