"""City objects of CityJSON: a top-level object with its children becomes one object with all levels of detail that they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.city_models.cityjson_geometry import (
    BROKEN,
    AppearanceReader,
    Shell,
    Templates,
    classes_of,
    kinds_of,
    lod_of,
    shells_of,
)
from tiles.three_d.city_models.classes import object_class
from tiles.three_d.city_models.model import Collector, Level, ObjectHead
from tiles.three_d.placement import Positions
from tiles.three_d.report import ProblemLog


class _Member(NamedTuple):
    """An object of a family: its class, whether it is a part of a whole, and its geometries, the finest first."""

    fallback: int
    is_part: bool
    geometries: list[tuple[float, dict[str, Any]]]


class ObjectReader:
    """Reads objects of one document into a `Collector`; vertex indices of its shells are moved by `shift`."""

    def __init__(
        self,
        find: Callable[[str], dict[str, Any] | None],
        vertices: Positions,
        transform: tuple[Positions, Positions] | None,
        templates: Templates,
        appearance: Any,
        folder: Path,
        sink: Collector,
        log: ProblemLog,
    ) -> None:
        self._find = find
        self._own = vertices
        self._scale, self._translate = transform or (np.ones(3), np.zeros(3))
        self._templates = templates
        self._appearance = AppearanceReader(appearance, folder, sink) if appearance else None
        self._sink = sink
        self._log = log
        self._placed: list[Positions] = []
        self._placed_count = 0
        self.shift = 0

    def vertices(self) -> Positions:
        """The document's vertices in CRS units, then those of placed templates; call after the last `read`."""
        return np.concatenate((self._own * self._scale + self._translate, *self._placed))

    def place(self, index: NDArray[np.int64]) -> Positions:
        """Some of `vertices()`, (c, 3), without making all of them."""
        if not self._placed:
            return np.asarray(self._own[index] * self._scale + self._translate)
        result = np.empty((len(index), 3))
        own = index < len(self._own)
        result[own] = self._own[index[own]] * self._scale + self._translate
        result[~own] = np.concatenate(self._placed)[index[~own] - len(self._own)]
        return result

    def read(self, name: str, value: Any) -> None:
        """Take an object and its family; one with parents is taken with them. What cannot be drawn is reported."""
        if not isinstance(value, dict):
            self._log.add(name, "not a city object", "skipped")
            return
        parents = value.get("parents")
        if isinstance(parents, list) and any(
            isinstance(parent, str) and self._find(parent) is not None for parent in parents
        ):
            return
        family = self._family(name, value) if value.get("children") else (value,)
        members = [self._member(name, member) for member in family]
        if not any(member.geometries for member in members):
            self._log.add(name, "no geometry", "skipped")
            return
        attributes = value.get("attributes")
        head = ObjectHead(
            name, str(value.get("type", "")), attributes if isinstance(attributes, dict) else {}
        )
        owner = self._sink.add_head(head)
        if len(members) == 1 and len(members[0].geometries) == 1:
            self._only(name, owner, members[0])
            return
        drawn = self._best(name, owner, members)
        if drawn is None:
            self._lost(name)
            return
        self._others(name, owner, members, drawn)

    def _lost(self, name: str) -> None:
        self._sink.drop_head()
        self._log.add(name, "no surface that can be drawn", "skipped")

    def _only(self, name: str, owner: int, member: _Member) -> None:
        """Take an object with one geometry, as most are."""
        first = self._sink.surface_count
        lod, geometry = member.geometries[0]
        if self._take(name, geometry, member.fallback):
            self._sink.add_level(Level(owner, lod, best=True), first)
        else:
            self._lost(name)

    def _family(self, name: str, value: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The object and all its descendants; a child listed twice or in a circle counts once."""
        seen = {name}
        waiting = [value]
        while waiting:
            member = waiting.pop(0)
            yield member
            children = member.get("children")
            for child in children if isinstance(children, list) else ():
                if isinstance(child, str) and child not in seen:
                    seen.add(child)
                    found = self._find(child)
                    if found is None:
                        self._log.add(name, f"its part {child!r} is not in the file", "repaired")
                    else:
                        waiting.append(found)

    def _member(self, name: str, value: dict[str, Any]) -> _Member:
        kind = str(value.get("type"))
        listed = value.get("geometry")
        geometries: list[tuple[float, dict[str, Any]]] = []
        for geometry in listed if isinstance(listed, list) else ():
            try:
                geometries.append((lod_of(geometry, self._templates), geometry))
            except BROKEN as error:
                self._told(name, error)
        if len(geometries) > 1:
            geometries.sort(key=_by_lod, reverse=True)
        return _Member(object_class(kind), "Part" in kind, geometries)

    def _best(self, name: str, owner: int, members: list[_Member]) -> float | None:
        """Take each member's finest geometry that can be drawn; the finest level taken, None where there is nothing."""
        first = self._sink.surface_count
        finest_part = max(
            (member.geometries[0][0] for member in members[1:] if member.is_part and member.geometries),
            default=-1.0,
        )
        taken: list[float] = []
        for number, member in enumerate(members):
            # A parent's own shape is the coarser stand-in of its parts, not something beside them.
            if number == 0 and member.geometries and member.geometries[0][0] < finest_part:
                continue
            for lod, geometry in member.geometries:
                if self._take(name, geometry, member.fallback):
                    taken.append(lod)
                    break
        if not taken and finest_part >= 0.0:
            taken = [
                lod
                for lod, geometry in members[0].geometries
                if self._take(name, geometry, members[0].fallback)
            ][:1]
        if not taken:
            return None
        self._sink.add_level(Level(owner, max(taken), best=True), first)
        return max(taken)

    def _others(self, name: str, owner: int, members: list[_Member], drawn: float) -> None:
        """Take the coarser levels: of a level the parent's own geometry, else that of its parts."""
        lods = {lod for member in members for lod, _ in member.geometries if lod < drawn}
        for lod in sorted(lods):
            first = self._sink.surface_count
            own = [geometry for level, geometry in members[0].geometries if level == lod]
            if own:
                self._take(name, own[0], members[0].fallback)
            else:
                for member in members[1:]:
                    found = next((geometry for level, geometry in member.geometries if level == lod), None)
                    if found is not None:
                        self._take(name, found, member.fallback)
            if self._sink.surface_count > first:
                self._sink.add_level(Level(owner, lod, best=False), first)

    def _take(self, name: str, geometry: dict[str, Any], fallback: int) -> bool:
        """Take a geometry's surfaces; whether there were any."""
        before = self._sink.surface_count
        try:
            if geometry["type"] == "GeometryInstance":
                self._take_instance(name, geometry, fallback)
            else:
                self._take_shells(name, geometry, fallback, len(self._own), self.shift)
        except BROKEN as error:
            self._told(name, error)
        return self._sink.surface_count > before

    def _told(self, name: str, error: Exception) -> None:
        self._log.add(name, f"a geometry cannot be read ({type(error).__name__}: {error})", "repaired")

    def _take_shells(
        self, name: str, geometry: dict[str, Any], fallback: int, count: int, shift: int
    ) -> None:
        kinds = kinds_of(geometry, fallback)
        appearance = self._appearance
        texture, material = appearance.values(geometry) if appearance is not None else (None, None)
        lost = 0
        for shell in shells_of(geometry, texture, material):
            lost += self._take_shell(shell, kinds, fallback, count, shift)
        if lost:
            self._log.add(
                name, f"{lost} surfaces left out whose corners are missing or no vertices", "repaired"
            )

    def _take_shell(self, shell: Shell, kinds: dict[Any, int], fallback: int, count: int, shift: int) -> int:
        """Take a shell; how many of its surfaces had to be left out."""
        if not shell.surfaces:
            return 0
        try:
            self._add(shell, kinds, fallback, count, shift)
        except (TypeError, IndexError, ValueError):
            sound = [number for number, rings in enumerate(shell.surfaces) if _fits([rings], count)]
            part = _part_of(shell, sound)
            if sound:
                self._add(part, kinds, fallback, count, shift)
            return len(shell.surfaces) - len(sound)
        return 0

    def _add(self, shell: Shell, kinds: dict[Any, int], fallback: int, count: int, shift: int) -> None:
        classes = classes_of(shell, kinds, fallback)
        look = self._appearance.look(shell) if self._appearance is not None else None
        self._sink.add_shell(
            shell.surfaces, classes, closed=shell.closed, below=count, shift=shift, look=look
        )

    def _take_instance(self, name: str, geometry: dict[str, Any], fallback: int) -> None:
        template = self._templates.geometry(geometry)
        place = self._own[_index(geometry["boundaries"][0], len(self._own))] * self._scale + self._translate
        moved = self._templates.placed(geometry, place)
        shift = self.shift + len(self._own) + self._placed_count
        self._placed.append(moved)
        self._placed_count += len(moved)
        self._take_shells(name, template, fallback, len(moved), shift)


def _by_lod(item: tuple[float, dict[str, Any]]) -> float:
    return item[0]


def _index(value: Any, count: int) -> int:
    if type(value) is not int or not 0 <= value < count:
        raise IndexError(f"there is no vertex {value!r}")
    return value


def _fits(surfaces: list[Any], count: int) -> bool:
    """Whether all corners are vertices and every surface has a ring."""
    try:
        corners = list(chain.from_iterable(chain.from_iterable(surfaces)))
        return bool(
            corners
            and all(surfaces)
            and min(corners) >= 0
            and max(corners) < count
            and set(map(type, corners)) == {int}
        )
    except TypeError:
        return False


def _part_of(shell: Shell, rows: list[int]) -> Shell:
    def chosen(values: Any) -> Any:
        if not isinstance(values, list):
            return values
        return [values[row] if row < len(values) else None for row in rows]

    return Shell(
        [shell.surfaces[row] for row in rows],
        chosen(shell.semantics),
        chosen(shell.textures),
        chosen(shell.materials),
        closed=False,
    )
