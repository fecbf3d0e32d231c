"""A network for the page: a row of cells per layer, and for its picture the boxes of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rfsearch.analysis.layers import Box, Layer
from rfsearch.analysis.reading import Reading
from rfsearch.analysis.scores import Gain
from rfsearch.analysis.squares import Mass, square_box
from rfsearch.reporting import pictures
from rfsearch.reporting.gain_table import MILLION, THOUSAND, remark
from rfsearch.reporting.layer_table import bound, kernel, name_of, sees_new, told_rows
from rfsearch.reporting.quantities import count, percent, size

EFFECTIVE_BOXES = {"effective_50": 0.5, "effective_90": 0.9}


@dataclass(frozen=True)
class Cell:
    """What is shown, and the number it is sorted by ("" for none)."""

    text: str
    value: float | str = ""


@dataclass(frozen=True)
class Row:
    """A layer: its name, its kind, whether it is left out at first, and its cells."""

    name: str
    kind: str
    quiet: bool
    idle: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class View:
    """A network's part of the page; ``key`` tells the parts of several apart."""

    key: str
    name: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    kinds: tuple[str, ...]
    num_quiet: int
    first: int


@dataclass(frozen=True)
class _Column:
    heading: str
    cell: Callable[[Layer], Cell]


def view(reading: Reading, key: str) -> View:
    """The table of one network."""
    columns = _columns(reading)
    told = set(map(id, told_rows(reading.layers)))
    rows = tuple(
        Row(name_of(row), row.kind, id(row) not in told, sees_new(row) == "no",
            tuple(column.cell(row) for column in columns))
        for row in reading.layers
    )  # fmt: skip
    kinds = tuple(dict.fromkeys(row.kind for row in reading.layers))
    quiet = sum(row.quiet for row in rows)
    return View(key, reading.model, tuple(column.heading for column in columns), rows, kinds,
                quiet, _first(reading))  # fmt: skip


def _first(reading: Reading) -> int:
    """The layer shown before one is chosen: of those with a box, the one in the middle."""
    boxed = [i for i, row in enumerate(reading.layers)
             if row.kind == "conv" and _boxes(reading, i)]  # fmt: skip
    return boxed[len(boxed) // 2] if boxed else 0


def _columns(reading: Reading) -> list[_Column]:
    columns = [
        _Column("kind", lambda row: Cell(row.kind, row.kind)),
        _Column("kernel", lambda row: Cell(kernel(row), row.kernel_h or "")),
        _Column("map", lambda row: Cell(
            "" if row.height is None else f"{row.height}×{row.width}",
            "" if row.height is None or row.width is None else row.height * row.width)),
        _pixels("field", "field"),
        _pixels("without gates", "field_no_gates"),
        _pixels("smallest", "field_min"),
    ]  # fmt: skip
    if any(row.effective_90_h is not None for row in reading.layers):
        columns += [_pixels("effective 50 %", "effective_50"),
                    _pixels("effective 90 %", "effective_90")]  # fmt: skip
    return [
        *columns,
        *_gain_columns(reading),
        _Column("sees new", lambda row: Cell(sees_new(row), sees_new(row))),
        _Column("padding", lambda row: Cell(
            percent(row.padding_share, 0) if row.padding_share else "", row.padding_share or "")),
        _Column("parameters", lambda row: Cell(count(row.params) if row.params else "",
                                               row.params)),
        _Column("MACs", lambda row: Cell(count(row.macs) if row.macs else "", row.macs)),
    ]  # fmt: skip


def _gain_columns(reading: Reading) -> list[_Column]:
    """What a layer adds, where the metric was asked for."""
    if reading.gains is None:
        return []
    own = {id(row): gain for row, gain in zip(reading.layers, reading.gains.rows, strict=True)}

    def number(heading: str, value: Callable[[Gain], float | None], digits: str) -> _Column:
        def cell(row: Layer) -> Cell:
            found = value(own[id(row)])
            return Cell("") if found is None else Cell(f"{found:{digits}}", found)

        return _Column(heading, cell)

    return [
        number("stage", lambda gain: gain.stage + 1, "d"),
        number("local field", lambda gain: gain.local_field, ",d"),
        number("cumulative field", lambda gain: gain.cumulative_field, ",d"),
        number("gain", lambda gain: gain.gain, ".3g"),
        number("per M MACs", lambda gain: _scaled(gain.gain_per_mac, MILLION), ".3g"),
        number("per k params", lambda gain: _scaled(gain.gain_per_param, THOUSAND), ".3g"),
        _Column("earns", lambda row: Cell(remark(own[id(row)]) or "yes")),
    ]


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _pixels(heading: str, column: str) -> _Column:
    def cell(row: Layer) -> Cell:
        height, width = (getattr(row, f"{column}_{axis}") for axis in "hw")
        if height is None or width is None:
            return Cell("")
        sign = bound(row) if column.startswith("field") else ""
        return Cell(sign + size(height, width), max(height, width))

    return _Column(heading, cell)


def exchange(reading: Reading, view: View, most_bytes: int) -> dict[str, Any]:
    """What the script needs of one network, as plain data.

    Each layer has its boxes [top, left, height, width] by kind, and a picture of its gradient.
    """
    known = reading.effective.masses if reading.effective else (None,) * len(reading.layers)
    urls = pictures.masses(known, most_bytes)
    layers = []
    for i in range(len(reading.layers)):
        layer: dict[str, Any] = {"boxes": _boxes(reading, i) | _squares(known[i])}
        if urls[i]:
            layer["mass"] = urls[i]
        layers.append(layer)
    return {"name": reading.model, "size": list(reading.analysis.image_size), "first": view.first,
            "layers": layers}  # fmt: skip


def _boxes(reading: Reading, index: int) -> dict[str, list[int]]:
    if index < len(reading.boxes) and reading.boxes[index]:
        return _as_lists(reading.boxes[index])
    return {}


def _squares(mass: Mass | None) -> dict[str, list[int]]:
    if mass is None or mass.sum() <= 0:
        return {}
    return {name: list(square_box(mass, share)) for name, share in EFFECTIVE_BOXES.items()}


def _as_lists(boxes: Mapping[str, Box]) -> dict[str, list[int]]:
    return {name: [box.top, box.left, box.height, box.width] for name, box in boxes.items()}


def views(readings: Sequence[Reading]) -> list[View]:
    """All networks of a page."""
    return [view(reading, "ab"[index]) for index, reading in enumerate(readings)]
