"""The steps in which coordinates are kept where a format has none: LAS stores whole numbers of a scale."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from pointclouds.errors import UnreadablePointCloudError

Triple = tuple[float, float, float]

_USUAL: Final = 0.001
_DECIMAL_STEPS: Final = (0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6)
_DEGREE_STEPS: Final = (1e-9, 1e-8, 1e-7)
_REACH: Final = 2**31 - 2


def choose_offset(low: Triple, high: Triple) -> Triple:
    """Whole numbers in the middle of the box."""
    x, y, z = (float(np.floor((first + last) / 2)) for first, last in zip(low, high, strict=True))
    return x, y, z


def choose_scale(
    sample: npt.NDArray[np.float64],
    low: Triple,
    high: Triple,
    name: str,
    *,
    geographic: bool = False,
    asked: float | None = None,
) -> Triple:
    """The scale of x, y and z.

    Args:
        sample: some of the coordinates (n, 3): where all are whole numbers of a decimal step, that step is taken.
        low, high: ends of all coordinates.
        geographic: x and y are degrees.
        asked: taken for all three where the coordinates fit (degrees: for z only).

    Returns:
        A millimetre, unless the data are written in coarser or finer steps, or all of them lie within less than 100 units.

    Raises:
        UnreadablePointCloudError: the box is too large for `asked`.
    """
    offset = choose_offset(low, high)
    reach = [max(last - shift, shift - first) for first, last, shift in zip(low, high, offset, strict=True)]
    if asked is not None and not (np.isfinite(asked) and 1e-12 <= asked <= 1e4):
        raise UnreadablePointCloudError(
            f"{name}: a scale of {asked!r} was asked; between 1e-12 and 10000 makes sense"
        )
    if geographic:
        flat = next(step for step in (*_DEGREE_STEPS, 1e-6) if max(reach[:2]) / step < _REACH)
        upright = asked or _fitting(_of_decimals(sample[:, 2:]) or _USUAL, reach[2])
        return flat, flat, upright
    if asked is not None:
        if max(reach) / asked > _REACH:
            raise UnreadablePointCloudError(
                f"{name}: a scale of {asked:g} was asked, the coordinates need {_fitting(asked, max(reach)):g} at least"
            )
        return asked, asked, asked
    extent = max(last - first for first, last in zip(low, high, strict=True))
    usual = _of_decimals(sample) or _of_extent(extent)
    fitting = _fitting(usual, max(reach))
    return fitting, fitting, fitting


def _of_decimals(sample: npt.NDArray[np.float64]) -> float | None:
    """The coarsest decimal step of which all coordinates are whole numbers; None where they are not decimal, or all whole."""
    if not len(sample) or bool((sample == np.rint(sample)).all()):
        return None
    for step in _DECIMAL_STEPS:
        steps = sample / step
        # A decimal number is off its double by units in the last place, a random one by a quarter of a step.
        tolerance = 1e-6 + 4 * np.finfo(np.float64).eps * np.abs(steps)
        if bool((np.abs(steps - np.rint(steps)) <= tolerance).all()):
            return step
    return None


def _of_extent(extent: float) -> float:
    """A millimetre of a city, less of an object: five digits of its size."""
    if extent <= 0:
        return _USUAL
    return float(min(_USUAL, max(1e-6, 10.0 ** (np.floor(np.log10(extent)) - 5))))


def _fitting(scale: float, reach: float) -> float:
    while reach / scale > _REACH:
        scale *= 10
    return scale
