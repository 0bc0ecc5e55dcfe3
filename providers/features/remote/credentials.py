"""Credentials of remote services: named in a description, kept in the server's settings."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from providers.errors import StoreError
from providers.outgoing import Authorization
from providers.outgoing.client import header_value

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_FORMS = "basic USER:PASSWORD, bearer TOKEN, header NAME: VALUE, query NAME=VALUE"
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})


def authorization_of(description: Mapping[str, Any], connections: Mapping[str, str]) -> Authorization:
    """What the description's `credentials` stand for. Raises StoreError, which never shows a value."""
    name = description.get("credentials")
    if not name:
        return Authorization()
    text = connections.get(str(name))
    if text is None:
        raise StoreError(
            f"The settings have no connection {str(name)[:80]!r} for a remote service's credentials"
        )
    kind, _, value = text.partition(" ")
    try:
        return _read(kind.lower(), value.strip())
    except ValueError:
        raise StoreError(f"The connection {str(name)[:80]!r} is not of the form: {_FORMS}") from None


def _read(kind: str, value: str) -> Authorization:
    if kind == "basic" and ":" in value:
        coded = base64.b64encode(value.encode()).decode()
        return Authorization(headers={"Authorization": f"Basic {coded}"})
    if kind == "bearer":
        return Authorization(headers={"Authorization": f"Bearer {header_value(value)}"})
    if kind == "header":
        name, _, content = value.partition(":")
        if _TOKEN.fullmatch(name) is None or name.lower() in _OWN_HEADERS:
            raise ValueError("no header name")
        return Authorization(headers={name: header_value(content.strip())})
    if kind == "query":
        name, _, content = value.partition("=")
        if _TOKEN.fullmatch(name) is None or not content:
            raise ValueError("no parameter")
        return Authorization(parameters={name: content})
    raise ValueError("no such kind")
