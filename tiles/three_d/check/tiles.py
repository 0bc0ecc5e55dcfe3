"""The tiles of one tileset.json: explicit ones with their children, and implicit ones by their subtrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.check.findings import FileFindings, reading
from tiles.three_d.check.glb import integer, object_of
from tiles.three_d.check.implicit import ImplicitTile, available, cell, filled, is_template, parent
from tiles.three_d.check.subtree import Subtree, SubtreeForm, read_subtree
from tiles.three_d.check.tile_facts import FactsReader
from tiles.three_d.check.tileset import Above, Document, check_entity, check_group, error_of, volume_below
from tiles.three_d.check.volumes import implicit_volume

if TYPE_CHECKING:
    from tiles.three_d.check.tileset import TilesetCheck

_AXES = {"QUADTREE": 2, "OCTREE": 3}
# 4**12 and 8**8 bits are 2 MB; a larger number is a mistake or an attack.
_MOST_SUBTREE_LEVELS = {2: 12, 3: 8}
_MOST_LEVELS = 24
_MOST_DEEP = 200
_OWN = "tile's bounding volume"


class Implicit(NamedTuple):
    """An implicit tile's `implicitTiling`, read. `top` is what holds for its root."""

    form: SubtreeForm
    levels: int
    subtrees: str
    contents: tuple[str, ...]
    top: Above
    tile: dict[str, Any]


