"""The query string as pairs, bounded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from urllib.parse import parse_qsl

from server.http.answer import Environ
from server.http.errors import InvalidParameter

_MOST_FIELDS = 64
_LONGEST = 8192  # characters


def query_parameters(environ: Environ) -> list[tuple[str, str]]:
    """Name and value pairs in their order, decoded.

    Raises InvalidParameter where there are more than 64, or more than 8192 characters of them, or where it is not UTF-8.
    """
    query = environ.get("QUERY_STRING", "")
    if not query:
        return []
    if len(query) > _LONGEST:
        raise InvalidParameter(
            f"the query string has {len(query)} characters; allowed: {_LONGEST}; longer filters go into the body of a POST",
            "query string",
            query,
            f"{_LONGEST} characters",
        )
    try:
        if not query.isascii():
            # PEP 3333: bytes read as Latin-1; clients that do not percent-encode send UTF-8.
            query = query.encode("latin-1").decode()
        return parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except UnicodeError as error:
        message = "the query string is not UTF-8, percent-encoded"
        raise InvalidParameter(message, "query string", query, "UTF-8, percent-encoded") from error
    except ValueError as error:
        message = f"the query string has more than {_MOST_FIELDS} parameters"
        raise InvalidParameter(message, "query string", query, f"{_MOST_FIELDS} parameters") from error


def only(parameters: Sequence[tuple[str, str]], allowed: Collection[str]) -> dict[str, str]:
    """The parameters as a mapping.

    Raises InvalidParameter where a name is not in `allowed` or comes twice.
    """
    result: dict[str, str] = {}
    for name, value in parameters:
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise InvalidParameter(
                f"parameter {name!r} is not known here; allowed: {known}",
                name,
                value,
                f"the parameters {known}",
            )
        if name in result:
            raise InvalidParameter(
                f"parameter {name!r} is given more than once", name, value, "each parameter once"
            )
        result[name] = value
    return result


def integer(parameters: dict[str, str], name: str, default: int, lowest: int, highest: int) -> int:
    """A whole number within bounds. Raises InvalidParameter."""
    text = parameters.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and lowest <= int(text) <= highest):
        allowed = f"a whole number from {lowest} to {highest}"
        raise InvalidParameter(f"{name}={text[:200]!r}; allowed: {allowed}", name, text, allowed)
    return int(text)
