"""Styles in the formats users write: MapLibre, SLD 1.0 and 1.1, and our own keys; read into one model, written from it."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import orjson
import yaml

from tiles.errors import StyleError
from tiles.maps.style_model import Style
from tiles.maps.style_writing import style_keys

type StyleFormat = Literal["maplibre", "sld-1.0", "sld-1.1", "chengtu"]
STYLE_FORMATS: tuple[StyleFormat, ...] = get_args(StyleFormat.__value__)
MAXIMUM_DOCUMENT = 2_000_000
"""Letters of a style document at most."""
MAXIMUM_YAML = 500_000
"""Letters of a style in YAML at most."""
MAXIMUM_RULES = 5000
"""Rules of a style at most, those that values by feature were taken apart into among them."""
_MOST_DEPTH = 60


class StyleDocument(NamedTuple):
    """What a document says as an object of ours; `notes` name all that was not understood, or is drawn in another way."""

    style: Style
    notes: tuple[str, ...]


@lru_cache(maxsize=128)
def read_document(document: str, format_: str) -> StyleDocument:
    """Read a style (of one of STYLE_FORMATS). Raises StyleError where it is malformed or draws nothing at all."""
    if len(document) > MAXIMUM_DOCUMENT:
        raise StyleError(f"the style has {len(document)} letters; allowed are {MAXIMUM_DOCUMENT}")
    found = _read(document, format_)
    rules = sum(map(len, found.style.passes))
    if rules > MAXIMUM_RULES:
        raise StyleError(f"the style has {rules} rules; allowed are {MAXIMUM_RULES}")
    return found


def _read(document: str, format_: str) -> StyleDocument:
    if format_ == "maplibre":
        from tiles.maps.maplibre.reading import read_maplibre

        return StyleDocument(*read_maplibre(_json(document)))
    if format_ in ("sld-1.0", "sld-1.1"):
        from tiles.maps.sld.reading import read_sld

        return StyleDocument(*read_sld(document))
    if format_ == "chengtu":
        from tiles.maps.styles import parse_style

        return StyleDocument(parse_style(_yaml(document)), ())
    raise StyleError(f"style format {format_!r:.40} is not known; known are {', '.join(STYLE_FORMATS)}")


def write_document(style: Style, format_: str, name: str = "style") -> StyleText:
    """Write a style in one of STYLE_FORMATS; `name` is that of the style and of the layer it is for. Raises StyleError.

    A MapLibre style written here has no sources yet: tiles.maps.maplibre.serving gives it the addresses of a server.
    """
    if format_ == "maplibre":
        from tiles.maps.maplibre.writing import write_maplibre

        content, notes = write_maplibre(style, name)
        return StyleText(orjson.dumps(content, option=orjson.OPT_INDENT_2).decode(), notes)
    if format_ in ("sld-1.0", "sld-1.1"):
        from tiles.maps.sld.writing import write_sld

        return StyleText(*write_sld(style, name, "1.1.0" if format_ == "sld-1.1" else "1.0.0"))
    if format_ == "chengtu":
        return StyleText(yaml.safe_dump(style_keys(style), allow_unicode=True, sort_keys=False), ())
    raise StyleError(f"style format {format_!r:.40} is not known; known are {', '.join(STYLE_FORMATS)}")


class StyleText(NamedTuple):
    """A written style; `notes` name all that the format cannot say."""

    text: str
    notes: tuple[str, ...]


def _json(document: str) -> object:
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise StyleError(f"the style is not JSON: {error}") from error


def _yaml(document: str) -> object:
    # Aliases of YAML make small documents large: a style needs none. Reading it costs a hundred times what JSON does.
    if len(document) > MAXIMUM_YAML:
        raise StyleError(f"a style in YAML has at most {MAXIMUM_YAML} letters, found {len(document)}")
    try:
        depth = 0
        for event in yaml.parse(document, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise StyleError("the style has YAML aliases (*name), which are not allowed here")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MOST_DEPTH:
                raise StyleError(f"the style is nested deeper than {_MOST_DEPTH} levels")
        return yaml.load(document, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise StyleError(f"the style is not YAML: {str(error)[:300]}") from error