class TileCheck:
    """Checks the tiles of one document."""

    def __init__(self, run: TilesetCheck, document: Document) -> None:
        self._run, self._document, self._findings = run, document, document.findings

    def check(self, tile: dict[str, Any], above: Above, where: str) -> None:
        """Check an explicit tile and all below it, or an implicit one's root."""
        if where.count(".") > _MOST_DEEP:
            self._findings.add("tileset-depth", f"{where[:60]}...: more than {_MOST_DEEP} levels")
            return
        transform = above.transform @ self._transform(tile, where)
        volume = volume_below(tile.get("boundingVolume"), transform, where, self._findings)
        if "viewerRequestVolume" in tile:
            volume_below(
                tile["viewerRequestVolume"], transform, f"{where}.viewerRequestVolume", self._findings
            )
        error = error_of(tile, where, self._findings)
        self._check_error(error, above, where)
        refine = tile.get("refine", above.refine)
        self._findings.require(
            refine in (None, "ADD", "REPLACE"), "tileset-refine", f"{where}.refine is {refine!r}"
        )
        check_entity(tile.get("metadata"), f"{where}.metadata", self._document.classes, self._findings)
        here = above._replace(transform=transform, refine=refine).below(volume, f"volume of {where}", error)
        if "implicitTiling" in tile:
            self._check_implicit(tile, here, where)
            return
        self._findings.count("tiles")
        self._check_contents(tile, here, where)
        for number, child in enumerate(tile.get("children", [])):
            if self._findings.require(
                isinstance(child, dict), "tileset-root", f"{where}.children[{number}] is no tile"
            ):
                self.check(child, here, f"{where}.children[{number}]")

    def _transform(self, tile: dict[str, Any], where: str) -> NDArray[np.float64]:
        value = tile.get("transform")
        if value is None:
            return np.eye(4)
        try:
            matrix = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            matrix = np.empty(0)
        right = matrix.shape == (16,) and bool(np.isfinite(matrix).all())
        right = right and bool(np.abs(matrix[[3, 7, 11]]).max() < 1e-9 and abs(matrix[15] - 1.0) < 1e-9)
        if not self._findings.require(right, "tileset-transform", f"{where}.transform is no affine matrix"):
            return np.eye(4)
        return matrix.reshape(4, 4).T

    def _check_error(self, error: float | None, above: Above, where: str) -> None:
        if error is not None and above.error is not None:
            # Decimals of 32-bit numbers differ in their last place.
            right = error <= above.error * (1.0 + 1e-6)
            message = f"{where} has {error}, more than {above.error} above it"
            self._findings.require(right, "tileset-error-order", message)

    def _check_contents(self, tile: dict[str, Any], here: Above, where: str) -> None:
        for number, content in enumerate(self._contents_of(tile, where)):
            name = f"{where}.content {number}"
            bounded = here
            if "boundingVolume" in content:
                own = volume_below(content["boundingVolume"], here.transform, name, self._findings)
                bounded = here.below(own, "content's bounding volume", None)
            check_group(content.get("group"), name, self._document)
            check_entity(content.get("metadata"), name, self._document.classes, self._findings)
            uri = content.get("uri", content.get("url"))
            old = "uri" in content or "url" not in content
            self._findings.require(old, "content-uri", f"{name}: `url` is `uri` since 3D Tiles 1.0")
            self._run.check_content(self._document, uri, bounded, name)

    def _contents_of(self, tile: dict[str, Any], where: str) -> list[dict[str, Any]]:
        """One content, or several (since 1.1, or with 3DTILES_multiple_contents)."""
        both = "content" in tile and "contents" in tile
        self._findings.require(not both, "tileset-contents", f"{where} has content and contents")
        several = tile.get("contents", [tile["content"]] if "content" in tile else [])
        if "contents" in tile:
            modern = self._document.version != "1.0"
            self._findings.require(modern, "tileset-version", f"{where}: contents need 1.1")
        right = isinstance(several, list) and all(isinstance(one, dict) for one in several)
        return several if self._findings.require(right, "tileset-contents", f"{where}: {several!r}") else []

    def _check_implicit(self, tile: dict[str, Any], here: Above, where: str) -> None:
        found = self._implicit_of(tile, here, where)
        if found is None:
            return
        axes = found.form.axes
        waiting: list[tuple[int, tuple[int, ...], Above]] = [(0, (0,) * axes, here)]
        while waiting:
            top, root, above = waiting.pop()
            name = filled(found.subtrees, top, root)
            path = self._run.locate(name, self._document.file)
            findings = self._findings.of(path or name)
            content = None if path is None else self._run.read(path, findings)
            self._findings.require(path is not None, "content-uri", f"{name!r} is no place in the tileset")
            if content is None or path is None:
                continue
            findings.count("subtrees")
            subtree = None
            with reading(findings):
                subtree = read_subtree(content, found.form, self._run.resource(path), findings)
            if subtree is None:
                continue
            seen = _SubtreeWalk(self._run, self._document, found, subtree, findings.of(path)).walk(
                top, root, above
            )
            depth = found.form.levels
            lowest = (2 ** (axes * (depth - 1)) - 1) // (2**axes - 1)
            for child in np.flatnonzero(subtree.children).tolist():
                over = seen.get(lowest + (child >> axes))
                if over is not None:
                    waiting.append((top + depth, cell(child, depth, root), over))

    def _implicit_of(self, tile: dict[str, Any], here: Above, where: str) -> Implicit | None:
        tiling, findings = object_of(tile, "implicitTiling"), self._findings
        modern = self._document.version != "1.0"
        findings.require(modern, "tileset-version", f"{where}: implicitTiling needs 1.1")
        levels, depth = integer(tiling.get("availableLevels")), integer(tiling.get("subtreeLevels"))
        axes = _AXES.get(str(tiling.get("subdivisionScheme")), 0)
        most = _MOST_SUBTREE_LEVELS.get(axes, 1)
        subtrees = object_of(tiling, "subtrees").get("uri")
        contents = self._contents_of(tile, where)
        uris = [content.get("uri") for content in contents]
        bounded = [content for content in contents if "boundingVolume" in content]
        right = (
            findings.require(axes > 0, "implicit-scheme", f"{where}: neither QUADTREE nor OCTREE")
            & findings.require(
                1 <= levels <= _MOST_LEVELS,
                "implicit-levels",
                f"{where}: availableLevels is {tiling.get('availableLevels')!r}",
            )
            & findings.require(
                1 <= depth <= most,
                "implicit-levels",
                f"{where}: subtreeLevels is {depth!r}, readable are 1 to {most}",
            )
            & findings.require(
                all(is_template(uri, axes) for uri in uris),
                "implicit-template",
                f"{where}: content uris {uris}",
            )
            & findings.require(
                is_template(subtrees, axes), "implicit-template", f"{where}: subtree uri {subtrees!r}"
            )
            & findings.require("children" not in tile, "implicit-children", f"{where} has children too")
            & findings.require(
                not bounded, "implicit-contents", f"{where}: the content has a bounding volume of its own"
            )
        )
        if not right:
            return None
        form = SubtreeForm(depth, axes, len(uris), self._document.classes)
        return Implicit(form, levels, str(subtrees), tuple(str(uri) for uri in uris), here, tile)


