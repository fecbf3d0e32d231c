"""A network by resolution: its trunk of maps, the gates and head beside it, and its stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rfsearch.analysis.layers import AXES, Analysis, Layer


@dataclass(frozen=True)
class Stage:
    """Layers in a row whose outputs lie equally far apart.

    Attributes:
        jump_h, jump_w: that distance, in input pixels.
        height, width: the map.
        first, last: names of the layers.
        field_h, field_w: largest field without gates at its end; ``enters_h`` at its beginning.
    """

    jump_h: float
    jump_w: float
    height: int
    width: int
    first: str
    last: str
    num_layers: int
    enters_h: int
    enters_w: int
    field_h: int
    field_w: int


def _pooled(layers: Sequence[Layer]) -> tuple[set[int], set[int]]:
    """Rows from a pooling to a single element on: those before maps go on, and those at the end.

    The first belong to gates and to pyramids' widest level, the second to the head.
    """
    before: set[int] = set()
    current: set[int] = set()
    for i, row in enumerate(layers):
        single = row.height == row.width == 1
        if single and (current or (row.kind == "pool" and max(row.kernel_h or 1,
                                                             row.kernel_w or 1) > 1)):  # fmt: skip
            current.add(i)
        elif not single and row.height is not None:
            before |= current
            current = set()
    return before, current


def gate_rows(layers: Sequence[Layer]) -> set[int]:
    """Indices of the rows inside gates: single numbers per channel, on the way back to a map."""
    return _pooled(layers)[0]


def trunk(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The rows whose outputs are maps, without gates and head."""
    left_out = set().union(*_pooled(layers))
    return tuple(
        row
        for i, row in enumerate(layers)
        if i not in left_out and row.jump_h and row.jump_w and row.height
        if row.field_no_gates_h and row.field_no_gates_w
    )


def stages(analysis: Analysis) -> tuple[Stage, ...]:
    """The network by resolution: field against stage."""
    maps = trunk(analysis.layers)
    found = []
    enters = (1, 1)
    for (jump_h, jump_w), group in groupby(maps, key=lambda row: (row.jump_h, row.jump_w)):
        rows = list(group)
        last = rows[-1]
        most = tuple(max(field_of(row, axis) for row in rows) for axis in AXES)
        assert jump_h is not None and jump_w is not None  # noqa: PT018 - for the type checker
        found.append(
            Stage(jump_h, jump_w, last.height or 0, last.width or 0, label(rows[0]), label(last),
                  len(rows), *enters, *most)
        )  # fmt: skip
        enters = (most[0], most[1])
    return tuple(found)


def field_of(row: Layer, axis: str) -> int:
    """The largest field without gates along h or w, in pixels."""
    return int(getattr(row, f"field_no_gates_{axis}"))


def label(row: Layer) -> str:
    """The layer, and which call of it where there was an earlier one."""
    name = row.name or "(network)"
    return f"{name} (call {row.call})" if row.call else name
