"""A layer as a row of numbers, what is told beside rows, and rows as layers.csv."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path

AXES = ("h", "w")


@dataclass(frozen=True)
class Layer:
    """One call of one layer; the fields are the columns of layers.csv, in order.

    Sizes, jumps and starts are in input pixels, one number for height (h) and one for width (w);
    None is what is not known or has no meaning for this layer.

    Attributes:
        name: full name of the module that called the operator, empty for the network itself.
        call: counts the layers of that name, from 0, so that (name, call) is unique.
        kind: conv, conv_transpose, pool, linear, norm, activation, attention, resample, join or
            other.
        field_h, field_w: largest field, as if maps went on beyond the border.
        field_no_gates_h, field_no_gates_w: the same, gates left out.
        field_min_h, field_min_w: the field along the shortest path.
        field_clipped_h, field_clipped_w: largest field, inside the image.
        jump_h, start_h: of the field without gates: output u starts at start + jump·u.
        padding_share: share of the window's positions, over all outputs, that lie on padding.
        effective_50_h, …: filled in from ``analysis.effective`` by who measured it.
        params: parameters that no earlier row counted.
        macs: multiply-adds for one image.
        window_ops: compares or adds of pooling for one image.
        unproductive_h, …: Richter's border layers (arXiv 2106.12307): a kernel above 1 whose input
            sees the whole image already along its shortest path, or has only one tap on data.
        source: line of code that called it.
        at_least: not a column; the fields may be larger, for an operator without a rule came
            before.
        at_most: not a column; the fields may be smaller, for an operator before reads where the
            image tells it to (deformable convolution, sampling of a grid, topk).
    """

    name: str
    call: int
    kind: str
    kernel_h: int | None = None
    kernel_w: int | None = None
    stride_h: int | None = None
    stride_w: int | None = None
    in_channels: int | None = None
    out_channels: int | None = None
    height: int | None = None
    width: int | None = None
    field_h: int | None = None
    field_w: int | None = None
    field_no_gates_h: int | None = None
    field_no_gates_w: int | None = None
    field_min_h: int | None = None
    field_min_w: int | None = None
    field_clipped_h: int | None = None
    field_clipped_w: int | None = None
    jump_h: int | float | None = None
    jump_w: int | float | None = None
    start_h: int | None = None
    start_w: int | None = None
    padding_share: float | None = None
    effective_50_h: int | None = None
    effective_50_w: int | None = None
    effective_90_h: int | None = None
    effective_90_w: int | None = None
    params: int = 0
    macs: int = 0
    window_ops: int = 0
    unproductive_h: bool | None = None
    unproductive_w: bool | None = None
    source: str = ""
    at_least: bool = False
    at_most: bool = False


MARKS = ("at_least", "at_most")
COLUMNS = tuple(field.name for field in fields(Layer) if field.name not in MARKS)


def is_spatial(layer: Layer) -> bool:
    """Whether a layer can see something new: a convolution or pooling with a kernel above 1.

    Pooling to a single element is left out: it sums up, and looks for nothing.
    """
    if layer.kind not in ("conv", "pool") or (layer.kind == "pool" and layer.height == 1 ==
                                              layer.width):  # fmt: skip
        return False
    return max(layer.kernel_h or 1, layer.kernel_w or 1) > 1


@dataclass(frozen=True)
class Box:
    """Pixels [top, top + height) × [left, left + width); padding around the image counts."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Smallest:
    """The shortest image side along one axis without an unproductive layer, in pixels.

    ``pixels`` is None where no size does, as when an attention sees everything before a kernel
    comes. Not ``exact``: at least so many, because the graph holds for one image size alone.
    """

    pixels: int | None
    exact: bool = True


@dataclass(frozen=True)
class Join:
    """A join of maps that do not lie on each other, along one image axis.

    Attributes:
        name, call: of its layer.
        axis: h or w.
        jumps: pixels per element of each operand, one after the other.
        offsets: per operand, by how many pixels the centres of its fields lie off those of the
            first operand: the least and the most over all elements.
        source: line of code that joins.
    """

    name: str
    call: int
    axis: str
    jumps: tuple[Fraction, ...]
    offsets: tuple[tuple[float, float], ...]
    source: str = ""


@dataclass(frozen=True)
class Totals:
    """Sums over a network, for one image."""

    params: int
    macs: int
    window_ops: int


@dataclass(frozen=True)
class Analysis:
    """What the walk found.

    Attributes:
        image_size: (height, width).
        layers: one row per call of a layer, in the order of the graph.
        totals: parameters of the module, used or not; multiply-adds and window operations.
        nodes: for each layer the node of the exported graph that it is.
        joins: those whose operands do not lie on each other, in the order of the graph.
    """

    image_size: tuple[int, int]
    layers: tuple[Layer, ...]
    totals: Totals
    nodes: tuple[str, ...] = ()
    joins: tuple[Join, ...] = ()

    def of(self, name: str, call: int = 0) -> Layer:
        """The row of one call of a layer."""
        return next(row for row in self.layers if (row.name, row.call) == (name, call))

    def rows(self) -> list[dict[str, object]]:
        """Rows as plain data, in the order of COLUMNS."""
        return [_row(layer) for layer in self.layers]


def write_layers(layers: Iterable[Layer], path: Path) -> None:
    """layers.csv: what is not known stays empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_row(layer) for layer in layers)


def _row(layer: Layer) -> dict[str, object]:
    return {column: getattr(layer, column) for column in COLUMNS}
