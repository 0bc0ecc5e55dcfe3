"""MapLibre and SLD: the same pixels as our own form, nothing lost in silence, nothing fetched, nothing expanded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import fiona
import numpy as np
import pytest
import shapely

from tiles.errors import StyleError
from tiles.maps import VectorMapSource, load_style, parse_style, style_names
from tiles.maps.raster_colours import draw_raster
from tiles.maps.source import Pixels
from tiles.maps.style_documents import MAXIMUM_DOCUMENT, read_document, write_document
from tiles.maps.style_model import IconSymbol, LabelSymbol, LineSymbol, PointSymbol, Style
from tiles.maps.style_writing import style_digest, style_keys
from tiles.maps.style_zooms import denominator_of
from tiles.maps.styles import with_icons

STYLES = Path(__file__).parents[2] / "config" / "styles"
FORMATS = ("maplibre", "sld-1.0", "sld-1.1", "chengtu")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Polygons, lines and points with a class, a number and names."""
    path = tmp_path_factory.mktemp("shapes") / "shapes.gpkg"
    kinds = ["residential", "school", "O'c", "50%", None]
    schema = {
        "geometry": "Unknown",
        "properties": {"building": "str", "height": "float", "name": "str", "name_zh": "str"},
    }
    with fiona.open(path, "w", driver="GPKG", layer="feature", crs="EPSG:3857", schema=schema) as target:
        for index, kind in enumerate(kinds):
            x = 100.0 * index
            values = {
                "building": kind,
                "height": None if kind is None else index * 10.0,
                "name": f"N{index}",
                "name_zh": "城" if index % 2 else None,
            }
            for geometry in (
                shapely.box(x + 5, 5, x + 80, 80),
                shapely.LineString([(x + 5, 110), (x + 80, 140)]),
                shapely.Point(x + 40, 180),
            ):
                target.write({"geometry": geometry.__geo_interface__, "properties": values})
    return path


def picture(path: Path, style: Style) -> Pixels:
    source = VectorMapSource(path, crs="EPSG:3857", style=with_icons(style, STYLES))
    return source.render((0, 0, 500, 250), "EPSG:3857", 500, 250)


RICH: dict[str, Any] = {
    "title": {"en": "All of it"},
    "rules": [
        {
            "filter": {
                "all": [
                    {"field": "height", "at_least": 10},
                    {"not": {"field": "building", "equal": "school"}},
                ]
            },
            "symbols": [{"polygon": {"fill": "#11aa33", "opacity": 0.5}}],
        },
        {"filter": {"field": "building", "like": "%'c"}, "symbols": [{"polygon": {"fill": "#aa1133"}}]},
        {"filter": {"field": "building", "like": "50\\%"}, "symbols": [{"polygon": {"fill": "#3311aa"}}]},
        {
            "filter": {"field": "building", "exists": False},
            "symbols": [{"line": {"stroke": "#000000", "width": 3}}],
        },
        {
            "filter": {"field": "height", "at_most": 5},
            "symbols": [{"polygon": {"fill": "#cccccc", "pattern": "pattern-dots"}}],
        },
        {"otherwise": True, "symbols": [{"polygon": {"fill": "#cccccc", "pattern": "pattern-dots"}}]},
        {
            "max_scale": denominator_of(15),
            "symbols": [
                {
                    "line": {
                        "stroke": "#ff00ff",
                        "width": {14: 1, 18: 5},
                        "dash": [6, 3],
                        "cap": "butt",
                        "offset": 4,
                    }
                }
            ],
        },
        {
            "filter": {"geometry": "point"},
            "symbols": [
                {"point": {"fill": "#ff8800", "size": 14, "shape": "star", "stroke": "#000000"}},
                {"icon": {"icon": "tree", "size": 18, "opacity": 0.8}},
            ],
        },
        {
            "filter": {"geometry": "polygon"},
            "symbols": [
                {"label": {"text": "{name_zh|name}-{building}", "size": 12, "offset": 3, "anchor": "top"}}
            ],
        },
    ],
}


