"""The frame around every page: templates, texts, our own assets and the npm packages, and what all pages are given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from server.pages import views
from server.pages.assets import StaticFiles
from server.pages.documents import is_plain_list, one_line
from server.pages.language import HTML_LANGUAGE, LANGUAGES, Language, load_messages
from server.pages.links import Links
from server.pages.vendor import PACKAGES, VendorFiles
from server.registry.catalogue import Tenant

_HERE = Path(__file__).parent
_DEFAULT_TITLES: Mapping[str, str] = MappingProxyType({"en": "Chengtu city data", "zh": "城图 城市数据"})


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What all pages share. `vendor_dir` is node_modules or a copy of it; `base_path` "" or "/prefix"."""

    vendor_dir: Path | None = None
    base_path: str = ""
    titles: Mapping[str, str] = _DEFAULT_TITLES


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What a page needs of a request: `path` with base path and without query, `origin` scheme and host, no slash."""

    language: Language
    path: str
    origin: str
    query: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class Frame:
    """Renders a template inside the frame. Built once a process; threads share it."""

    def __init__(self, settings: PageSettings) -> None:
        self._settings = settings
        self.messages = load_messages(_HERE / "locale")
        self.scene_messages = load_messages(_HERE / "locale" / "scene")
        self.static = StaticFiles.of(_HERE / "static")
        self.vendor = VendorFiles.of(settings.vendor_dir)
        self.import_map = json.dumps(
            {
                "imports": {p.name: self.vendor_address(p.name) for p in PACKAGES}
                | {
                    "lit/": self.vendor_address("lit", ""),
                    "lit-html/": self.vendor_address("lit-html", ""),
                    "lit-element/": self.vendor_address("lit-element", ""),
                }
            },
            sort_keys=True,
        ).replace("<", "\\u003c")
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        # JSON blocks: readable Chinese, and text for what JSON has no form for (dates).
        self._environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "default": str}
        self._environment.filters["cell"] = cell
        self._environment.filters["one_line"] = one_line
        self._environment.tests["plain_list"] = is_plain_list
        self._environment.tests["web_address"] = _is_web_address

    def vendor_address(self, name: str, path: str | None = None) -> str:
        """The address of a file of an npm package; of its entry module by default, of its folder for ""."""
        address = self.vendor.address(name, path or None)
        if path == "":
            address = address.removesuffix(next(p.entry for p in PACKAGES if p.name == name))
        return f"{self._settings.base_path}/vendor/{address}"

    def links(self, tenant: Tenant | None) -> Links:
        """The addresses of a tenant's view, or of the city's."""
        return Links(self._settings.base_path, tenant.id if tenant else None)

    def render(self, template: str, request: PageRequest, tenant: Tenant | None, /, **context: Any) -> str:
        """The page of `template`, with what all pages are given and `context`."""
        messages = self.messages[request.language]
        links = self.links(tenant)
        static = f"{self._settings.base_path}/static/{self.static.digest}"
        everywhere: dict[str, Any] = {
            "t": messages,
            "lang": request.language,
            "html_lang": HTML_LANGUAGE[request.language],
            "other_languages": [
                (language, HTML_LANGUAGE[language], address_with(request, lang=language))
                for language in LANGUAGES
                if language != request.language
            ],
            "links": links,
            "city_links": self.links(None),
            "tenant": tenant,
            "tenant_title": views.tenant_title(tenant, tenant.id, request.language) if tenant else None,
            "site_title": views.text_of(self._settings.titles, request.language),
            "static": static,
            "maplibre_styles": self.vendor_address("maplibre-gl", "dist/maplibre-gl.css"),
            "import_map": self.import_map,
            "browser_settings": {
                "language": HTML_LANGUAGE[request.language],
                "messages": messages.for_browser(),
                "worldTextures": self.vendor_address(
                    "cesium", "Build/Cesium/Assets/Textures/NaturalEarthII/"
                ),
            },
            "json_address": address_with(request, f="json"),
            "credits": (),
        }
        return self._environment.get_template(template).render(everywhere | context)


def address_with(request: PageRequest, **changed: str) -> str:
    """The address of this page with some query parameters set."""
    query = {name: value for name, value in request.query.items() if name != "lang"} | changed
    return f"{request.path}?{urlencode(query)}"


def cell(value: Any) -> str:
    """A JSON value as the text of a table cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)[:500]
    return str(value)


def _is_web_address(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://")) and len(value.split()) == 1
