"""The page language, and that every text is in both catalogues."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import server.pages
from providers.formatters.registry import DOWNLOAD_FORMATS
from providers.points.coverage import BAND_TITLES
from server.pages import DOCUMENT_KINDS, LANGUAGES, choose_language, language_cookie
from server.pages.links import downloads
from server.registry.catalogue import Catalogue, RepresentationKind

PAGES = Path(server.pages.__file__).parent
CATALOGUES = {
    language: json.loads((PAGES / "locale" / f"{language}.json").read_text(encoding="utf-8"))
    for language in LANGUAGES
}
# Words that are the same in every language: our name and the names of standards and formats.
NAMES = {"Chengtu", "城图"}


@pytest.mark.parametrize(
    ("header", "lang", "cookie", "expected"),
    [
        (None, None, None, "en"),
        ("", None, None, "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", None, None, "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", None, None, "en"),
        ("fr-FR,zh-Hant-TW;q=0.4,en;q=0.3", None, None, "zh"),
        ("zh;q=0,en;q=0.1", None, None, "en"),
        ("zh;q=nonsense,en;q=0.1", None, None, "en"),
        ("fi", None, None, "en"),
        ("zh-CN", None, "en", "en"),
        ("en", "zh", "en", "zh"),
        ("en", "ZH_cn", None, "zh"),
        ("zh", "<script>", "", "zh"),
        ("," * 5000 + "zh", None, None, "en"),  # only the first twenty preferences are read
    ],
)
def test_the_parameter_wins_over_the_cookie_over_the_browser(
    header: str | None, lang: str | None, cookie: str | None, expected: str
) -> None:
    assert choose_language(header, lang, cookie) == expected


def test_a_choice_is_kept_in_a_cookie() -> None:
    assert language_cookie("zh") == "chengtu_language=zh; Path=/; Max-Age=31536000; SameSite=Lax"
    assert language_cookie("xx; Domain=evil") is None
    assert language_cookie(None) is None


def test_every_band_of_points_has_a_title_in_both_languages() -> None:
    for name, title in BAND_TITLES.items():
        assert CATALOGUES["en"][f"points.band.{name}"] == title
        assert CATALOGUES["zh"][f"points.band.{name}"] != title


def test_both_catalogues_have_the_same_keys_and_places() -> None:
    assert CATALOGUES["en"].keys() == CATALOGUES["zh"].keys()
    places = re.compile(r"\{\w+\}")
    for key, text in CATALOGUES["en"].items():
        assert text.strip(), key
        assert CATALOGUES["zh"][key].strip(), key
        assert set(places.findall(text)) == set(places.findall(CATALOGUES["zh"][key])), key


def used_keys() -> set[str]:
    """Keys named in templates, scripts and Python, and those made of a kind or a status."""
    templates = "".join(p.read_text(encoding="utf-8") for p in (PAGES / "templates").glob("*.html"))
    code = "".join(p.read_text(encoding="utf-8") for p in PAGES.glob("*.py"))
    scripts = "".join(p.read_text(encoding="utf-8") for p in (PAGES / "static" / "js").glob("*.js"))
    used = set(re.findall(r"""\bt\(['"]([\w.-]+)['"](?! ~)""", templates))
    used |= set(re.findall(r"""\bmessages\(\s*['"]([\w.]+)['"]""", code))
    used |= set(re.findall(r"\"((?:download|count|style)\.(?!html)\w+)\"", code))
    used |= {f"service.{key}{end}" for key in re.findall(r'\badd\("([\w]+)"', code) for end in ("", ".hint")}
    used |= {f"download.{form.name}" for form in DOWNLOAD_FORMATS.values() if form.name != "gpkg"}
    used |= {f"js.{key}" for key in re.findall(r'\bmessage\("([\w.]+)"', scripts)}
    used |= {f"document.{kind}" for kind in DOCUMENT_KINDS} | {f"language.{name}" for name in LANGUAGES}
    used |= {f"points.band.{name}" for name in BAND_TITLES}
    used |= {f"kind.{kind}" for kind in RepresentationKind if kind != RepresentationKind.RECORD}
    return used


def test_every_key_used_is_there_and_every_key_there_is_used() -> None:
    known = set(CATALOGUES["en"])
    assert used_keys() - known == set()
    by_data = {key for key in known if key.startswith(("error.", "js.map.", "map."))}
    assert known - used_keys() - by_data == set()
    assert "error.other" in known


@pytest.mark.parametrize("template", sorted((PAGES / "templates").glob("*.html")), ids=lambda p: p.name)
def test_no_template_holds_words_of_its_own(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    text = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}", " ", text, flags=re.DOTALL)
    for attribute in re.findall(r'(?:aria-label|title|alt|placeholder)="([^"]*)"', text):
        assert not re.search(r"\w", attribute), attribute
    words = set(re.findall(r"[^\W\d_]+", re.sub(r"<[^>]*>", " ", text)))
    assert words <= NAMES, words - NAMES


def test_every_download_has_a_label(catalogue: Catalogue) -> None:
    labels = {d.label for c in catalogue.collections.values() for d in downloads(c)}
    assert labels
    assert labels <= CATALOGUES["en"].keys()