@pytest.mark.parametrize("format_", FORMATS)
def test_the_rich_style_is_the_same_picture_in_every_format(shapes: Path, format_: str) -> None:
    style = parse_style(RICH)
    text, notes = write_document(style, format_, "shapes")
    read = read_document(text, format_)
    assert read.notes == (), read.notes
    allowed = ("SLD 1.0", "dashes of a line")
    assert all(note.startswith(allowed) for note in notes), notes
    drawn, again = picture(shapes, style), picture(shapes, read.style)
    assert drawn[..., 3].any()
    different = (np.abs(drawn.astype(int) - again) > 8).any(axis=-1)
    assert different.mean() < 0.002, format_


@pytest.mark.parametrize("name", [n for n in style_names(STYLES) if load_style(n, STYLES).raster is None])
@pytest.mark.parametrize("format_", FORMATS)
def test_styles_of_ours_are_the_same_picture_in_every_format(shapes: Path, name: str, format_: str) -> None:
    style = load_style(name, STYLES)
    read = read_document(write_document(style, format_, name).text, format_)
    assert read.notes == ()
    different = (np.abs(picture(shapes, style).astype(int) - picture(shapes, read.style)) > 8).any(axis=-1)
    assert different.mean() < 0.002


RASTERS: list[dict[str, Any]] = [
    {"kind": "ramp", "span": [0, 80], "palette": "viridis"},
    {
        "kind": "ramp",
        "values": True,
        "ramp": [[-5, "#000000"], [20, "#ff0000"], [90, "#ffffff"]],
        "opacity": 0.5,
    },
    {
        "kind": "intervals",
        "intervals": [[10, "#111111"], [50, "#22222280"], [1000, "#333333"]],
        "labels": ["a", "b", "c"],
    },
    {"kind": "classes", "classes": {0: "#ff0000", 5: "#00ff00", 7.5: "#0000ff"}},
    {"kind": "rgb", "bands": [3, 2, 1], "spans": [[0, 50], [0, 60], [10, 90]], "gamma": 1.5},
    {"kind": "hillshade", "exaggeration": 3},
]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("keys", RASTERS, ids=lambda keys: keys["kind"])
def test_rasters_are_the_same_picture_in_every_format(keys: dict[str, Any], format_: str) -> None:
    style = parse_style({"raster": keys})
    read = read_document(write_document(style, format_, "r").text, format_).style
    assert style.raster is not None
    assert read.raster is not None
    values = np.arange(3 * 400, dtype=np.float32).reshape(3, 20, 20) % 97 - 3
    values[0, 3, 4] = np.nan
    count, margin = len(style.raster.bands), 1 if style.raster.hillshade else 0
    pictures = [
        draw_raster(values[:count], one, names=("a", "b", "c"), spans=((0, 90),) * 3, margin=margin)
        for one in (style.raster, read.raster)
    ]
    assert pictures[0][..., 3].any()
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() <= 2


def test_our_keys_survive_json_where_keys_become_texts() -> None:
    for name in style_names(STYLES):
        style = replace(load_style(name, STYLES), icon_folder=None)
        assert parse_style(json.loads(json.dumps(style_keys(style)))) == style


def test_the_digest_follows_the_content_and_not_the_folder(tmp_path: Path) -> None:
    style = parse_style(RICH)
    (tmp_path / "icons").mkdir()
    for name in ("tree", "pattern-dots"):
        (tmp_path / "icons" / f"{name}.svg").write_bytes((STYLES / "icons" / f"{name}.svg").read_bytes())
    here, there = with_icons(style, STYLES), with_icons(style, tmp_path)
    assert style_digest(here) == style_digest(there)
    (tmp_path / "icons" / "tree.svg").write_text("<svg/>")
    fresh = replace(there, icon_folder=str(tmp_path / "." / "icons") + "/")
    assert style_digest(fresh) != style_digest(here)
    assert style_digest(replace(style, background="#ffffff")) != style_digest(style)


