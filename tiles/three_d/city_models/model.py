"""City objects as they are read, whatever the format: surfaces of many objects in flat arrays, each object in every level of
detail it has.

A reader fills a `Collector` with some hundreds of objects and hands it on as a `CityBatch`; so a file of any size passes through
without ever being in memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.placement import Positions
from tiles.three_d.ragged import limits

NO_IMAGE = -1
NO_COLOUR = -1
NO_SHELL = -1

type Rings = Sequence[Sequence[int]]


class TextureImage(NamedTuple):
    """An image of a texture: its file, `repeats` where the texture is meant to be laid side by side."""

    path: Path
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """One top-level city object: `id`, `type` (its CityGML class) and its attributes (JSON values)."""

    id: str
    type: str
    attributes: Mapping[str, Any]


class Level(NamedTuple):
    """One level of detail of one object. `owner` is the object's row in its batch, `best` marks the finest there is."""

    owner: int
    lod: float
    best: bool


@dataclass(frozen=True, slots=True)
class CityBatch:
    """Some city objects. Flat arrays, pieces one after the other (see `tiles.three_d.ragged`):

    `corners` (c, 3) float64 in the file's CRS, x east or longitude; ring r has the corners rings[r] to rings[r + 1], its closing one
    perhaps repeated; surface s the rings surfaces[s] to surfaces[s + 1], the outer first; level l the surfaces
    levels_at[l] to levels_at[l + 1]. Over the surfaces: `classes` (s,) index in `PALETTE`, `shells` (s,) a number for each outer shell of
    a solid, NO_SHELL for others, `images` (s,) index in `textures` or NO_IMAGE, `colours` (s,) index in `shades` or NO_COLOUR. `coordinates`
    (c, 2) texture coordinates, origin at the upper left as in glTF, None without any texture. `shades` are linear red, green, blue, alpha.
    """

    heads: tuple[ObjectHead, ...]
    levels: tuple[Level, ...]
    corners: Positions
    rings: NDArray[np.int64]
    surfaces: NDArray[np.int64]
    levels_at: NDArray[np.int64]
    classes: NDArray[np.uint8]
    shells: NDArray[np.int64]
    images: NDArray[np.int64]
    colours: NDArray[np.int64]
    coordinates: NDArray[np.float32] | None
    textures: tuple[TextureImage, ...]
    shades: tuple[tuple[float, float, float, float], ...]

    def surface_owner(self) -> NDArray[np.int64]:
        """The level of every surface, (s,)."""
        return np.repeat(np.arange(len(self.levels)), np.diff(self.levels_at))


@dataclass(slots=True)
class Look:
    """How the surfaces of a shell look: per surface an image and a colour, per corner texture coordinates (None: no texture)."""

    images: Sequence[int]
    colours: Sequence[int]
    coordinates: Sequence[float] | None = None


