"""JSON documents as something to read: entries of a list, a table of fields, or the tree of whatever it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

DOCUMENT_KINDS = (
    "document",
    "queryables",
    "sortables",
    "schema",
    "functions",
    "history",
    "tilesets",
    "processes",
    "process",
    "jobs",
    "job",
    "records",
    "record",
    "locations",
    "coverage",
    "map",
)
"""What `Pages.document` can head a page with: each has a message `document.{kind}`."""

_MOST_LEAVES = 40


class Entry(NamedTuple):
    """One line of a list: a record or a process."""

    title: str
    description: str
    href: str
    note: str


class FieldRow(NamedTuple):
    """One property of a JSON Schema; `type` with its format and unit."""

    name: str
    title: str
    type: str
    format: str | None = None


def entries_of(kind: str, document: Any, path: str) -> list[Entry] | None:
    """The records or processes of a list served at `path`, each linked below it; None for any other document."""
    if not isinstance(document, Mapping):
        return None
    if kind == "records" and "features" in document:
        return [
            _entry(path, feature.get("id"), feature.get("properties") or {}, ("rights", "license"))
            for feature in document["features"]
        ]
    if kind == "processes" and "processes" in document:
        return [
            _entry(path, process.get("id"), process, ("id", "version")) for process in document["processes"]
        ]
    return None


def _entry(path: str, name: Any, described: Mapping[str, Any], notes: tuple[str, ...]) -> Entry:
    return Entry(
        title=str(described.get("title") or name),
        description=str(described.get("description") or ""),
        href=f"{path.rstrip('/')}/{quote(str(name), safe='')}?f=html",
        note=" — ".join(str(described[note]) for note in notes if described.get(note)),
    )


def title_of(kind: str, document: Any) -> str | None:
    """What a record or a process calls itself; None for any other document."""
    if kind not in ("record", "process") or not isinstance(document, Mapping):
        return None
    described = document.get("properties") if kind == "record" else document
    title = described.get("title") if isinstance(described, Mapping) else None
    return str(title) if title else None


def fields_of(kind: str, document: Any) -> list[FieldRow] | None:
    """The properties of queryables or a schema; None for any other document."""
    if kind not in ("queryables", "sortables", "schema") or not isinstance(document, Mapping):
        return None
    properties = document.get("properties")
    if not isinstance(properties, Mapping):
        return None
    return [_field_row(str(name), described) for name, described in properties.items()]


def _field_row(name: str, described: Any) -> FieldRow:
    if not isinstance(described, Mapping):
        return FieldRow(name, "", "")
    kinds = (described.get("type"), described.get("format"), described.get("x-ogc-unit"))
    title = str(described.get("title") or "")
    return FieldRow(name, "" if title == name else title, " · ".join(str(kind) for kind in kinds if kind))


def is_plain_list(value: Any) -> bool:
    """A short list of numbers or words, or lists of them (a box, coordinates): one line is enough for it."""
    return isinstance(value, list) and 0 < _plain_leaves(value) <= _MOST_LEAVES


def _plain_leaves(value: list[Any]) -> int:
    """How many leaves a list of lists holds; a number too large for a line where a leaf is not plain."""
    count = 0
    for part in value:
        if isinstance(part, list):
            count += _plain_leaves(part)
        elif isinstance(part, Mapping) or (isinstance(part, str) and "://" in part):
            return _MOST_LEAVES + 1
        else:
            count += 1
    return count


def one_line(value: list[Any]) -> str:
    """A plain list as text: "24.9, 60.1"; inner lists in brackets."""
    return ", ".join(f"[{one_line(part)}]" if isinstance(part, list) else str(part) for part in value)


def page_links_of(document: Mapping[str, Any], path: str) -> dict[str, str | None]:
    """The `prev` and `next` links of a JSON document, as pages of the same form."""
    found: dict[str, str | None] = {"previous": None, "next": None}
    for link in document.get("links", ()):
        name = {"prev": "previous", "previous": "previous", "next": "next"}.get(link.get("rel", ""))
        if name:
            query = dict(parse_qsl(urlsplit(link["href"]).query, keep_blank_values=True)) | {"f": "html"}
            found[name] = f"{path}?{urlencode(query)}"
    return found


def parameter_name(parameter: Mapping[str, Any], openapi: Mapping[str, Any]) -> str:
    """The name of a parameter, behind its `$ref` where it is one."""
    reference = str(parameter.get("$ref", ""))
    if reference.startswith("#/components/parameters/"):
        name = reference.rsplit("/", 1)[-1]
        parameter = openapi.get("components", {}).get("parameters", {}).get(name, {"name": name})
    return str(parameter.get("name", ""))
