"""The centre unit of a tensor, and what it sees: a box in the image for every kind of field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch.export import ExportedProgram

from rfsearch.analysis.dependence import Value
from rfsearch.analysis.follow import trace_marked
from rfsearch.analysis.layers import Box
from rfsearch.analysis.reach import Reach

BOXES = {
    "field": "largest",
    "field_no_gates": "no_gates",
    "field_min": "smallest",
    "seen": "seen",  # the part inside the image, exactly
}
"""What a box is called → the kind of interval it shows."""


@dataclass(frozen=True)
class Unit:
    """A place in a tensor: an index along each dimension that runs over the image, None (all)
    along the others. Of a tensor that runs over neither axis it is the whole tensor."""

    place: tuple[int | None, ...]

    @property
    def index(self) -> tuple[int | slice, ...]:
        """For indexing a tensor of that shape."""
        return tuple(slice(None) if at is None else at for at in self.place)


def centre(value: Value) -> Unit | None:
    """Element length // 2 along both image axes; None where one dimension runs over both.

    Tokens are such a dimension: a sequence has no centre.
    """
    rows, columns = ([d for d, jump in enumerate(axis.jumps) if jump != 0] for axis in value.axes)
    if len(rows) > 1 or len(columns) > 1 or set(rows) & set(columns):
        return None
    over = {*rows, *columns}
    return Unit(tuple(n // 2 if d in over else None for d, n in enumerate(value.shape)))


def box(value: Value, unit: Unit, kind: str) -> Box:
    """What the unit sees: of its channels the hull, or by the shortest path the smallest."""
    (top, height), (left, width) = (_extent(axis.reaches[kind], unit) for axis in value.axes)
    return Box(top, left, height, width)


def _extent(reach: Reach, unit: Unit) -> tuple[int, int]:
    """First pixel and number of pixels."""
    lo, hi = (
        array[tuple(_within(at, n) for at, n in zip(unit.place, array.shape, strict=True))].ravel()
        for array in (reach.lo, reach.hi)
    )
    if reach.kind.shortest:
        best = int(np.argmin(np.where(hi >= lo, hi - lo, np.iinfo(np.int64).max)))
        lo, hi = lo[best : best + 1], hi[best : best + 1]
    return int(lo.min()), max(0, int(hi.max() - lo.min() + 1))


def _within(at: int | None, length: int) -> int | slice:
    """An index into an array that has length 1 where nothing varies."""
    return slice(None) if at is None else min(at, length - 1)


def centres(
    program: ExportedProgram, nodes: tuple[str, ...], ignore_unknown: bool = False
) -> dict[str, tuple[Unit, Value]]:
    """Centre unit and dependence of these nodes' outputs; those without a centre are left out."""
    wanted = set(nodes)
    found = {}
    for node, value, _ in trace_marked(program, ignore_unknown):
        if node.name in wanted and value.is_data and (unit := centre(value)) is not None:
            found[node.name] = unit, value
    return found


def boxes(centre_units: Mapping[str, tuple[Unit, Value]], node: str) -> dict[str, Box]:
    """All boxes of one node; none where it has no centre."""
    if node not in centre_units:
        return {}
    unit, value = centre_units[node]
    return {name: box(value, unit, kind) for name, kind in BOXES.items()}