# --- MapLibre ------------------------------------------------------------------------------------------------------------


def maplibre(layer: dict[str, Any]) -> tuple[Style, tuple[str, ...]]:
    return read_document(json.dumps({"version": 8, "layers": [{"id": "l"} | layer]}), "maplibre")


def test_expressions_become_rules_and_zooms_are_counted_as_ours() -> None:
    style, notes = maplibre(
        {
            "type": "line",
            "minzoom": 9,
            "filter": ["all", ["==", "a", 1], ["!in", "b", "x", "y"]],
            "paint": {
                "line-color": [
                    "match",
                    ["get", "k"],
                    ["p", "q"],
                    "red",
                    "r",
                    "rgb(0, 0, 255)",
                    "hsl(120, 100%, 25%)",
                ],
                "line-width": ["interpolate", ["linear"], ["zoom"], 10, 1, 14, 5],
            },
        }
    )
    assert notes == ()
    [rules] = style.passes
    assert [rule.symbols[0].stroke for rule in rules if isinstance(rule.symbols[0], LineSymbol)] == [
        "#ff0000",
        "#0000ff",
        "#008000",
    ]
    assert all(rule.max_scale == denominator_of(10) for rule in rules)
    assert rules[0].symbols[0].width == ((11.0, 1.0), (15.0, 5.0))  # type: ignore[union-attr]  # a line, as above


def test_circles_texts_and_icons() -> None:
    style, _ = maplibre({"type": "circle", "paint": {"circle-radius": 5, "circle-stroke-width": 2}})
    symbol = style.passes[0][0].symbols[0]
    assert isinstance(symbol, PointSymbol)
    assert symbol.size == 12  # the outline lies around the disc there, on its edge here
    layout = {
        "icon-image": "bus-stop",
        "text-field": ["concat", ["coalesce", ["get", "zh"], ["get", "en"]], " m"],
    }
    style, notes = maplibre({"type": "symbol", "layout": layout})
    assert notes == ()
    icon, label = style.passes[0][0].symbols
    assert isinstance(icon, IconSymbol)
    assert isinstance(label, LabelSymbol)
    assert label.fields == ("zh", "en")


@pytest.mark.parametrize(
    ("layer", "note"),
    [
        ({"type": "fill", "paint": {"fill-color": ["at", 0, ["get", "x"]]}}, "fill-color"),
        ({"type": "fill", "paint": {"fill-color": "no colour"}}, "fill-color"),
        ({"type": "fill", "paint": {"fill-translate": [1, 2]}}, "fill-translate"),
        ({"type": "line", "paint": {"line-gradient": 1}}, "line-gradient"),
        ({"type": "symbol", "layout": {"icon-image": "https://x/y.png", "text-field": "{a}"}}, "icon-image"),
        (
            {
                "type": "circle",
                "paint": {"circle-radius": ["interpolate", ["linear"], ["get", "a"], 0, 1, 9, 5]},
            },
            "steps",
        ),
        ({"type": "fill-extrusion"}, "flat"),
    ],
)
def test_what_maplibre_says_and_we_do_not_draw_is_told(layer: dict[str, Any], note: str) -> None:
    _, notes = maplibre(layer)
    assert any(note in one for one in notes), notes


@pytest.mark.parametrize(
    "layers",
    [
        [{"id": "l", "type": "fill", "filter": ["within", {}]}],
        [{"id": "l", "type": "heatmap"}],
        [{"id": "l", "type": "fill", "layout": {"visibility": "none"}}],
        [5],
        "x",
        [{"id": str(number), "type": "fill"} for number in range(501)],
        [{"id": "l", "type": "fill", "filter": json.loads('["!",' * 30 + '["has","a"]' + "]" * 30)}],
    ],
)
def test_a_maplibre_style_that_draws_nothing_is_refused(layers: Any) -> None:
    with pytest.raises(StyleError):
        read_document(json.dumps({"version": 8, "layers": layers}), "maplibre")


