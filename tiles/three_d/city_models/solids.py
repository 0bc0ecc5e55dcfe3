"""Solids: closed or not, turned inside out or not, all surfaces facing outwards or not."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiles.three_d.city_models.checks import SurfaceReport
from tiles.three_d.city_models.model import NO_SHELL
from tiles.three_d.city_models.soup import Flags, Numbers, Soup
from tiles.three_d.placement import Positions
from tiles.three_d.ragged import following

# Of the box around a solid; less than this is no volume that could be on the wrong side.
_LEAST_SHARE = 1e-3


class Edges(NamedTuple):
    """The directed edges of solids' surfaces, sorted so that those on one line lie together.

    Over the e edges: `surface` (e,), `forward` (e,) the direction; line l has the edges starts[l] to starts[l + 1].
    """

    surface: Numbers
    forward: Flags
    starts: Numbers


def check_solids(soup: Soup, places: Positions, report: SurfaceReport) -> Flags:
    """Turn solids that are inside out, and single surfaces that face inwards; say which solids are not closed.

    `places` (v, 3) are metres. Gives which surfaces (s,) were turned.
    """
    turned = np.zeros(len(soup), dtype=np.bool_)
    solid = soup.shells != NO_SHELL
    if not solid.any():
        return turned
    edges = _edges(soup, solid)
    counts = np.diff(edges.starts)
    balance = np.add.reduceat(np.where(edges.forward, 1, -1), edges.starts[:-1])
    line_shell = soup.shells[edges.surface[edges.starts[:-1]]]
    count = int(soup.shells.max()) + 1
    open_shells = _marked(line_shell[counts % 2 == 1], count)
    mixed = _marked(line_shell[(counts % 2 == 0) & (balance != 0)], count)
    level = np.zeros(count, dtype=np.int64)
    level[soup.shells[solid]] = soup.level[solid]
    report.tell(level[np.flatnonzero(open_shells)], "{} solids are not closed; drawn as they are", "kept")
    for shell in np.flatnonzero(mixed).tolist():
        turned |= _against_neighbours(soup, edges, shell)
    report.tell(soup.level[turned], "{} surfaces faced into their solid and were turned", "repaired")
    volumes, shares = _volumes(soup, places, turned, count)
    inside_out = (volumes < 0.0) & (shares > _LEAST_SHARE)
    report.tell(level[np.flatnonzero(inside_out)], "{} solids were inside out and were turned", "repaired")
    turned ^= solid & inside_out[soup.shells]
    soup.turn(turned)
    return turned


def _marked(shells: Numbers, count: int) -> Flags:
    result = np.zeros(count, dtype=np.bool_)
    result[shells] = True
    return result


def _edges(soup: Soup, solid: Flags) -> Edges:
    surface = soup.corner_surface()
    used = np.flatnonzero(solid[surface])
    here = soup.corners[used]
    there = soup.corners[following(soup.rings)[used]]
    low, high = np.minimum(here, there), np.maximum(here, there)
    line = (soup.shells[surface[used]] * len(soup.vertices) + low) * len(soup.vertices) + high
    order = np.argsort(line, kind="stable")
    sorted_lines = line[order]
    starts = np.flatnonzero(np.r_[True, sorted_lines[1:] != sorted_lines[:-1]])
    return Edges(surface[used][order], (here < there)[order], np.r_[starts, len(order)])


def _against_neighbours(soup: Soup, edges: Edges, shell: int) -> Flags:
    """The surfaces (s,) of a shell to turn so that neighbours agree; of each connected piece the fewer ones."""
    of_shell = np.flatnonzero(soup.shells[edges.surface[edges.starts[:-1]]] == shell)
    neighbours: dict[int, list[tuple[int, bool]]] = {}
    for line in of_shell.tolist():
        begin, end = int(edges.starts[line]), int(edges.starts[line + 1])
        if end - begin == 2:
            one, other = edges.surface[begin], edges.surface[begin + 1]
            disagree = bool(edges.forward[begin] == edges.forward[begin + 1])
            neighbours.setdefault(int(one), []).append((int(other), disagree))
            neighbours.setdefault(int(other), []).append((int(one), disagree))
    result = np.zeros(len(soup), dtype=np.bool_)
    seen: set[int] = set()
    for start in neighbours:
        if start in seen:
            continue
        piece = {start: False}
        waiting = deque((start,))
        while waiting:
            here = waiting.popleft()
            for other, disagree in neighbours[here]:
                if other not in piece:
                    piece[other] = piece[here] ^ disagree
                    waiting.append(other)
        seen |= piece.keys()
        against = [surface for surface, turn in piece.items() if turn]
        if 2 * len(against) > len(piece):
            against = [surface for surface, turn in piece.items() if not turn]
        result[against] = True
    return result


def _volumes(
    soup: Soup, places: Positions, turned: Flags, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Signed volumes (m3) of all shells (count,), and the share of the box around each that this is."""
    surface = soup.corner_surface()
    solid = np.flatnonzero(soup.shells[surface] != NO_SHELL)
    shell = soup.shells[surface[solid]]
    here = places[soup.corners]
    there = here[following(soup.rings)][solid]
    # A fan from the surface's first corner and the shell's middle: the sum of the tetrahedra is the volume.
    first = here[soup.corner_limits()[:-1]][surface[solid]]
    here = here[solid]
    totals = np.bincount(shell, minlength=count)
    middle = np.column_stack(
        [np.bincount(shell, here[:, axis], count) / np.maximum(totals, 1) for axis in range(3)]
    )[shell]
    six = np.einsum("ij,ij->i", first - middle, np.cross(here - middle, there - middle))
    sign = np.where(turned[surface[solid]], -1.0, 1.0)
    volumes = np.bincount(shell, six * sign, count) / 6.0
    order = np.argsort(shell, kind="stable")
    starts = np.searchsorted(shell[order], np.arange(count))
    present = totals > 0
    extent = np.ones((count, 3))
    low = np.minimum.reduceat(here[order], starts[present], axis=0)
    high = np.maximum.reduceat(here[order], starts[present], axis=0)
    extent[present] = high - low
    return volumes, np.abs(volumes) / np.maximum(extent.prod(axis=1), 1e-9)
