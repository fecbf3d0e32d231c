"""How far a mass of gradient reaches: the smallest centred square, or bars, that hold a share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mass = NDArray[np.float64]
"""(H, W), no number below 0."""
SHARES = (0.2, 0.3, 0.5, 0.9, 0.99)
"""RepLKNet's shares of the mass, and 90 %."""


def square(mass: Mass, share: float) -> tuple[int, int]:
    """(height, width) of the smallest centred square with ``share`` of the mass."""
    _, _, height, width = square_box(mass, share)
    return height, width


def square_box(mass: Mass, share: float) -> tuple[int, int, int, int]:
    """(top, left, height, width) of that square, the part of it inside the image.

    It is no larger than the square around all mass: an effective field is no larger than the
    field, although the middle of one may lie a pixel off the middle of the other.
    """
    if mass.sum() <= 0:
        return 0, 0, 0, 0
    (rows, middle_row), (columns, middle_column) = _distances(mass, 1), _distances(mass, 0)
    radius = _radius(np.maximum(rows[:, None], columns[None, :]), mass, share)
    lines = mass.sum(1), mass.sum(0)
    longest = max(map(_extent, lines))
    top, height = _inside(middle_row, radius, lines[0], longest)
    left, width = _inside(middle_column, radius, lines[1], longest)
    return top, left, height, width


def bars(mass: Mass, share: float) -> tuple[int, int]:
    """(height, width): rows that hold ``share`` of the mass, and, apart from them, columns."""
    if mass.sum() <= 0:
        return 0, 0
    sizes = []
    for other in (1, 0):
        distances, middle = _distances(mass, other)
        line = mass.sum(other)
        sizes.append(_inside(middle, _radius(distances, line, share), line, _extent(line))[1])
    return sizes[0], sizes[1]


def _distances(mass: Mass, other: int) -> tuple[NDArray[np.int64], int]:
    """Distance of each line from the median line, and where that is."""
    upto = mass.sum(other).cumsum()
    middle = int(np.searchsorted(upto, upto[-1] / 2))
    return np.abs(np.arange(len(upto)) - middle), middle


def _radius(distances: NDArray[np.int64], mass: Mass, share: float) -> int:
    """The smallest distance within which ``share`` of the mass lies."""
    upto = np.bincount(distances.ravel(), mass.ravel()).cumsum()
    return int(np.searchsorted(upto, share * upto[-1]))


def _extent(line: Mass) -> int:
    """From the first line with mass to the last one."""
    with_mass = np.flatnonzero(line)
    return int(with_mass[-1] - with_mass[0] + 1)


def _inside(middle: int, radius: int, line: Mass, longest: int) -> tuple[int, int]:
    """First line within ``radius`` of the middle, and how many: at most ``longest``, which is no
    less than the extent of the mass, and then around it."""
    first, last = max(middle - radius, 0), min(middle + radius, len(line) - 1)
    excess = last - first + 1 - longest
    if excess <= 0:
        return first, last - first + 1
    with_mass = np.flatnonzero(line)
    first = min(max(first + excess // 2, int(with_mass[-1]) - longest + 1), int(with_mass[0]))
    return first, longest
