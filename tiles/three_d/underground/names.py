"""Which field of a table means what: names that surveys of underground lines, wells and boreholes usually give.

From the tables of Chinese surveys (CJJ 61 and its kin), from MUDDI, INSPIRE utility networks, SWMM and usual English tables.
A name may carry its unit: 管径(mm), depth_m, DIAMETER_MM.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Recognised(NamedTuple):
    """A field found by its name. `unit` is metres per unit where the name says it, else None."""

    field: str
    unit: float | None


_UNITS = {"mm": 0.001, "毫米": 0.001, "cm": 0.01, "厘米": 0.01, "m": 1.0, "米": 1.0, "dm": 0.1}
_BRACKETED = re.compile(r"[(（\[]\s*([^()（）\[\]]*?)\s*[)）\]]")
_TRAILING = re.compile(r"[_\- /](mm|cm|dm|m)$")
_SPACES = re.compile(r"[\s_\-./:]+")

NAMES: Mapping[str, tuple[str, ...]] = {
    "diameter": (
        "管径", "管径或断面尺寸", "断面尺寸或管径", "公称直径", "外径", "直径", "管道直径", "内径", "管径断面尺寸",
        "diameter", "diam", "dia", "dn", "od", "pipediameter", "nominaldiameter", "outerdiameter", "outsidediameter",
        "pipesize", "pipedia", "nominaldiam", "innerdiameter", "井径", "井盖直径", "manholediameter",
    ),
    "section": ("断面尺寸", "断面规格", "规格", "管块规格", "管沟断面", "断面", "crosssection", "sectionsize"),
    "shape": ("断面形状", "断面形式", "断面类型", "shape", "sectionshape", "sectiontype", "crosssectiontype"),
    "width": ("断面宽", "管沟宽", "沟宽", "断面宽度", "宽度", "宽", "sectionwidth", "ductwidth", "width", "culvertwidth"),
    "height": ("断面高", "管沟高", "沟高", "断面高度", "sectionheight", "ductheight", "culvertheight"),
    "start_depth": (
        "起点埋深", "起始埋深", "起点管顶埋深", "起点管底埋深", "始点埋深", "上游埋深", "startdepth", "depthstart", "upstreamdepth",
        "usdepth", "埋深", "埋设深度", "管顶埋深", "管底埋深", "管道埋深", "中心埋深", "depth", "depthofcover", "coverdepth", "cover",
        "burialdepth", "buriedepth", "burydepth", "depthbelowground", "depthinmetres",
    ),
    "end_depth": (
        "终点埋深", "终止埋深", "终点管顶埋深", "终点管底埋深", "末点埋深", "下游埋深", "enddepth", "depthend", "downstreamdepth",
        "dsdepth",
    ),
    "start_level": (
        "起点高程", "起点管顶高程", "起点管底高程", "起点管内底高程", "起始高程", "上游管底标高", "上游高程", "起点管顶标高", "起点管底标高",
        "管顶高程", "管底高程", "管内底高程", "管中高程", "管线高程", "管顶标高", "管底标高", "startlevel", "startelevation",
        "upstreaminvert", "usinvert", "invertup", "upinvert", "invertelevstart", "usil", "startinvert", "invertin",
        "invertstart",
    ),
    "end_level": (
        "终点高程", "终点管顶高程", "终点管底高程", "终点管内底高程", "终止高程", "下游管底标高", "下游高程", "终点管顶标高", "终点管底标高",
        "endlevel", "endelevation", "downstreaminvert", "dsinvert", "invertdown", "downinvert", "invertelevend", "dsil",
        "endinvert", "invertout", "invertend",
    ),
    "kind": (
        "管线类型", "管线种类", "管线类别", "管类", "管种", "管线性质", "类别", "种类", "管线代码", "管线小类", "管线大类",
        "kind", "utilitytype", "utilitynetworktype", "networktype", "commodity", "medium", "utility", "service",
        "utilitydeliverytype", "product", "theme",
    ),
    "top": (
        "地面高程", "井面高程", "井盖高程", "井口高程", "地面标高", "井面标高", "孔口高程", "孔口标高", "顶面高程", "顶高程", "顶板高程",
        "顶标高", "coverlevel", "rimelevation", "rim", "rimelev", "coverelevation", "groundlevel", "groundelevation",
        "collarelevation", "collar", "topelevation", "toplevel", "surfaceelevation",
    ),
    "bottom": (
        "井底高程", "井底标高", "底面高程", "底高程", "底板高程", "底标高", "井内底高程", "bottomelevation", "bottomlevel", "invert",
        "invertelevation", "invertlevel", "baseelevation", "floorelevation",
    ),
    "well_depth": ("井深", "井深度", "检查井深", "manholedepth", "welldepth", "maxdepth", "chamberdepth", "depthtoinvert"),
    "top_depth": ("顶板埋深", "顶埋深", "depthtop", "topdepth", "roofdepth"),
    "bottom_depth": ("底板埋深", "底埋深", "depthbottom", "bottomdepth", "floordepth"),
    "hole": (
        "钻孔编号", "孔号", "钻孔号", "勘探点编号", "勘探孔号", "boreholeid", "borehole", "holeid", "hole", "bhid", "boringid", "locaid",
        "boringno", "wellid",
    ),
    "from": (
        "层顶深度", "起始深度", "顶深", "起深", "from", "depthfrom", "fromdepth", "fromm", "geoltop", "depthtop", "starttop",
        "intervaltop", "topdepth",
    ),
    "to": (
        "层底深度", "终止深度", "底深", "止深", "to", "depthto", "todepth", "tom", "geolbase", "depthbottom", "intervalbottom",
        "bottomdepth", "basedepth",
    ),
    "thickness": ("层厚", "厚度", "thickness", "layerthickness"),
    "lithology": (
        "岩性", "岩土名称", "地层名称", "岩性名称", "土层名称", "岩土层名称", "土名", "地层", "lithology", "soiltype", "soil", "rocktype",
        "rock", "stratum", "unit", "formation", "geolgeol", "layer", "material", "description",
    ),
    "intervals": ("intervals", "layers", "log", "strata", "分层", "地层分层", "钻孔分层", "分层数据"),
}  # fmt: skip
"""By what is meant: names as `plain_name` writes them, the surest first."""


def plain_name(name: str) -> tuple[str, float | None]:
    """A name in small letters without spaces, marks and its unit; and that unit in metres."""
    text = name.strip().lower()
    unit: float | None = None
    bracket = _BRACKETED.search(text)
    if bracket:
        unit = _UNITS.get(bracket.group(1))
        text = _BRACKETED.sub("", text)
    trailing = _TRAILING.search(text)
    if trailing:
        unit = _UNITS[trailing.group(1)]
        text = text[: trailing.start()]
    return _SPACES.sub("", text), unit


def recognise(fields: Sequence[str], meanings: Sequence[str]) -> dict[str, Recognised]:
    """The fields that mean what is asked, by meaning; no field is taken twice, and meanings given first choose first."""
    plain: dict[str, Recognised] = {}
    for field in fields:
        name, unit = plain_name(field)
        plain.setdefault(name, Recognised(field, unit))
    found: dict[str, Recognised] = {}
    taken: set[str] = set()
    for meaning in meanings:
        for name in NAMES[meaning]:
            if name in plain and plain[name].field not in taken:
                found[meaning] = plain[name]
                taken.add(plain[name].field)
                break
    return found


_TOP_WORDS = ("管顶", "外顶", "cover", "crown", "顶埋深")
_BOTTOM_WORDS = ("管底", "内底", "invert", "底埋深", "usil", "dsil")
_MIDDLE_WORDS = ("中心", "管中", "axis", "centre", "center")


def measured_to(field: str) -> str | None:
    """What a depth or height field says it is measured to: "top", "bottom", "axis", None where its name does not say."""
    name, _ = plain_name(field)
    for words, what in ((_MIDDLE_WORDS, "axis"), (_TOP_WORDS, "top"), (_BOTTOM_WORDS, "bottom")):
        if any(word in name for word in words):
            return what
    return None
