"""Networks read, as text for a terminal: what they come to, a row per layer, what it means."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from rfsearch.analysis.findings import unproductive
from rfsearch.analysis.layers import Layer, is_spatial
from rfsearch.analysis.reading import Reading
from rfsearch.analysis.stages import trunk
from rfsearch.reporting.quantities import MISSING, count, percent, size

WIDE = 120
"""Columns of terminal from which on all columns of the table fit."""
QUIET = ("norm", "activation")
SHARED = 0.3
"""Share of common layers from which on two networks are told row by row."""


@dataclass(frozen=True)
class Column:
    """A heading, what stands under it, and whether it waits for a wide terminal."""

    heading: str
    cell: Callable[[Layer], str]
    wide: bool = False
    left: bool = False


def render(readings: Sequence[Reading], width: int) -> str:
    """All of it, in ``width`` columns; two networks side by side."""
    parts = [_compared(readings, width)] if len(readings) > 1 else []
    together = len(readings) == 2 and _shared(readings[0], readings[1]) >= SHARED
    if together:
        parts.append(_side_by_side(readings[0], readings[1], width))
    for reading in readings:
        parts.append(_headline(reading, width))
        if not together:
            parts.append(_table(reading, width))
        parts.append(_told(reading, width))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _headline(reading: Reading, width: int) -> str:
    totals = reading.analysis.totals
    height, wide = reading.analysis.image_size
    return fill(
        f"{reading.model} at {height}×{wide} pixels: {count(totals.params)} parameters, "
        f"{count(totals.macs)} MACs, {count(totals.window_ops)} window operations; "
        f"weights {reading.weights}.",
        width,
    )


def _table(reading: Reading, width: int) -> str:
    rows = told_rows(reading.layers)
    effective = reading.effective is not None
    columns = [c for c in _columns(effective) if width >= WIDE or not c.wide]
    table = _new_table()
    for column in columns:
        table.add_column(column.heading, justify="left" if column.left else "right",
                         no_wrap=not column.left, overflow="fold")  # fmt: skip
    for row in rows:
        table.add_row(*(column.cell(row) for column in columns))
    hidden = len(reading.layers) - len(rows)
    notes = "Sizes are input pixels, height × width where they differ. “new”: whether a kernel "
    notes += "above 1 sees anything new."
    if effective:
        notes += f" Effective: side of the square with 50 / 90 % of the gradient, {_how(reading)}."
    if hidden:
        notes += f" {hidden} rows of norms and activations that see what the row above sees are "
        notes += "left out; csv, json and html have them."
    return _drawn(table, width) + "\n" + fill(notes, width)


def told_rows(layers: Sequence[Layer]) -> list[Layer]:
    """Without norms and activations that see no more than the row before them, unless their
    effective field was measured."""
    told: list[Layer] = []
    before: Layer | None = None
    for row in layers:
        same = before is not None and _sees(row) == _sees(before)
        if row.kind not in QUIET or not same or row.effective_90_h is not None:
            told.append(row)
        before = row
    return told


def _sees(row: Layer) -> tuple[object, ...]:
    return (row.field_h, row.field_w, row.field_no_gates_h, row.field_no_gates_w, row.field_min_h,
            row.field_min_w, row.height, row.width)  # fmt: skip


def _columns(effective: bool) -> list[Column]:
    found = [
        Column("layer", name_of, left=True),
        Column("kind", lambda row: row.kind.replace("conv_transpose", "transpose"), left=True),
        Column("kernel", kernel),
        Column("channels", _channels, wide=True),
        Column("map", lambda row: _times(row.height, row.width)),
        Column("field", lambda row: bound(row) + size(row.field_h, row.field_w)),
        Column(
            "no gates", lambda row: size(row.field_no_gates_h, row.field_no_gates_w), wide=True
        ),
        Column("smallest", lambda row: size(row.field_min_h, row.field_min_w), wide=True),
        Column("jump", lambda row: size(row.jump_h, row.jump_w), wide=True),
    ]
    if effective:
        found += [
            Column("eff. 50", lambda row: size(row.effective_50_h, row.effective_50_w)),
            Column("eff. 90", lambda row: size(row.effective_90_h, row.effective_90_w)),
        ]
    return [
        *found,
        Column("new", sees_new),
        Column("padding", lambda row: "" if not row.padding_share
               else percent(row.padding_share, 0), wide=True),
        Column("params", lambda row: count(row.params) if row.params else "", wide=True),
        Column("MACs", lambda row: count(row.macs) if row.macs else ""),
    ]  # fmt: skip


def name_of(row: Layer) -> str:
    """The layer, and which call of it after the first."""
    return (row.name or "(network)") + (f" #{row.call + 1}" if row.call else "")


def bound(row: Layer) -> str:
    """A sign before a field that is no exact one."""
    return ("≥ " if row.at_least else "") + ("≤ " if row.at_most else "")


def kernel(row: Layer) -> str:
    """Kernel and, above 1, stride."""
    if row.kernel_h is None and row.kernel_w is None:
        return ""
    stride = (row.stride_h or 1, row.stride_w or 1)
    return size(row.kernel_h, row.kernel_w) + (f"/{size(*stride)}" if max(stride) > 1 else "")


def sees_new(row: Layer) -> str:
    """yes or no for kernels above 1, else nothing."""
    if not is_spatial(row):
        return ""
    return "no" if unproductive(row) else "yes"


def _channels(row: Layer) -> str:
    if row.in_channels in (None, row.out_channels):
        return str(row.out_channels)
    return f"{row.in_channels}→{row.out_channels}"


def _times(height: int | None, width: int | None) -> str:
    return "" if height is None or width is None else f"{height}×{width}"


def _how(reading: Reading) -> str:
    effective = reading.effective
    assert effective is not None
    return f"{effective.num_images} images ({effective.images}), no logarithm taken"


def _told(reading: Reading, width: int) -> str:
    """The findings, and whether walk and probe agree."""
    sentences = [one.sentence for one in reading.findings]
    if reading.disagreements is not None:
        sentences.append(_verdict(reading))
    return "\n".join(fill(one, width, initial_indent="- ", subsequent_indent="  ")
                     for one in sentences)  # fmt: skip


def _verdict(reading: Reading) -> str:
    wrong, looked_at = reading.disagreements, reading.looked_at or 0.0
    if wrong:
        return f"Walk and probe disagree: {'; '.join(wrong[:10])}."
    found = "Walk and probe agree on every element of every tensor"
    if looked_at < 1:
        found += f" in every run; their half-planes looked at {_borders(looked_at)}"
    for strip in reading.strips:
        found += (
            f"; so they do on a strip of {_times(*strip.image_size)} pixels, where fields "
            f"reach farther ({_borders(strip.comparison.looked_at)})"
        )
    return f"{found}."


def _borders(looked_at: float) -> str:
    return f"{100 * looked_at:.0f} % of the borders of fields"


def quantities_of(reading: Reading) -> list[tuple[str, str]]:
    """What a network comes to, by name: the rows of a comparison."""
    analysis, layers = reading.analysis, reading.layers
    maps = trunk(layers)
    spatial = [row for row in layers if is_spatial(row)]
    found = [
        ("image", _times(*analysis.image_size)),
        ("parameters", count(analysis.totals.params)),
        ("MACs", count(analysis.totals.macs)),
        ("window operations", count(analysis.totals.window_ops)),
        ("layers", str(len(layers))),
        ("kernels above 1", str(len(spatial))),
        ("of these unproductive", str(sum(map(unproductive, spatial)))),
        ("largest field of a map", _largest(maps, "field_no_gates")),
        ("smallest image without unproductive layer", _smallest(reading)),
    ]
    if reading.effective:
        found += [(f"effective {share} % at the last map", _last(maps, f"effective_{share}"))
                  for share in (50, 90)]  # fmt: skip
    return found


def _largest(maps: Sequence[Layer], column: str) -> str:
    if not maps:
        return MISSING
    return size(*(max(getattr(row, f"{column}_{a}") for row in maps) for a in "hw"))


def _last(maps: Sequence[Layer], column: str) -> str:
    known = [row for row in maps if getattr(row, f"{column}_h") is not None]
    return size(*(getattr(known[-1], f"{column}_{a}") for a in "hw")) if known else MISSING


def _smallest(reading: Reading) -> str:
    if reading.smallest is None:
        return MISSING
    height, width = reading.smallest
    text = "none" if None in (height.pixels, width.pixels) else size(height.pixels, width.pixels)
    return text if height.exact and width.exact else f"at least {text}"


def _compared(readings: Sequence[Reading], width: int) -> str:
    table = _new_table()
    table.add_column("", no_wrap=False)
    for reading in readings:
        table.add_column(reading.model, justify="right", overflow="fold")
    sides = [quantities_of(reading) for reading in readings]
    for rows in zip(*sides, strict=True):
        table.add_row(rows[0][0], *(value for _, value in rows))
    longest = max(len(reading.stages) for reading in readings)
    for index in range(longest):
        cells = [_stage(reading, index) for reading in readings]
        table.add_row(f"resolution {index + 1}: map, field at its end", *cells)
    return _drawn(table, width)


def _stage(reading: Reading, index: int) -> str:
    if index >= len(reading.stages):
        return MISSING
    stage = reading.stages[index]
    return f"{stage.height}×{stage.width}, {size(stage.field_h, stage.field_w)}"


def _shared(one: Reading, other: Reading) -> float:
    names = [{(row.name, row.call) for row in told_rows(r.layers)} for r in (one, other)]
    return len(names[0] & names[1]) / max(1, min(map(len, names)))


def _side_by_side(one: Reading, other: Reading, width: int) -> str:
    """Rows of both in order; what only one of them has leaves the other's half empty."""
    table = _new_table()
    table.add_column("layer", overflow="fold")
    halves = [["kernel", "map", "field"]] * 2
    for half in halves:
        for heading in half:
            table.add_column(heading, justify="right", no_wrap=True)
    for left, right in merged(told_rows(one.layers), told_rows(other.layers)):
        row = left or right
        assert row is not None
        table.add_row(name_of(row), *_half(left), *_half(right))
    note = fill(f"Left {one.model}, right {other.model}.", width)
    return _drawn(table, width) + "\n" + note


def merged(
    one: Sequence[Layer], other: Sequence[Layer]
) -> list[tuple[Layer | None, Layer | None]]:
    """Two lists of rows as one, in the order of both; rows of one (name, call) side by side."""
    later = {(row.name, row.call): i for i, row in enumerate(other)}
    pairs: list[tuple[Layer | None, Layer | None]] = []
    at = 0
    for row in one:
        match = later.get((row.name, row.call), -1)
        if match >= at:
            pairs += [(None, rest) for rest in other[at:match]]
            pairs.append((row, other[match]))
            at = match + 1
        else:
            pairs.append((row, None))
    return [*pairs, *((None, rest) for rest in other[at:])]


def _half(row: Layer | None) -> tuple[str, str, str]:
    if row is None:
        return "", "", ""
    return kernel(row), _times(row.height, row.width), size(row.field_h, row.field_w)


def _new_table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))


def _drawn(table: Table, width: int) -> str:
    stream: Any = io.StringIO()
    Console(file=stream, width=width, color_system=None, highlight=False, markup=False,
            emoji=False).print(table)  # fmt: skip
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
