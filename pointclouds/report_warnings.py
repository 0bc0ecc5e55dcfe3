"""What surprises in a point cloud, told in English and Chinese."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pointclouds.las.classes import ASPRS_CLASSES
from pointclouds.report_heights import HeightReport

_GROUND, _LOW_NOISE, _HIGH_NOISE = 2, 7, 18
_UNCLASSIFIED: Final = frozenset((0, 1))
_FIRST_OF_USERS: Final = 64
_MANY_GAPS: Final = 0.05
_UNEVEN: Final = 0.25
_TEN_YEARS: Final = 10 * 365.25 * 86_400

_TEXTS: Final[dict[str, tuple[str, str]]] = {
    "unclassified": ("no point is classified (classes 0 and 1 only)", "所有点均未分类（仅有类别 0 和 1）"),
    "no-ground": ("there is no ground class (2)", "没有地面类别（2）"),
    "noise": ("{count} points are classified as noise (7, 18)", "{count} 个点被分类为噪声（7、18）"),
    "unnamed-classes": (
        "the class codes {codes} are reserved or of the producer's own",
        "类别代码 {codes} 为保留或数据生产者自定义",
    ),
    "return-zero": ("{count} points have return number 0", "{count} 个点的回波序号为 0"),
    "return-beyond": (
        "in {nodes} nodes a return number is above every number of returns",
        "{nodes} 个节点中回波序号大于回波总数",
    ),
    "gps-week": ("GPS times are seconds of the week: they name no date", "GPS 时间为周内秒，不能确定日期"),
    "gps-zero": ("all GPS times are 0", "所有 GPS 时间均为 0"),
    "gps-long": ("GPS times span more than ten years", "GPS 时间跨度超过十年"),
    "intensity-zero": ("all intensities are 0", "所有强度值均为 0"),
    "colour-zero": ("the file has colours, all of them are black", "文件含颜色字段，但全部为黑色"),
    "colour-8-bit": (
        "colours are 8-bit numbers in 16-bit fields: they look black in viewers that follow LAS",
        "16 位颜色字段中存放的是 8 位数值，按 LAS 规范显示会接近黑色",
    ),
    "withheld": ("{count} points are flagged as withheld", "{count} 个点带有“保留不用”标记"),
    "vertical-unknown": (
        "the CRS does not say what heights count from",
        "坐标参考系未说明高程基准",
    ),
    "gaps": (
        "{percent} % of the area inside the hull holds no points",
        "外包范围内 {percent} % 的面积没有点",
    ),
    "uneven": (
        "density is uneven: a twentieth of the area has less than a quarter of the usual",
        "密度不均匀：二十分之一的面积低于常见密度的四分之一",
    ),
    "height-suspects": (
        "{nodes} nodes reach far beyond the usual heights ({low} to {high})",
        "{nodes} 个节点的高程明显超出通常范围（{low} 至 {high}）",
    ),
    "outliers": (
        "{low} points lie far below and {high} far above what surrounds them",
        "{low} 个点明显低于、{high} 个点明显高于周围",
    ),
    "duplicates": ("{count} points have the coordinates of another", "{count} 个点与其他点坐标重复"),
}


@dataclass(frozen=True)
class Warned:
    """One thing to know: its code, and the numbers of its sentence."""

    code: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def text(self, language: str = "en") -> str:
        """The sentence in "en" or "zh"."""
        return _TEXTS[self.code][1 if language == "zh" else 0].format(**self.values)


def find_warnings(
    *,
    beyond: int,
    count: int,
    classes: Mapping[int, int],
    returns: Sequence[int],
    spans: Mapping[str, tuple[float, float, float]],
    colours: bool,
    gps_standard: bool,
    vertical_known: bool,
    gap_share: float,
    evenness: float,
    heights: HeightReport,
) -> Iterator[Warned]:
    """All that surprises. `beyond`: nodes with a return number above every number of returns; `spans`: lowest, highest and mean by dimension; `evenness`: 5th percentile of densities by the median."""
    yield from _of_classes(classes)
    yield from _of_returns(beyond, returns)
    yield from _of_values(spans, count, colours=colours, gps_standard=gps_standard)
    if not vertical_known:
        yield Warned("vertical-unknown")
    if gap_share > _MANY_GAPS:
        yield Warned("gaps", {"percent": f"{100 * gap_share:.1f}"})
    if evenness < _UNEVEN:
        yield Warned("uneven")
    yield from _of_heights(heights)


def _of_classes(classes: Mapping[int, int]) -> Iterator[Warned]:
    if set(classes) <= _UNCLASSIFIED:
        yield Warned("unclassified")
    elif _GROUND not in classes:
        yield Warned("no-ground")
    noise = classes.get(_LOW_NOISE, 0) + classes.get(_HIGH_NOISE, 0)
    if noise:
        yield Warned("noise", {"count": noise})
    unnamed = [code for code in classes if code not in ASPRS_CLASSES]
    if unnamed:
        yield Warned("unnamed-classes", {"codes": ", ".join(str(code) for code in unnamed)})


def _of_returns(beyond: int, returns: Sequence[int]) -> Iterator[Warned]:
    # Sources without returns (photogrammetry, text) have 0 of 0 everywhere: nothing to wonder at.
    if returns[0] and sum(returns[1:]):
        yield Warned("return-zero", {"count": returns[0]})
    if beyond:
        yield Warned("return-beyond", {"nodes": beyond})


def _of_values(
    spans: Mapping[str, tuple[float, float, float]], count: int, *, colours: bool, gps_standard: bool
) -> Iterator[Warned]:
    low, high, _ = spans.get("GpsTime", (0.0, 0.0, 0.0))
    if low == high == 0:
        yield Warned("gps-zero")
    elif not gps_standard:
        yield Warned("gps-week")
    elif high - low > _TEN_YEARS:
        yield Warned("gps-long")
    if spans.get("Intensity", (0, 1, 0))[1] == 0:
        yield Warned("intensity-zero")
    if colours:
        brightest = max(spans.get(name, (0, 0, 0))[1] for name in ("Red", "Green", "Blue"))
        if brightest == 0:
            yield Warned("colour-zero")
        elif brightest <= 255:
            yield Warned("colour-8-bit")
    withheld = round(spans.get("Withheld", (0, 0, 0))[2] * count)
    if withheld:
        yield Warned("withheld", {"count": withheld})


def _of_heights(heights: HeightReport) -> Iterator[Warned]:
    if heights.low is None or heights.high is None:
        if heights.suspects:
            low, high = (f"{value:.2f}" for value in heights.usual)
            yield Warned("height-suspects", {"nodes": heights.suspects, "low": low, "high": high})
    elif heights.low or heights.high:
        yield Warned("outliers", {"low": heights.low, "high": heights.high})
    if heights.duplicates:
        yield Warned("duplicates", {"count": heights.duplicates})
