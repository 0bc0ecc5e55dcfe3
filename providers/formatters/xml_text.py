"""Texts and numbers as XML 1.0 holds them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from providers.features.schema import FieldDefinition

# What has to be written otherwise, and what XML 1.0 (2.2) has no way to write at all.
_SPECIAL = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]')
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}
# Letters of names in the fourth edition of XML 1.0 (appendix B), which expat and so GDAL still keeps to: not the fifth's.
_NAME_START = (
    "A-Z_a-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff\u0391-\u03a1\u03a3-\u03ce\u0410-\u044f"
    "\u3041-\u3094\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"
)
_NOT_IN_NAME = re.compile(f"[^{_NAME_START}0-9.-]")
_BAD_START = re.compile(f"[^{_NAME_START}]")


def escaped(text: str) -> str:
    """A text for element content and for attributes in double quotes; what XML cannot hold becomes U+FFFD."""
    return _SPECIAL.sub(lambda match: _ESCAPES.get(match[0], "\ufffd"), text)


def xml_name(text: str) -> str:
    """A text as a name without colon (NCName): what a name cannot hold becomes an underscore."""
    name = _NOT_IN_NAME.sub("_", text) or "_"
    return f"_{name}" if _BAD_START.match(name) else name


def xml_id(text: str) -> str:
    """A text as part of an xs:ID, after a letter; different texts give different ids: `_` and what cannot stand become _x2F_."""
    if _PLAIN_ID.fullmatch(text):
        return text
    return "".join(
        character if _PLAIN_ID.fullmatch(character) else f"_x{ord(character):X}_" for character in text
    )


_PLAIN_ID = re.compile(f"[{_NAME_START.replace('_', '')}0-9.-]+")
_CODED = re.compile("_x([0-9A-F]{1,6})_")


def text_of_id(text: str) -> str:
    """What `xml_id` was given."""
    return _CODED.sub(lambda match: chr(min(int(match[1], 16), 0x10FFFF)), text)


def value_text(field: FieldDefinition, values: Sequence[Any]) -> list[str | None]:
    """JSON values of a field as XML content, in the lexical forms of XML Schema; None where there is no value."""
    if field.type == "string":
        search = _SPECIAL.search
        return [
            value
            if value is None or (type(value) is str and search(value) is None)
            else escaped(value if isinstance(value, str) else orjson.dumps(value).decode())
            for value in values
        ]
    return [None if value is None else _plain(value) for value in values]


def _plain(value: Any) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else escaped(orjson.dumps(value).decode())
