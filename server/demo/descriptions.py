"""What people read about the demo's tenants and collections: config/demo/collections.yml, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from server.demo.errors import DemoDescriptionError

_TEXTS = ("attribution", "licence", "licence_url")
_ALLOWED = frozenset({"titles", "descriptions", "keywords", "field_titles", "simulated", "style", *_TEXTS})


@dataclass(frozen=True, slots=True)
class Description:
    """Everything of a collection that is not in its data. `style` None: the default of its geometry or raster."""

    titles: Mapping[str, str]
    descriptions: Mapping[str, str]
    keywords: tuple[str, ...]
    field_titles: Mapping[str, str]
    attribution: str
    licence: str
    licence_url: str
    simulated: bool
    style: str | None


@dataclass(frozen=True, slots=True)
class Descriptions:
    """Titles of tenants by id, and descriptions by "tenant/collection"."""

    tenants: Mapping[str, Mapping[str, str]]
    collections: Mapping[str, Description]

    def of(self, key: str) -> Description:
        """The description of "tenant/collection". Raises DemoDescriptionError where there is none."""
        found = self.collections.get(key)
        if found is None:
            raise DemoDescriptionError(f"The demo's descriptions lack the collection {key!r}")
        return found


def read_descriptions(path: Path) -> Descriptions:
    """Read and check the file. Raises DemoDescriptionError, naming file, collection and key."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DemoDescriptionError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict) or not {"tenants", "collections"} <= document.keys():
        raise DemoDescriptionError(f"{path} has to hold the keys tenants and collections")
    tenants = {
        name: _languages(path, name, "title", entry.get("title"))
        for name, entry in document["tenants"].items()
    }
    collections = {key: _description(path, key, entry) for key, entry in document["collections"].items()}
    return Descriptions(tenants, collections)


def _description(path: Path, key: str, entry: Mapping[str, Any]) -> Description:
    unknown = sorted(set(entry) - _ALLOWED)
    if unknown:
        raise DemoDescriptionError(
            f"{path}: {key} has unknown keys {unknown}; allowed are {sorted(_ALLOWED)}"
        )
    for name in _TEXTS:
        if not isinstance(entry.get(name), str):
            raise DemoDescriptionError(f"{path}: {key}.{name} has to be a text, found {entry.get(name)!r}")
    titles = _languages(path, key, "titles", entry.get("titles"))
    simulated = entry.get("simulated", False) is True
    if simulated and not ("simulated" in titles["en"] and "模拟" in titles["zh"]):
        raise DemoDescriptionError(
            f"{path}: {key} is simulated and both its titles have to say so, found {dict(titles)}"
        )
    return Description(
        titles=titles,
        descriptions=_languages(path, key, "descriptions", entry.get("descriptions")),
        keywords=tuple(str(word) for word in entry.get("keywords", ())),
        field_titles={str(name): str(title) for name, title in entry.get("field_titles", {}).items()},
        attribution=entry["attribution"],
        licence=entry["licence"],
        licence_url=entry["licence_url"],
        simulated=simulated,
        style=entry.get("style"),
    )


def _languages(path: Path, key: str, name: str, value: object) -> Mapping[str, str]:
    """Texts in English and Chinese: both are needed."""
    if not isinstance(value, dict) or not all(isinstance(value.get(code), str) for code in ("en", "zh")):
        raise DemoDescriptionError(
            f"{path}: {key}.{name} has to hold a text for en and one for zh, found {value!r}"
        )
    return {"en": value["en"].strip(), "zh": value["zh"].strip()}
