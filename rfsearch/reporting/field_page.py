"""The page about layers: what each one of one or two networks sees, to sort, filter and look at.

One file that works offline; the same parts stand in the report of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from rfsearch.analysis.reading import Reading
from rfsearch.analysis.scores import RULE
from rfsearch.errors import UserError
from rfsearch.reporting import (
    field_data,
    field_figures,
    field_view,
    figures,
    layer_table,
    pictures,
    tables,
)
from rfsearch.reporting.charts import Chart
from rfsearch.reporting.quantities import MISSING, size
from rfsearch.reporting.template import base, inline_json, put, template

COLOURS = ("found", "plain")
PAGE_BYTES = 5_900_000
"""Characters that a page may have; pictures of gradients are made to fit."""
MASS_BYTES = 600_000
"""Characters that they have at most."""


@dataclass(frozen=True)
class Picture:
    """An image to draw fields on: uint8 (H, W, C)."""

    name: str
    pixels: NDArray[np.uint8]


def write_page(readings: Sequence[Reading], images: Sequence[Picture], path: Path) -> Path:
    """Render and put the page in place as a whole or not at all."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it")
    return put(render(readings, images), path)


def render(readings: Sequence[Reading], images: Sequence[Picture]) -> str:
    """The page as text."""
    bare = _rendered(readings, images, 0)
    room = min(MASS_BYTES, PAGE_BYTES - len(bare.encode()))
    if room <= 0 or not any(reading.effective for reading in readings):
        return bare
    return _rendered(readings, images, room)


def _rendered(readings: Sequence[Reading], images: Sequence[Picture], mass_bytes: int) -> str:
    names = " and ".join(reading.model for reading in readings)
    return template("field_page.html").render(
        title=names,
        headline=_headline(readings),
        totals=_totals(readings),
        **parts(readings, images, mass_bytes),
        **base("page.css", "fields.css", "page.js", "fields.js"),
    )


def parts(
    readings: Sequence[Reading], images: Sequence[Picture], mass_bytes: int = 0
) -> dict[str, Any]:
    """What the template ``fields.html`` is given; pictures of gradients in so many characters."""
    views = field_view.views(readings)
    share = mass_bytes // max(1, len(readings))
    exchange = {
        "pictures": [{"name": one.name, "url": pictures.photograph(one.pixels)} for one in images],
        "networks": [
            field_view.exchange(reading, view, share)
            for reading, view in zip(readings, views, strict=True)
        ],
    }
    return {
        "networks": list(zip(readings, views, strict=True)),
        "growth_charts": _growth_charts(readings),
        "against_charts": _against_charts(readings),
        "gain_charts": _gain_charts(readings),
        "measured": _measured(readings[0]),
        "picture_names": [one.name for one in images],
        "exchange": Markup(inline_json(exchange)),
    }


def _headline(readings: Sequence[Reading]) -> str:
    if len(readings) > 1:
        return " beside ".join(reading.model for reading in readings)
    reading = readings[0]
    first = reading.findings[0].sentence if reading.findings else "What every layer sees"
    return f"{reading.model}: {first[0].lower()}{first[1:].rstrip('.')}"


def _totals(readings: Sequence[Reading]) -> tables.Table:
    """The networks in numbers, a column each."""
    sides = [layer_table.quantities_of(reading) for reading in readings]
    rows = [[cells[0][0], *(value for _, value in cells)] for cells in zip(*sides, strict=True)]
    scores = [_scores(reading) for reading in readings]
    rows += [[cells[0][0], *(value for _, value in cells)] for cells in zip(*scores, strict=True)]
    rows.append(["weights", *(reading.weights for reading in readings)])
    return tables.table("In numbers; fields are input pixels.", "",
                        ["quantity", *(reading.model for reading in readings)],
                        "l" + "r" * len(readings), rows)  # fmt: skip


def _scores(reading: Reading) -> list[tuple[str, str]]:
    """What the metric comes to, where it was asked for."""
    if reading.gains is None:
        return []
    score, productive = reading.gains.score, reading.gains.productive
    return [
        ("score (3DRF-style)", f"{score.total:.1f}"),
        ("productive score", f"{productive.total:.1f}"),
        ("productive score, heaviest path", f"{productive.path:.1f}"),
    ]