# --- SLD -----------------------------------------------------------------------------------------------------------------


def sld(inside: str) -> str:
    return (
        '<StyledLayerDescriptor version="1.0.0" xmlns="http://www.opengis.net/sld" xmlns:ogc="http://www.opengis.net/ogc" '
        'xmlns:xlink="http://www.w3.org/1999/xlink"><NamedLayer><Name>a</Name><UserStyle><FeatureTypeStyle>'
        f"{inside}</FeatureTypeStyle></UserStyle></NamedLayer></StyledLayerDescriptor>"
    )


POLYGON = (
    '<PolygonSymbolizer><Fill><CssParameter name="fill">#ff0000</CssParameter></Fill></PolygonSymbolizer>'
)


@pytest.mark.parametrize(
    ("rule", "note"),
    [
        (f"<Rule>{POLYGON}</Rule><VendorOption name='x'>1</VendorOption>", "vendor"),
        (
            "<Rule><PointSymbolizer><Graphic><ExternalGraphic><OnlineResource xlink:href='http://x/Y Z.png'/>"
            "</ExternalGraphic></Graphic></PointSymbolizer></Rule>",
            "not fetched",
        ),
        (
            "<Rule><PointSymbolizer><Graphic><Mark><WellKnownName>ttf://a#1</WellKnownName></Mark></Graphic></PointSymbolizer></Rule>",
            "mark",
        ),
        (f"<Rule>{POLYGON}</Rule><Rule><ogc:Filter><ogc:BBOX/></ogc:Filter>{POLYGON}</Rule>", "BBOX"),
        (f"<Rule>{POLYGON}<ExtraSymbolizer/></Rule>", "ExtraSymbolizer"),
    ],
)
def test_what_sld_says_and_we_do_not_draw_is_told(rule: str, note: str) -> None:
    notes = read_document(sld(rule), "sld-1.0").notes
    assert any(note in one for one in notes), notes


@pytest.mark.parametrize(
    "document",
    [
        "",
        "x",
        "<a",
        "<a/>",
        sld(""),
        sld("<Rule/>"),
        '<!DOCTYPE x [<!ENTITY a "b">]>' + sld(f"<Rule>{POLYGON}</Rule>"),
        '<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>',
        sld("<Rule>" * 100 + "</Rule>" * 100),
        sld(f"<Rule><MinScaleDenominator>x</MinScaleDenominator>{POLYGON}</Rule>"),
        sld(
            "<Rule><RasterSymbolizer><ColorMap><ColorMapEntry color='#000000' quantity='nan'/></ColorMap></RasterSymbolizer></Rule>"
        ),
        sld("<Rule><RasterSymbolizer><ColorMap type='ramp'/></RasterSymbolizer></Rule>"),
        "<x>" + "y" * MAXIMUM_DOCUMENT + "</x>",
    ],
)
def test_sld_that_is_none_is_refused(document: str) -> None:
    with pytest.raises(StyleError):
        read_document(document, "sld-1.0")


def test_literals_of_sld_fit_numbers_and_texts(shapes: Path) -> None:
    rule = (
        "<Rule><ogc:Filter><ogc:PropertyIsEqualTo><ogc:PropertyName>height</ogc:PropertyName><ogc:Literal>10</ogc:Literal>"
        f"</ogc:PropertyIsEqualTo></ogc:Filter>{POLYGON}</Rule>"
    )
    pixels = picture(shapes, read_document(sld(rule), "sld-1.0").style)
    assert pixels[200, 140].tolist() == [255, 0, 0, 255]
    assert pixels[200, 240, 3] == 0
