"""Texts can be read on their grounds, in the light look and the dark one: WCAG 2.2, 1.4.3 (4.5 to 1)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import server.pages

STYLES = (Path(server.pages.__file__).parent / "static" / "css" / "chengtu.css").read_text(encoding="utf-8")
PAIRS = [
    (text, ground) for text in ("ink", "muted", "link") for ground in ("ground", "surface", "raised")
] + [
    ("accent-ink", "accent"),
    ("ink", "accent-soft"),
    ("simulated", "simulated-soft"),
    ("accent", "surface"),
]


def looks() -> dict[str, dict[str, str]]:
    """The colours of both looks by name; the dark one keeps what it does not change."""
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\n\s*\}", STYLES, re.DOTALL)[:2]
    )
    return {"light": light, "dark": light | dark}


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_stands_out_from_its_ground(look: str, text: str, ground: str) -> None:
    colours = looks()[look]
    lighter, darker = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


@pytest.mark.parametrize("look", ["light", "dark"])
def test_the_focus_ring_stands_out(look: str) -> None:
    colours = looks()[look]
    for ground in ("ground", "surface"):
        lighter, darker = sorted((luminance(colours["focus"]), luminance(colours[ground])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 3
