"""The validation report as lines for a person, in English or Chinese."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_WORDS: Final[dict[str, tuple[str, str]]] = {
    "points": ("Points", "点数"),
    "tiles": ("Tiles, nodes", "图幅、节点"),
    "crs": ("CRS", "坐标参考系"),
    "vertical": ("Heights above", "高程基准"),
    "box": ("Box", "范围"),
    "density": ("Density (points/m2)", "密度（点/平方米）"),
    "mean": ("mean", "平均"),
    "cells": ("of cells of {size:.1f} m: 5 % {p5:.3g}, median {median:.3g}, 95 % {p95:.3g}", "{size:.1f} 米格网：5 % {p5:.3g}，中位 {median:.3g}，95 % {p95:.3g}"),
    "spacing": ("Point spacing (m)", "点间距（米）"),
    "gaps": ("Gaps", "空洞"),
    "of_hull": ("{percent:.1f} % of the hull, {area:.0f} m2 in {places} places", "占外包范围 {percent:.1f} %，{places} 处共 {area:.0f} 平方米"),
    "heights": ("Heights", "高程"),
    "usual": ("usual", "通常"),
    "outliers": ("Outliers (low, high)", "离群点（低、高）"),
    "duplicates": ("Duplicates", "重复点"),
    "not_read": ("not counted (points were not read)", "未统计（未读取点）"),
    "time": ("GPS time", "GPS 时间"),
    "week": ("seconds of the week", "周内秒"),
    "returns": ("Returns", "回波"),
    "classes": ("Classes", "类别"),
    "warnings": ("Warnings", "警告"),
    "none": ("none", "无"),
}  # fmt: skip


def report_text(report: Mapping[str, Any], crs: str, box: Sequence[float], language: str = "en") -> str:
    """The lines. `report` is ValidationReport.as_json, `crs` a name, `box` native."""
    return "\n".join(_lines(report, crs, box, language))


def _lines(report: Mapping[str, Any], crs: str, box: Sequence[float], language: str) -> Iterator[str]:
    def word(key: str) -> str:
        return _WORDS[key][1 if language == "zh" else 0]

    def row(key: str, value: str) -> str:
        return f"{word(key)}: {value}"

    density, gaps, heights = report["density"], report["gaps"], report["heights"]
    yield row("points", f"{report['count']:,}")
    yield row("tiles", f"{report['tiles']:,}, {report['nodes']:,}")
    yield row("crs", crs)
    yield row("vertical", str(report["vertical_reference"]))
    yield row("box", " - ".join(f"({a:.2f}, {b:.2f}, {c:.2f})" for a, b, c in (box[:3], box[3:])))
    cells = word("cells").format(
        size=density["cell"], p5=density["p5"], median=density["median"], p95=density["p95"]
    )
    yield row("density", f"{word('mean')} {density['mean']:.3g}; {cells}")
    yield row("spacing", f"{density['spacing']:.3f}")
    of_hull = word("of_hull").format(percent=100 * gaps["share"], area=gaps["area_m2"], places=gaps["places"])
    yield row("gaps", of_hull if gaps["cells"] else word("none"))
    low, high = heights["usual"]
    yield row(
        "heights",
        f"{heights['lowest']:.2f} - {heights['highest']:.2f}; {word('usual')} {low:.2f} - {high:.2f}",
    )
    counted = heights["low_outliers"] is not None
    yield row(
        "outliers",
        f"{heights['low_outliers']:,}, {heights['high_outliers']:,}" if counted else word("not_read"),
    )
    yield row("duplicates", f"{report['duplicates']:,}" if counted else word("not_read"))
    period = report["period"]
    yield row("time", " - ".join(period) if period else word("week"))
    yield row("returns", ", ".join(f"{number}: {count:,}" for number, count in report["returns"].items()))
    yield f"{word('classes')}:"
    for code, entry in report["classes"].items():
        share = 100 * entry["count"] / report["count"]
        yield f"  {code:>3}  {entry['count']:>14,}  {share:5.1f} %  {entry[language if language == 'zh' else 'en']}"
    yield f"{word('warnings')}:" if report["warnings"] else row("warnings", word("none"))
    for one in report["warnings"]:
        yield f"  {one['zh' if language == 'zh' else 'en']}"
