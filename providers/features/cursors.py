"""Tokens of keyset paging: where a page ended, for which generation and which query.

A token is opaque to clients and not secret: every value in it is checked before a store sees it.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from datetime import datetime
from typing import Any

import orjson

from providers.errors import InvalidParameter, StaleCursor
from providers.features.query import Cursor, ItemQuery
from providers.features.schema import FieldDefinition

_ALLOWED = "a cursor taken from a next link"


def cursor_mark(query: ItemQuery) -> int:
    """A checksum of what decides which features come after a cursor and in which order; 0 for the store's own order."""
    if not query.sortby and query.filter is None and not query.q:
        return 0
    parts = (
        *(f"{'-' if key.descending else '+'}{key.field}" for key in query.sortby),
        query.filter.text if query.filter is not None else "",
        *query.q,
    )
    return zlib.crc32("\n".join(parts).encode()) or 1


def encode_cursor(generation: int, cursor: Cursor, mark: int = 0) -> str:
    """The token of the page after `cursor`. `mark` is the `cursor_mark` of the query."""
    head = [generation, mark] if mark else generation
    return base64.urlsafe_b64encode(orjson.dumps((head, *cursor))).decode().rstrip("=")


def decode_cursor(token: str, generation: int, mark: int = 0, length: int | None = None) -> Cursor:
    """The cursor in a token. `mark` and `length` (of the cursor, None for any) are those of the present query.

    Raises InvalidParameter for what is no token or belongs to another query, StaleCursor for one of another generation.
    """
    values = _values(token)
    made_for, marked = (values[0], 0) if isinstance(values[0], int) else values[0]
    if made_for != generation:
        raise StaleCursor(
            "cursor",
            token,
            f"a cursor of the present generation {generation}; this one belongs to {made_for}, the collection has been "
            "published anew since: start again without cursor",
        )
    if marked != mark:
        raise InvalidParameter(
            "cursor",
            token,
            f"{_ALLOWED} of the same sortby, filter and q; to change them, start without cursor",
        )
    if length is not None and len(values) != length + 1:
        raise InvalidParameter("cursor", token, _ALLOWED)
    return tuple(values[1:])


def _values(token: str) -> list[Any]:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        values = orjson.loads(raw)
    except (binascii.Error, ValueError):
        values = None
    if (
        not isinstance(values, list)
        or len(values) < 2
        or not _is_head(values[0])
        or not all(_can_be_stored(value) for value in values[1:])
    ):
        raise InvalidParameter("cursor", token, _ALLOWED)
    return values


def _is_head(value: object) -> bool:
    is_marked = isinstance(value, list) and len(value) == 2 and all(type(item) is int for item in value)
    return type(value) is int or is_marked


def _can_be_stored(value: object) -> bool:
    if isinstance(value, str):
        return "\0" not in value
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 63
    return value is None or type(value) in (float, bool)


def check_cursor(token: str, cursor: Cursor, fields: list[FieldDefinition]) -> None:
    """Raise InvalidParameter where a sort value is none of its field, or the key at the end is missing."""
    if type(cursor[-1]) not in (str, int) or not all(
        value is None or _fits(value, field) for value, field in zip(cursor, fields, strict=False)
    ):
        raise InvalidParameter("cursor", token, _ALLOWED)


def _fits(value: str | int | float, field: FieldDefinition) -> bool:
    """Booleans may come as numbers, instants as RFC 3339 texts or as numbers: stores sort by what they keep."""
    if field.type == "boolean":
        return not isinstance(value, str)
    if field.type in ("integer", "number"):
        return type(value) in (int, float)
    if field.format is None or not isinstance(value, str):
        return isinstance(value, str) or (field.format is not None and type(value) is int)
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True
