"""Legends of the installation's styles speak the language asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tiles.maps.legend import legend_document, legend_entries
from tiles.maps.styles import load_style, style_names

STYLES = Path(__file__).parents[3] / "config" / "styles"


@pytest.mark.parametrize("name", style_names(STYLES))
def test_a_chinese_legend_has_chinese_names(name: str) -> None:
    style = load_style(name, STYLES)
    chinese = [entry.name for entry in legend_entries(style, "zh")]
    english = [entry.name for entry in legend_entries(style, "en")]
    assert len(chinese) == len(english)
    assert not [text for text in chinese if re.search("[A-Za-z]", text)]
    assert not [text for text in english if re.search("[\u4e00-\u9fff]", text)]
    assert legend_document(style, "zh") != legend_document(style, "en")


def test_casing_and_filling_of_a_street_stay_one_line() -> None:
    names = [entry.name for entry in legend_entries(load_style("streets", STYLES), "en")]
    assert names == ["main roads", "secondary roads", "streets", "footways and cycleways", "other"]