@dataclass(slots=True)
class Collector:
    """The objects of a batch while they are read. Indices in `corners` point into the vertices given to `finish`."""

    heads: list[ObjectHead] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    _level_sizes: list[int] = field(default_factory=list)
    _corners: array[int] = field(default_factory=lambda: array("q"))
    _ring_sizes: array[int] = field(default_factory=lambda: array("q"))
    _ring_counts: array[int] = field(default_factory=lambda: array("q"))
    _classes: array[int] = field(default_factory=lambda: array("B"))
    _shells: array[int] = field(default_factory=lambda: array("q"))
    _images: array[int] = field(default_factory=lambda: array("q"))
    _colours: array[int] = field(default_factory=lambda: array("q"))
    _coordinates: array[float] | None = None
    _textures: dict[TextureImage, int] = field(default_factory=dict)
    _shades: dict[tuple[float, float, float, float], int] = field(default_factory=dict)
    _next_shell: int = 0

    def __len__(self) -> int:
        return len(self.heads)

    @property
    def corner_count(self) -> int:
        """Corners taken so far."""
        return len(self._corners)

    @property
    def surface_count(self) -> int:
        """Surfaces taken so far."""
        return len(self._ring_counts)

    def add_head(self, head: ObjectHead) -> int:
        """Begin an object; its row."""
        self.heads.append(head)
        return len(self.heads) - 1

    def drop_head(self) -> None:
        """Take back the last head, whose object has no level."""
        self.heads.pop()

    def add_level(self, level: Level, first_surface: int) -> None:
        """Name the surfaces since `first_surface` a level."""
        self.levels.append(level)
        self._level_sizes.append(self.surface_count - first_surface)

    def texture(self, image: TextureImage) -> int:
        """The number of an image."""
        return self._textures.setdefault(image, len(self._textures))

    def shade(self, colour: tuple[float, float, float, float]) -> int:
        """The number of a colour (linear red, green, blue, alpha)."""
        return self._shades.setdefault(colour, len(self._shades))

    def add_shell(
        self,
        surfaces: Sequence[Rings],
        classes: Sequence[int],
        *,
        closed: bool,
        below: int,
        shift: int = 0,
        look: Look | None = None,
    ) -> None:
        """Add surfaces, each a list of rings of vertex indices less than `below`, to which `shift` is added. `closed`: they bound a solid.

        Raises TypeError, ValueError and IndexError, and then has added nothing.
        """
        rings = list(chain.from_iterable(surfaces))
        listed = list(chain.from_iterable(rings))
        corners = array("q", listed)
        if not listed or min(listed) < 0 or max(listed) >= below:
            raise IndexError("a corner is no vertex")
        if shift:
            corners = array("q", [corner + shift for corner in corners])
        ring_counts = array("q", list(map(len, surfaces)))
        if not all(ring_counts) or len(classes) != len(ring_counts):
            raise ValueError("a surface has no ring")
        self.add_rings(
            corners, array("q", list(map(len, rings))), ring_counts, array("B", classes), closed, look
        )

    def add_rings(
        self,
        corners: array[int],
        ring_sizes: array[int],
        ring_counts: array[int],
        classes: array[int],
        closed: bool,
        look: Look | None = None,
    ) -> None:
        """Add surfaces whose corners, ring sizes, rings a surface and classes are flat already."""
        count = len(ring_counts)
        self._take_look(look, count, len(corners))
        self._corners.extend(corners)
        self._ring_sizes.extend(ring_sizes)
        self._ring_counts.extend(ring_counts)
        self._classes.extend(classes)
        shell = NO_SHELL
        if closed:
            shell, self._next_shell = self._next_shell, self._next_shell + 1
        self._shells.extend(array("q", (shell,)) * count)

    def _take_look(self, look: Look | None, surfaces: int, corners: int) -> None:
        if look is None:
            none = array("q", (NO_IMAGE,)) * surfaces
            self._images.extend(none)
            self._colours.extend(none)
        else:
            self._images.extend(array("q", look.images))
            self._colours.extend(array("q", look.colours))
        if look is not None and look.coordinates is not None:
            if self._coordinates is None:
                self._coordinates = array("f", bytes(8 * len(self._corners)))
            self._coordinates.extend(array("f", look.coordinates))
        elif self._coordinates is not None:
            self._coordinates.extend(array("f", bytes(8 * corners)))

    def finish(self, place: Callable[[NDArray[np.int64]], Positions]) -> CityBatch:
        """The batch; `place` gives the vertices (c, 3) of indices (c,), in CRS units."""
        index = np.frombuffer(self._corners, dtype=np.int64)
        drawn = None
        if self._coordinates is not None:
            drawn = np.frombuffer(self._coordinates, dtype=np.float32).reshape(-1, 2).copy()
        return CityBatch(
            heads=tuple(self.heads),
            levels=tuple(self.levels),
            corners=np.asarray(place(index), dtype=np.float64),
            rings=limits(np.frombuffer(self._ring_sizes, dtype=np.int64)),
            surfaces=limits(np.frombuffer(self._ring_counts, dtype=np.int64)),
            levels_at=limits(self._level_sizes),
            classes=np.frombuffer(self._classes, dtype=np.uint8).copy(),
            shells=np.frombuffer(self._shells, dtype=np.int64).copy(),
            images=np.frombuffer(self._images, dtype=np.int64).copy(),
            colours=np.frombuffer(self._colours, dtype=np.int64).copy(),
            coordinates=drawn,
            textures=tuple(self._textures),
            shades=tuple(self._shades),
        )