class _SubtreeWalk:
    """The tiles of one subtree, and what holds below each of them."""

    def __init__(
        self,
        run: TilesetCheck,
        document: Document,
        implicit: Implicit,
        subtree: Subtree,
        findings: FileFindings,
    ) -> None:
        self._run, self._document, self._implicit = run, document, implicit
        self._subtree, self._findings = subtree, findings
        self._rows = np.cumsum(subtree.tiles) - 1
        self._facts = FactsReader(subtree.tile_table, "TILE", implicit.top.transform, findings)
        tables = (*subtree.content_tables, *(None for _ in subtree.contents))
        self._content_facts = [
            FactsReader(table, "CONTENT", implicit.top.transform, findings)
            for table, _ in zip(tables, subtree.contents, strict=False)
        ]
        self._content_rows = [np.cumsum(bits) - 1 for bits in subtree.contents]

    def walk(self, top: int, root: tuple[int, ...], above: Above) -> dict[int, Above]:
        """Check every available tile; gives what holds below each, by its bit."""
        axes, depth = self._implicit.form.axes, self._implicit.form.levels
        seen: dict[int, Above] = {}
        for tile in available(self._subtree.tiles, depth, top, root):
            over = seen.get(parent(tile.bit, axes), above)
            seen[tile.bit] = self._check_tile(tile, over)
        return seen

    def _check_tile(self, tile: ImplicitTile, over: Above) -> Above:
        self._findings.count("tiles")
        name = "/".join(map(str, (tile.level, *tile.place)))
        inside = tile.level < self._implicit.levels
        self._findings.require(
            inside, "implicit-levels", f"there is a tile {name}, availableLevels is {self._implicit.levels}"
        )
        facts = self._facts.row(int(self._rows[tile.bit]))
        top = self._implicit.top
        # The root's own volume is the last of those that hold for it, where it has a valid one.
        volume = top.bounds[-1].volume if top.bounds else None
        own = facts.on(None if volume is None else implicit_volume(volume, tile.level, tile.place))
        error = facts.error
        if error is None and top.error is not None:
            error = top.error / 2**tile.level
        if error is not None and over.error is not None:
            self._findings.require(
                error <= over.error * (1.0 + 1e-6),
                "tileset-error-order",
                f"tile {name} has geometric error {error}, more than {over.error} above it",
            )
        here = over.below(own, _OWN if tile.level == 0 else f"volume of tile {name}", error)
        for number, bits in enumerate(self._subtree.contents):
            if bits[tile.bit] and number < len(self._implicit.contents):
                self._check_content(number, tile, here)
        return here

    def _check_content(self, number: int, tile: ImplicitTile, here: Above) -> None:
        row = int(self._content_rows[number][tile.bit])
        volume = here.bounds[-1].volume if here.bounds else None
        facts = self._content_facts[number].row(row)
        if facts.volume is not None or facts.lowest is not None or facts.highest is not None:
            here = here.below(facts.on(volume), "content's bounding volume", None)
        uri = filled(self._implicit.contents[number], tile.level, tile.place)
        self._run.check_content(self._document, uri, here, f"tile {tile.level}/{tile.place}")
