"""The networks of a run as readings, from layers.csv and layers_plain.csv alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from rfsearch.analysis.layers import COLUMNS, Analysis, Box, Layer, Totals
from rfsearch.analysis.reading import Reading
from rfsearch.reporting.field_page import Picture, parts
from rfsearch.reporting.photographs import NAMES, photographs
from rfsearch.reporting.records import Records

NEEDED = ("field_no_gates_h", "field_min_h", "jump_h", "start_h")
"""Columns without which there is no field to draw; older runs may lack them."""


def section(records: Records) -> dict[str, Any] | None:
    """What the template ``fields.html`` is given for a run; None where its files lack fields."""
    tables = {"found": records.layers, "plain": records.plain_layers}
    if any(column not in table.columns for table in tables.values() for column in NEEDED):
        return None
    readings = [_reading(name, table, records) for name, table in tables.items()]
    return parts(readings, list(map(Picture, NAMES, photographs(records.image_size))))


def _reading(name: str, table: pd.DataFrame, records: Records) -> Reading:
    layers = layers_of(table)
    network = records.networks[name]
    totals = Totals(network.params or 0, network.macs or 0, network.window_ops or 0)
    analysis = Analysis(records.image_size, layers, totals)
    boxes = tuple(_boxes(row, records.image_size) for row in layers)
    return Reading(name, analysis, "trained in the run", None, boxes)


def layers_of(table: pd.DataFrame) -> tuple[Layer, ...]:
    """Rows of layers.csv; what is empty or absent is None."""
    known = [column for column in COLUMNS if column in table.columns]
    found = []
    for _, row in table.iterrows():
        values = {column: _value(row[column]) for column in known}
        texts = {key: str(values.get(key) or "") for key in ("name", "kind", "source")}
        counts = {key: values.get(key) or 0 for key in ("call", "params", "macs", "window_ops")}
        found.append(Layer(**{**values, **texts, **counts}))
    return tuple(found)


def _value(value: Any) -> Any:
    """A cell of a data frame as plain data: whole numbers whole, and nothing as None."""
    if isinstance(value, str) and value in ("True", "False"):
        return value == "True"
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return None
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return bool(value)
    return int(value) if float(value).is_integer() else float(value)


def _boxes(row: Layer, image_size: tuple[int, int]) -> Mapping[str, Box]:
    """What the centre unit of a map sees, from start, jump and size; the shortest path has none.

    A field that a gate makes larger is drawn as the whole image.
    """
    if None in (row.jump_h, row.jump_w, row.height, row.width, row.field_no_gates_h):
        return {}
    tops = [_first(row, axis) for axis in "hw"]
    sizes = [int(getattr(row, f"field_no_gates_{axis}")) for axis in "hw"]
    inner = Box(tops[0], tops[1], sizes[0], sizes[1])
    if (row.field_h, row.field_w) == (row.field_no_gates_h, row.field_no_gates_w):
        return {"field": inner}
    return {"field": Box(0, 0, *image_size), "field_no_gates": inner}


def _first(row: Layer, axis: str) -> int:
    """First pixel of unit length // 2 along one axis."""
    length = row.height if axis == "h" else row.width
    start, jump = (getattr(row, f"{name}_{axis}") for name in ("start", "jump"))
    return int(start + jump * (int(length or 0) // 2))
