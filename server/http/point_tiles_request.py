"""What is asked of the tileset of a point cloud: which of its points, coloured by what, carrying what, for whom."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from server.http.errors import InvalidParameter
from server.http.tile_forms import rights_digest
from server.identity.decision import Decision
from server.registry.catalogue import Collection, RepresentationKind

if TYPE_CHECKING:
    from pointclouds.cloud.query import PointQuery
    from pointclouds.tilesets.colours import ColourMode
    from pointclouds.tilesets.tileset import Form, Look, PointTileset

Kind = RepresentationKind
STORE: Final = "points"
_OF_THE_ANSWER: Final = ("f", "lang")
_OF_THE_LOOK: Final = ("colour", "properties", "marks")
_CONDITIONS: Final = ("bbox", "bbox-crs", "datetime", "filter", "filter-lang", "filter-crs")
_MARKS: Final = ("triangles", "points")
_PREFIXES: Final = ("", "explicit", "1.0")


def is_of_points(collection: Collection) -> bool:
    """Whether a collection's tileset is made of its point cloud on request."""
    tileset = collection.representations.get(Kind.TILESET_3D)
    return (
        tileset is not None
        and tileset.properties.get("store") == STORE
        and Kind.POINT_CLOUD in collection.representations
    )


def is_limited(decision: Decision) -> bool:
    """Whether somebody may see only a part of a cloud: some dimensions, or some of the space."""
    return bool(decision.hidden_fields) or decision.area is not None


def tileset_of(collection: Collection) -> PointTileset:
    """The tileset of a collection's present generation. Raises PointCloudError kinds where its files are gone or damaged."""
    from pointclouds.tilesets.tileset import open_point_tileset

    return open_point_tileset(collection.path_of(Kind.POINT_CLOUD), collection.path_of(Kind.TILESET_3D))


@dataclass(frozen=True)
class PointTilesRequest:
    """A request for a file of the tileset of a cloud whose collection has already been allowed. `parameters` as they were given."""

    collection: Collection
    decision: Decision
    parameters: Sequence[tuple[str, str]]

    @cached_property
    def tileset(self) -> PointTileset:
        """The tileset. Raises PointCloudError kinds."""
        return tileset_of(self.collection)

    @property
    def private(self) -> bool:
        """Whether shared caches must not keep the answer."""
        return self.decision.key != "public"

    @cached_property
    def asked(self) -> list[tuple[str, str]]:
        """The parameters that change what the files of the tileset are."""
        return [pair for pair in self.parameters if pair[0] not in _OF_THE_ANSWER]

    @cached_property
    def suffix(self) -> str:
        """What has to stand behind the addresses in a document: "" or "?...", braces escaped."""
        return f"?{urlencode(self.asked)}" if self.asked else ""

    @cached_property
    def query(self) -> PointQuery | None:
        """The points to be shown; None for all. Raises providers.errors.InvalidParameter."""
        conditions = [pair for pair in self.asked if pair[0] not in _OF_THE_LOOK]
        if not conditions and self.decision.area is None:
            return None
        from providers.points.request import PointContext, parse_points

        interval = self.collection.interval
        context = PointContext(
            hidden=self.decision.hidden_fields,
            area=self.decision.area,
            interval=None if interval is None else (interval.start, interval.end),
        )
        return parse_points(conditions, self.tileset.cloud, context, (*_CONDITIONS, *_OF_THE_LOOK)).query

    def look(self, prefix: str) -> Look:
        """How contents below `3dtiles/PREFIX` ("", "explicit", "1.0") show points. Raises InvalidParameter."""
        from pointclouds.tilesets.tileset import Look

        return Look(self._mode(), self._dimensions(), self._form(prefix))

    def _value(self, name: str) -> str | None:
        values = [value for given, value in self.parameters if given == name]
        if len(values) > 1:
            raise InvalidParameter(
                f"parameter {name!r} is given more than once", name, values[1], "each parameter once"
            )
        return values[0] if values else None

    def _mode(self) -> ColourMode:
        from pointclouds.tilesets.colours import DIMENSIONS

        hidden = self.decision.hidden_fields
        allowed = [mode for mode in self.tileset.modes if hidden.isdisjoint(DIMENSIONS[mode])]
        asked = self._value("colour")
        if asked is None:
            default = self.tileset.plan.colour
            return default if default in allowed else allowed[0]
        for mode in allowed:
            if mode == asked:
                return mode
        words = ", ".join(allowed)
        raise InvalidParameter(f"colour={asked[:200]!r}; allowed: {words}", "colour", asked, words)

    def _dimensions(self) -> tuple[str, ...]:
        from pointclouds.tilesets.attributes import DEFAULT, carried

        known = carried(self.tileset.cloud.dimensions, self.decision.hidden_fields)
        asked = self._value("properties")
        if asked is None:
            return tuple(name for name in DEFAULT if name in known)
        names = tuple(dict.fromkeys(asked.split(","))) if asked else ()
        for name in names:
            if name not in known:
                allowed = f"names of {', '.join(known)}, divided by commas"
                raise InvalidParameter(
                    f"properties={asked[:200]!r}; allowed: {allowed}", "properties", asked, allowed
                )
        return names

    def _form(self, prefix: str) -> Form:
        marks = self._value("marks")
        if marks is not None and (prefix != "explicit" or marks not in _MARKS):
            allowed = f"{' or '.join(_MARKS)}, in the explicit tileset only"
            raise InvalidParameter(f"marks={marks[:200]!r}; allowed: {allowed}", "marks", marks, allowed)
        match prefix:
            case "1.0":
                return "pnts"
            case "explicit":
                return "plain" if marks == "points" else "marks"
            case _:
                return "glb"

    def digest(self, prefix: str) -> str:
        """Short, and another one for other points, another look, other rights. Raises as `look` and `query` do."""
        conditions = sorted(pair for pair in self.asked if pair[0] not in _OF_THE_LOOK)
        text = f"{self.look(prefix)!r}\n{conditions!r}\n{rights_digest(self.decision)}"
        return hashlib.blake2s(text.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()
