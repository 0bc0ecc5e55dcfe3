"""Styles: what is understood, what is refused and in which words, and what Mapnik is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tiles.errors import StyleError, UnknownStyle
from tiles.maps.mapnik_style import build_mapnik_style, scaled_value, style_fields
from tiles.maps.style_model import LabelSymbol, LineSymbol, Style
from tiles.maps.styles import default_style_name, load_style, parse_style, style_names

STYLES = Path(__file__).parents[2] / "config" / "styles"


def one_rule(**keys: Any) -> dict[str, Any]:
    return {"rules": [{"symbols": [{"polygon": {"fill": "#abc"}}]} | keys]}


def one_symbol(kind: str, **keys: Any) -> dict[str, Any]:
    return {"rules": [{"symbols": [{kind: keys}]}]}


def xml_of(
    style: Style, fields: tuple[str, ...] = (), faces: tuple[str, ...] = ("A Font",)
) -> ElementTree.Element:
    aliases = {field: f"f{number}" for number, field in enumerate(fields)}
    return ElementTree.fromstring(build_mapnik_style(style, aliases, faces).xml)


@pytest.mark.parametrize("name", style_names(STYLES))
def test_every_style_of_ours_is_valid_and_titled_in_both_languages(name: str) -> None:
    style = load_style(name, STYLES)
    assert {language for language, _ in style.title} == {"en", "zh"}
    assert hash(style) == hash(load_style(name, STYLES))
    if style.raster is None:
        root = xml_of(style, style_fields(style))
        assert root.findall("Style")


@pytest.mark.parametrize(
    "what",
    [
        "Point",
        "MultiPoint",
        "LineString",
        "MultiLineString Z",
        "Polygon",
        "MultiPolygon",
        "PolygonZ",
        "Geometry",
        "dem",
        "image",
        "raster",
    ],
)
def test_every_kind_of_data_has_a_default_style(what: str) -> None:
    style = load_style(default_style_name(what), STYLES)
    assert (style.raster is not None) == (what in ("dem", "image", "raster"))


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(UnknownStyle, match="buildings"):
        load_style("nothing", STYLES)
    with pytest.raises(UnknownStyle):
        load_style("../styles/buildings", STYLES)
    with pytest.raises(UnknownStyle, match="polygon"):
        default_style_name("teapot")


def test_a_file_that_is_no_style_is_named(tmp_path: Path) -> None:
    (tmp_path / "torn.yml").write_text("rules: [", encoding="utf-8")
    (tmp_path / "list.yml").write_text("- 1", encoding="utf-8")
    (tmp_path / "empty.yml").write_text("", encoding="utf-8")
    (tmp_path / "code.yml").write_text("rules: !!python/object/apply:os.getcwd []", encoding="utf-8")
    for name in ("torn", "list", "empty", "code"):
        with pytest.raises(StyleError, match=name):
            load_style(name, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "mapping"),
        ([], "mapping"),
        ({}, "either rules"),
        ({"rules": []}, "1 to 64"),
        ({"rules": "x"}, "list"),
        ({"rules": [{}]}, "symbols is missing"),
        ({"rules": [{"symbols": []}]}, "1 to 8"),
        ({"rules": [{"symbols": ["polygon"]}]}, "one of polygon"),
        ({"rules": [{"symbols": [{"circle": {}}]}]}, "circle"),
        ({"rules": [{"symbols": [{"polygon": {"fill": "#abc"}, "line": {"stroke": "#abc"}}]}]}, "one of"),
        (one_rule(colour="red"), "unknown keys 'colour'"),
        (one_rule(min_zoom=-1), "0 to 24"),
        (one_rule(max_zoom=25), "0 to 24"),
        (one_rule(min_zoom=True), "whole number"),
        (one_rule(min_zoom=9, max_zoom=8), "above max_zoom"),
        (one_rule(where={}), "map fields"),
        (one_rule(where={"a": []}), "1 to 200"),
        (one_rule(where={"a": [[1]]}), "1 to 200"),
        (one_rule(where={"a": None}), "1 to 200"),
        (one_rule(where={"a": {"min": "1"}}), "number"),
        (one_rule(where={"a": {"above": 1}}), "above"),
        (one_rule(where={"a": {"exists": False}}), "otherwise"),
        (one_rule(where={5: "x"}), "text"),
        (one_rule(where={"a": 1}, otherwise=True), "both"),
        (one_rule(otherwise="yes"), "true or false"),
        (one_symbol("polygon"), "fill is missing"),
        (one_symbol("polygon", fill="red"), "#rrggbb"),
        (one_symbol("polygon", fill="#ggg"), "#rrggbb"),
        (one_symbol("polygon", fill=0xFF), "#rrggbb"),
        (one_symbol("polygon", fill="#abc", opacity=1.1), "0 to 1"),
        (one_symbol("polygon", fill="#abc", opacity=float("nan")), "0 to 1"),
        (one_symbol("line", stroke="#abc", width=101), "0 to 100"),
        (one_symbol("line", stroke="#abc", width={}), "rising"),
        (one_symbol("line", stroke="#abc", width={10: 1, 5: 2}), "rising"),
        (one_symbol("line", stroke="#abc", width={"ten": 1}), "0 to 24"),
        (one_symbol("line", stroke="#abc", dash=[1]), "2 to 8"),
        (one_symbol("line", stroke="#abc", cap="pointed"), "butt, round, square"),
        (one_symbol("label", field=""), "1 to 200"),
        (one_symbol("label", field="a", size=3), "4 to 72"),
        (one_symbol("label", field="a", placement="middle"), "point, line"),
        ({"title": {"fr": "x"}} | one_rule(), "fr"),
        ({"raster": {"kind": "rgb"}} | one_rule(), "either rules"),
        ({"raster": {}}, "kind is missing"),
        ({"raster": {"kind": "picture"}}, "rgb, ramp"),
        ({"raster": {"kind": "rgb", "bands": [1]}}, "3 to 3"),
        ({"raster": {"kind": "rgb", "bands": [0, 1, 2]}}, "1 to 10000"),
        ({"raster": {"kind": "rgb", "span": [5, 5]}}, "rise"),
        ({"raster": {"kind": "rgb", "ramp": [[0, "#000"], [1, "#fff"]]}}, "needs the key"),
        ({"raster": {"kind": "ramp"}}, "needs the key"),
        ({"raster": {"kind": "ramp", "ramp": [[0, "#000"]]}}, "2 to 256"),
        ({"raster": {"kind": "ramp", "ramp": [[1, "#000"], [0, "#fff"]]}}, "rising"),
        ({"raster": {"kind": "ramp", "ramp": [[0, "#000"], [2, "#fff"]]}}, "0 to 1"),
        ({"raster": {"kind": "classes", "classes": {}}}, "1 to 256"),
        ({"raster": {"kind": "classes", "classes": {"x": "#000"}}}, "number"),
        ({"raster": {"kind": "hillshade", "hillshade": 2}}, "0 to 1"),
        ({"raster": {"kind": "hillshade", "altitude": 0}}, "1 to 90"),
        ({"raster": {"kind": "hillshade", "resampling": "best"}}, "nearest"),
    ],
)
def test_mistakes_are_refused_with_their_place(content: object, message: str) -> None:
    with pytest.raises(StyleError, match=message):
        parse_style(content)


def test_sizes_grow_between_their_zoom_levels() -> None:
    size = ((10, 1.0), (14, 3.0), (16, 10.0))
    assert [scaled_value(size, zoom) for zoom in (5, 10, 12, 14, 15, 16, 20)] == [1, 1, 2, 3, 6.5, 10, 10]
    assert scaled_value(4.0, 3) == 4.0


def test_a_scaled_rule_covers_every_zoom_level_once() -> None:
    style = parse_style(
        one_rule(min_zoom=3, max_zoom=18, symbols=[{"line": {"stroke": "#000", "width": {5: 1, 9: 5}}}])
    )
    [rules] = [element.findall("Rule") for element in xml_of(style).findall("Style")]
    for zoom in range(25):
        scale = 559082264.0287178 / 2**zoom
        widths = [
            float(rule.find("LineSymbolizer").get("stroke-width"))  # type: ignore[union-attr, arg-type]
            for rule in rules
            if float(rule.findtext("MinScaleDenominator", "0"))
            <= scale
            < float(rule.findtext("MaxScaleDenominator", "inf"))
        ]
        assert widths == ([min(max(zoom - 4, 1), 5)] if 3 <= zoom <= 18 else []), zoom


def test_filters_speak_of_aliases_and_quote_text() -> None:
    style = parse_style(
        {
            "rules": [
                {"where": {"na]me' or": ["O'Neil", "a\\b"]}, "symbols": [{"polygon": {"fill": "#abc"}}]},
                {"where": {"height": {"min": 5, "max": 10}}, "symbols": [{"polygon": {"fill": "#abc"}}]},
                {"where": {"open": True}, "symbols": [{"polygon": {"fill": "#abc"}}]},
                {"otherwise": True, "symbols": [{"polygon": {"fill": "#abc"}}]},
            ]
        }
    )
    assert style_fields(style) == ("na]me' or", "height", "open")
    root = xml_of(style, style_fields(style))
    assert [element.text for element in root.iter("Filter")] == [
        "([f0] = 'O\\'Neil' or [f0] = 'a\\\\b')",
        "(([f1] != null and [f1] >= 5.0) and ([f1] != null and [f1] < 10.0))",
        "([f2] = 1)",
    ]
    assert len(list(root.iter("ElseFilter"))) == 1


def test_labels_come_last_and_only_of_fields_that_are_there() -> None:
    style = parse_style(
        {
            "passes": [
                [{"symbols": [{"label": {"field": "name"}}, {"line": {"stroke": "#000"}}]}],
                [{"symbols": [{"line": {"stroke": "#fff"}}, {"label": {"field": "missing"}}]}],
            ]
        }
    )
    built = build_mapnik_style(style, {"name": "f0"}, ("A Font",))
    assert built.styles == ("pass0", "pass1", "labels")
    root = ElementTree.fromstring(built.xml)
    assert [element.text for element in root.iter("TextSymbolizer")] == ["[f0]"]
    without_fonts = build_mapnik_style(style, {"name": "f0"}, ())
    assert without_fonts.styles == ("pass0", "pass1")


def test_a_rule_on_a_field_the_data_lacks_never_applies() -> None:
    style = parse_style(one_rule(where={"missing": 1}))
    assert not list(xml_of(style).iter("Rule"))


def test_values_reach_the_symbols() -> None:
    style = parse_style(
        {
            "rules": [
                {
                    "symbols": [
                        {"line": {"stroke": "#123456", "width": 2, "dash": [1, 2, 3], "cap": "butt"}},
                        {"label": {"field": "name", "placement": "line", "spacing": 50}},
                    ]
                }
            ]
        }
    )
    line, label = style.passes[0][0].symbols
    assert line == LineSymbol("#123456", 2.0, dash=(1.0, 2.0, 3.0), cap="butt")
    assert label == LabelSymbol("name", placement="line", spacing=50.0)
    [element] = xml_of(style, ("name",)).iter("LineSymbolizer")
    assert element.get("stroke-dasharray") == "1.0, 2.0, 3.0, 1.0, 2.0, 3.0"


def test_fonts_are_found_alike_by_threads_that_ask_at_once() -> None:
    code = (
        "import threading; from tiles.maps.mapnik_library import mapnik; from tiles.maps.fonts import map_fonts\n"
        "found = []; start = threading.Barrier(8)\n"
        "def ask():\n    start.wait(); found.append(map_fonts())\n"
        "threads = [threading.Thread(target=ask) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert len(set(found)) == 1 and (found[0].cjk_file is None or len(found[0].faces) == 2), found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