def _gain_charts(readings: Sequence[Reading]) -> list[Chart]:
    found = []
    for index, reading in enumerate(readings):
        data = field_data.earned(reading)
        if data is not None:
            figure = field_figures.earned(data, COLOURS[index])
            idle = data.productive.count(False)
            rows = [[name, f"{a:.2f}", f"{b:.2f}", "yes" if live else "no"] for name, a, b, live in
                    zip(data.layers, data.spatial, data.channels, data.productive,
                        strict=True)]  # fmt: skip
            numbers = tables.table("Natural logarithms; only productive layers count for the "
                                   "productive score.", "",
                                   ["layer", "pixels", "channels", "productive"], "lrrl",
                                   rows)  # fmt: skip
            found.append(
                Chart(
                    f"gain-{index}", f"{data.name}: what each layer adds",
                    f"Of {len(data.layers)} layers that count in {data.name}, {idle} see the "
                    "whole image already.", figures.as_json(figure), int(figure.layout.height),
                    numbers, note=f"{RULE}. A reconstruction.",
                )
            )  # fmt: skip
    return found


def _measured(reading: Reading) -> str:
    """How the effective fields came about, in a sentence."""
    effective = reading.effective
    if effective is None:
        return "Effective fields were not measured; --effective does."
    return (
        f"Effective fields: gradient of the centre unit, its non-negative part, mean over "
        f"{effective.num_images} images ({effective.images}); sides of the smallest centred "
        "square with that share of it. No logarithm is taken first; the pink of the picture is "
        "logarithmic."
    )


def _growth_charts(readings: Sequence[Reading]) -> list[Chart]:
    data = field_data.growths(readings)
    top = max((one.top for one in data), default=1)
    models = [reading.model for reading in readings]
    return [_growth_chart(i, one, COLOURS[models.index(one.name)], top)
            for i, one in enumerate(data)]  # fmt: skip


def _growth_chart(index: int, data: field_data.Growth, colour: str, top: int) -> Chart:
    figure = field_figures.growth(data, colour, top)
    last = data.high[-1]
    alternative = (
        f"Field by layer of {data.name}, {data.axis}: from {data.high[0]} to {last} pixels, the "
        f"smallest {data.low[-1]} at the end; the image has {data.image}."
    )
    columns = [name for name in ("low", "high", "effective_50", "effective_90")
               if data.has_effective or not name.startswith("effective")]  # fmt: skip
    rows = [[name, *(_number(getattr(data, column)[i]) for column in columns)]
            for i, name in enumerate(data.layers)]  # fmt: skip
    words = {"low": "smallest", "high": "field", "effective_50": "effective 50 %",
             "effective_90": "effective 90 %"}  # fmt: skip
    numbers = tables.table("Input pixels by layer.", "", ["layer", *(words[c] for c in columns)],
                           "l" + "r" * len(columns), rows)  # fmt: skip
    return Chart(
        f"growth-{index}", f"{data.name}: field over depth", alternative, figures.as_json(figure),
        int(figure.layout.height), numbers,
        note=f"{data.axis.capitalize()}; gates left out. The band reaches from the shortest to "
        "the longest path through the network.",
    )  # fmt: skip


def _number(value: int | None) -> str:
    return MISSING if value is None else size(value, value)


def _against_charts(readings: Sequence[Reading]) -> list[Chart]:
    found = []
    for index, reading in enumerate(readings):
        data = field_data.against(reading)
        if data is not None:
            figure = field_figures.against(data, COLOURS[index])
            found.append(
                Chart(
                    f"against-{index}", f"{data.name}: effective against theoretical",
                    f"Effective size over field of {len(data.layers)} layers of {data.name}; at "
                    f"the last one {data.effective_90[-1]} pixels (90 %) of {data.fields[-1]}.",
                    figures.as_json(figure), int(figure.layout.height),
                    note="A point per layer. Below the line a layer looks at less than it could.",
                )
            )  # fmt: skip
    return found
