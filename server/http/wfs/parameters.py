"""The parameters of a WFS request, whichever way it came.

A request in XML is read into the parameters that its KVP form would have (`xml_request`), so there is one reading of them.
Names of parameters are compared without case (09-025r2 clause 6.2.5.2); the same clause has unknown ones ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

from server.http.wfs.errors import INVALID_VALUE, NO_OPTION, PARSING_FAILED, WfsError, invalid, missing
from server.http.wfs.names import PREFIX

SERVICE: Final = "WFS"
VERSION: Final = "2.0.0"
VERSIONS: Final = ("2.0.2", "2.0.0")
"""Both are one protocol: 2.0.2 only corrects the text of the standard. Our documents say 2.0.0."""

_MOST_FIELDS: Final = 64
_MOST: Final = 1 << 31
_LONGEST_LINK: Final = 8000  # characters; the query string of a GET has a limit

# Names that older clients use for the same, by the name of WFS 2.0.
_SYNONYMS: Final = {
    "typename": "typenames",
    "maxfeatures": "count",
    "featureid": "resourceid",
    "namespace": "namespaces",
    "storedqueryid": "storedquery_id",
    "query": "filter",  # so OWSLib sends it; ignoring it would answer with everything
}
_BINDING: Final = re.compile(r"xmlns\((?:([^,=()]*)[,=])?([^()]+)\)")


@dataclass(frozen=True, slots=True)
class QualifiedName:
    """A name as it was written, its prefix and the namespace that the request bound it to, "" and None where there is none."""

    written: str
    prefix: str
    local: str
    namespace: str | None


@dataclass(frozen=True)
class Parameters:
    """Values by the names of WFS 2.0 in lower case."""

    values: Mapping[str, str]

    def get(self, name: str) -> str | None:
        """The value; None where it is not given or empty."""
        return self.values.get(name.lower()) or None

    def needed(self, name: str, allowed: str) -> str:
        """The value. Raises WfsError where it is missing."""
        value = self.get(name)
        if value is None:
            raise missing(name, allowed)
        return value

    def whole_number(self, name: str) -> int | None:
        """A value of digits only, below 2^31: more than that no store can skip. Raises WfsError."""
        value = self.get(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdecimal() and len(value) <= 10 and int(value) < _MOST):
            raise invalid(name, value, f"a whole number from 0 to {_MOST - 1}")
        return int(value)

    def refuse(self, *names: str) -> None:
        """Raise WfsError where an option of the standard is asked for that this server does not have."""
        for name in names:
            value = self.get(name)
            if value is not None:
                raise WfsError(
                    NO_OPTION,
                    f"{name} is {value[:200]!r}; this server does not have that option: leave it out",
                    name,
                )

    def names(self, name: str) -> list[QualifiedName]:
        """A list of qualified names separated by commas, [] where it is not given. Raises WfsError."""
        value = self.get(name)
        if value is None:
            return []
        if value.startswith("(") and value.endswith(")"):
            if ")(" in value:
                raise WfsError(
                    NO_OPTION,
                    f"{name} has several lists, which are several queries: send them one by one",
                    name,
                )
            value = value[1:-1]
        bindings = self._bindings()
        found = []
        for part in filter(None, (part.strip() for part in value.split(","))):
            written = part.removeprefix("schema-element(").removesuffix(")")
            prefix, _, local = written.rpartition(":")
            found.append(QualifiedName(written, prefix, local, bindings.get(prefix)))
        return found

    def _bindings(self) -> dict[str, str]:
        """Namespaces by prefix ("" is the default one) from NAMESPACES."""
        value = self.get("namespaces")
        if value is None:
            return {}
        found = {match[1] or "": match[2].strip() for match in _BINDING.finditer(value)}
        if not found:
            raise invalid("namespaces", value, f"xmlns({PREFIX},uri), several separated by commas")
        return found

    def link(self, url: str, changes: Mapping[str, str | None]) -> str | None:
        """The request as the URL of a GET, with some values changed (None: left out); None where that would be too long."""
        values = {**self.values, **changes}
        query = urlencode([(name.upper(), value) for name, value in values.items() if value is not None])
        return f"{url}?{query}" if len(query) <= _LONGEST_LINK else None


def read_parameters(pairs: Iterable[tuple[str, str]]) -> Parameters:
    """Parameters from decoded KVP. Raises WfsError where one is given twice with different values."""
    values: dict[str, str] = {}
    exact: set[str] = set()
    for written, value in pairs:
        lower = written.lower()
        name = _SYNONYMS.get(lower, lower)
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise WfsError(INVALID_VALUE, f"{written[:80]} has a character that no text may have", written)
        if values.get(name, value) != value:
            if name in exact and lower != name:
                continue  # clients that speak several versions send both names; the one of WFS 2.0 counts
            if lower in exact or lower != name:
                raise invalid(written, value, "each parameter once")
        values[name] = value
        if lower == name:
            exact.add(name)
    return Parameters(values)


def read_form(body: bytes) -> Parameters:
    """Parameters from a body of application/x-www-form-urlencoded. Raises WfsError."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except UnicodeError as error:
        raise WfsError(PARSING_FAILED, "the form is not UTF-8, percent-encoded") from error
    except ValueError as error:
        raise WfsError(PARSING_FAILED, f"the form has more than {_MOST_FIELDS} fields") from error
    return read_parameters(pairs)
