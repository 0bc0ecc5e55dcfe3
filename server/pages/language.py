"""The languages of the portal and the catalogues of its texts (`locale/en.json`, `locale/zh.json`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

type Language = Literal["en", "zh"]

LANGUAGES: tuple[Language, ...] = ("en", "zh")
LANGUAGE_COOKIE = "chengtu_language"
HTML_LANGUAGE: Mapping[str, str] = MappingProxyType({"en": "en", "zh": "zh-Hans"})
BROWSER_PREFIX = "js."

_ONE_YEAR = 365 * 24 * 3600


def _known(tag: str | None) -> Language | None:
    """The language of ours that a BCP 47 tag asks for ("zh-Hant-TW" -> "zh"), None where it is neither."""
    primary = (tag or "").strip().lower().replace("_", "-").split("-", 1)[0]
    return "zh" if primary == "zh" else "en" if primary == "en" else None


def choose_language(
    accept_language: str | None, lang_param: str | None = None, cookie: str | None = None
) -> Language:
    """The page language: the `lang` parameter, else the cookie, else the browser's preference, else English.

    `accept_language` is the header's value (RFC 9110, 12.5.4). Unknown and malformed values are passed over.
    """
    chosen = _known(lang_param) or _known(cookie)
    if chosen:
        return chosen
    best: tuple[float, Language] | None = None
    for part in (accept_language or "").split(",")[:20]:
        tag, _, parameters = part.partition(";")
        language = _known(tag)
        quality = _quality(parameters)
        if language and quality > 0 and (best is None or quality > best[0]):
            best = (quality, language)
    return best[1] if best else "en"


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def language_cookie(lang_param: str | None) -> str | None:
    """The Set-Cookie value that keeps the reader's choice, None where `lang` names no language of ours."""
    language = _known(lang_param)
    if language is None:
        return None
    return f"{LANGUAGE_COOKIE}={language}; Path=/; Max-Age={_ONE_YEAR}; SameSite=Lax"


@dataclass(frozen=True, slots=True)
class Messages:
    """The texts of one language, by key."""

    language: Language
    texts: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """The text of `key` with `{name}` places filled. Raises KeyError for a key the catalogue does not have."""
        text = self.texts[key]
        return text.format(**values) if values else text

    def has(self, key: str) -> bool:
        """Whether the catalogue has this key (for texts named by data, such as a field of a document)."""
        return key in self.texts

    def for_browser(self) -> dict[str, str]:
        """The texts the scripts use: keys that start with "js.", without that prefix."""
        return {
            key.removeprefix(BROWSER_PREFIX): text
            for key, text in self.texts.items()
            if key.startswith(BROWSER_PREFIX)
        }


def load_messages(folder: Path) -> Mapping[str, Messages]:
    """Read one catalogue per language from `folder`."""
    return MappingProxyType(
        {
            language: Messages(
                language, json.loads((folder / f"{language}.json").read_text(encoding="utf-8"))
            )
            for language in LANGUAGES
        }
    )
