"""Styles that are made to cost: nested, long, or with dashes that never end are refused, or drawn plainly, at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tiles.errors import StyleError
from tiles.maps.style_branches import MAXIMUM_BRANCHES
from tiles.maps.style_documents import MAXIMUM_RULES, MAXIMUM_YAML, StyleDocument, read_document
from tiles.maps.style_filters import MAXIMUM_PARTS
from tiles.maps.style_model import LineSymbol

SLD = (
    '<StyledLayerDescriptor version="1.0.0" xmlns="http://www.opengis.net/sld" xmlns:ogc="http://www.opengis.net/ogc">'
    "<NamedLayer><Name>a</Name><UserStyle><FeatureTypeStyle>{}</FeatureTypeStyle></UserStyle></NamedLayer>"
    "</StyledLayerDescriptor>"
)
RULE = "<Rule>{}<PolygonSymbolizer><Fill/></PolygonSymbolizer></Rule>"
EQUAL = (
    "<ogc:PropertyIsEqualTo><ogc:PropertyName>a</ogc:PropertyName><ogc:Literal>n{}</ogc:Literal>"
    "</ogc:PropertyIsEqualTo>"
)


def maplibre(kind: str = "fill", **members: Any) -> StyleDocument:
    layer = {"id": "a", "type": kind, **members}
    return read_document(json.dumps({"version": 8, "layers": [layer]}), "maplibre")


def nested(operator: str, levels: int, inner: Any) -> Any:
    for _ in range(levels):
        inner = [operator, inner]
    return inner


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("symbol", {"layout": {"text-field": nested("concat", 400, ["get", "a"])}}),
        ("symbol", {"layout": {"text-field": nested("to-string", 400, ["get", "a"])}}),
        ("fill", {"filter": nested("to-boolean", 400, ["get", "a"])}),
        ("fill", {"filter": ["==", nested("to-string", 400, ["get", "a"]), 1]}),
        ("fill", {"filter": ["in", "a", *range(MAXIMUM_PARTS + 1)]}),
        ("fill", {"filter": ["all", *(["==", "a", number] for number in range(MAXIMUM_PARTS))]}),
    ],
)
def test_a_layer_that_goes_too_deep_or_on_for_ever_is_not_drawn(kind: str, members: dict[str, Any]) -> None:
    with pytest.raises(StyleError, match=r"nested deeper|more than 1000 parts"):
        maplibre(kind, **members)


def test_a_filter_may_have_so_many_values_and_no_more() -> None:
    assert maplibre(filter=["in", "a", *range(MAXIMUM_PARTS)]).notes == ()


@pytest.mark.parametrize(
    "value",
    [
        ["match", ["get", "a"], *(one for n in range(20_000) for one in (n, "red")), "blue"],
        ["case", *(one for n in range(20_000) for one in (["==", ["get", "a"], n], "red")), "blue"],
        ["step", ["get", "a"], "red", *(one for n in range(20_000) for one in (n, "red"))],
        ["match", nested("to-string", 400, ["get", "a"]), 1, "red", "blue"],
        ["interpolate", ["exponential", -1], ["zoom"], 0, "#ff0000", 2, "#00ff00", 2.5, "#0000ff"],
    ],
    ids=["match", "case", "step", "deep field", "base below nothing"],
)
def test_a_value_of_too_many_cases_is_noted_and_not_used(value: Any) -> None:
    found = maplibre(paint={"fill-color": value})
    assert len(found.style.passes[0]) == 1
    assert any("fill-color" in note and "not understood" in note for note in found.notes)


def test_as_many_cases_as_there_are_branches_are_drawn() -> None:
    cases = MAXIMUM_BRANCHES - 1
    match = ["match", ["get", "a"], *(one for n in range(cases) for one in (n, "red")), "blue"]
    assert len(maplibre(paint={"fill-color": match}).style.passes[0]) == MAXIMUM_BRANCHES


@pytest.mark.parametrize("name", ["line-width", "line-color"])
def test_stops_far_outside_of_all_zooms_cost_nothing(name: str) -> None:
    low, high = (1, 3) if name == "line-width" else ("#ff0000", "#00ff00")
    value = ["interpolate", ["exponential", 1.0001], ["zoom"], -1_000_000_000, low, 25, high]
    found = maplibre("line", paint={name: value})
    assert len(found.style.passes[0]) <= 26


@pytest.mark.parametrize(
    ("dashes", "drawn"),
    [("0.0000001 0.0000001", ()), ("0 0", ()), ("0.4 0.6", (0.4, 0.6)), ("4 1e14", (4.0, 10_000.0))],
)
def test_dashes_shorter_than_a_pixel_are_a_plain_line(dashes: str, drawn: tuple[float, ...]) -> None:
    stroke = f'<Stroke><CssParameter name="stroke-dasharray">{dashes}</CssParameter></Stroke>'
    style = read_document(
        SLD.format(f"<Rule><LineSymbolizer>{stroke}</LineSymbolizer></Rule>"), "sld-1.0"
    ).style
    (symbol,) = style.passes[0][0].symbols
    assert isinstance(symbol, LineSymbol)
    assert symbol.dash == drawn


def test_dashes_of_the_other_formats_too() -> None:
    ours = "rules: [{symbols: [{line: {stroke: '#000000', dash: [1.0e-9, 1.0e-9]}}]}]"
    theirs = maplibre("line", paint={"line-dasharray": [1e-9, 1e-9]})
    for style in (read_document(ours, "chengtu").style, theirs.style):
        (symbol,) = style.passes[0][0].symbols
        assert isinstance(symbol, LineSymbol)
        assert symbol.dash == ()


def test_filters_and_rules_of_sld_have_an_end() -> None:
    several = "".join(EQUAL.format(number) for number in range(MAXIMUM_PARTS))
    with pytest.raises(StyleError, match="more than 1000 parts"):
        read_document(
            SLD.format(RULE.format(f"<ogc:Filter><ogc:Or>{several}</ogc:Or></ogc:Filter>")), "sld-1.0"
        )
    read_document(SLD.format(RULE.format("") * MAXIMUM_RULES), "sld-1.0")
    with pytest.raises(StyleError, match="5001 rules"):
        read_document(SLD.format(RULE.format("") * (MAXIMUM_RULES + 1)), "sld-1.0")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("[" * 20_000, "deeper|not YAML"),
        ("{a: " * 61 + "1" + "}" * 61, "deeper than 60"),
        ("a: " + "x" * MAXIMUM_YAML, "letters"),
    ],
)
def test_yaml_that_is_deep_or_long_is_refused(document: str, reason: str) -> None:
    with pytest.raises(StyleError, match=reason):
        read_document(document, "chengtu")
