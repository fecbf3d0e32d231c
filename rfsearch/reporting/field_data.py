"""The numbers behind the figures about layers, computed and ready to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rfsearch.analysis.layers import Layer
from rfsearch.analysis.reading import Reading
from rfsearch.analysis.stages import gate_rows
from rfsearch.reporting.layer_table import name_of, told_rows

AXES = {"h": "height", "w": "width"}


@dataclass(frozen=True)
class Growth:
    """Fields over depth along one axis; a value per layer, in pixels, None where unknown.

    ``low`` is the smallest field, ``high`` the largest with gates left out; ``gates`` marks the
    layers that depend on the whole image through a gate.
    """

    name: str
    axis: str
    image: int
    layers: tuple[str, ...]
    low: tuple[int | None, ...]
    high: tuple[int | None, ...]
    effective_50: tuple[int | None, ...]
    effective_90: tuple[int | None, ...]
    top: int

    @property
    def has_effective(self) -> bool:
        """Whether any layer was measured."""
        return any(value is not None for value in self.effective_90)


def growths(readings: Sequence[Reading]) -> list[Growth]:
    """One per network and axis; one for both axes where they agree, none for an axis of one
    pixel, which a signal's height is."""
    return [growth for reading in readings for growth in _growths(reading)]


def _growths(reading: Reading) -> list[Growth]:
    layers = drawn_rows(reading)
    if not layers:
        return []
    height, width = reading.analysis.image_size
    alike = height == width and all(_alike(row) for row in layers)
    axes = ["h"] if alike else [axis for axis, size in zip("hw", (height, width), strict=True)
                                if size > 1]  # fmt: skip
    return [_growth(reading, layers, axis, "height and width" if alike else AXES[axis])
            for axis in axes]  # fmt: skip


def drawn_rows(reading: Reading) -> list[Layer]:
    """Rows of the chart: those of the terminal's table, without the insides of gates."""
    gates = gate_rows(reading.layers)
    rows = [row for i, row in enumerate(reading.layers) if i not in gates]
    return [row for row in told_rows(rows) if row.field_no_gates_h is not None]


def _alike(row: Layer) -> bool:
    """Effective sizes are those of a square, and differ by what the border cuts off alone."""
    return (row.field_no_gates_h, row.field_min_h) == (row.field_no_gates_w, row.field_min_w)


def _growth(reading: Reading, layers: Sequence[Layer], axis: str, told: str) -> Growth:
    def column(name: str) -> tuple[int | None, ...]:
        return tuple(getattr(row, f"{name}_{axis}") for row in layers)

    image = reading.analysis.image_size["hw".index(axis)]
    high = column("field_no_gates")
    return Growth(
        reading.model, told, image, tuple(map(name_of, layers)), column("field_min"), high,
        column("effective_50"), column("effective_90"),
        max([image, *(value for value in high if value)]),
    )  # fmt: skip


@dataclass(frozen=True)
class Earned:
    """What the layers that count add to the score: Δ log of rows × columns inside the image, and
    log of the channels that one output reads. ``productive`` marks those whose input does not see
    the whole image yet."""

    name: str
    layers: tuple[str, ...]
    spatial: tuple[float, ...]
    channels: tuple[float, ...]
    productive: tuple[bool, ...]


def earned(reading: Reading) -> Earned | None:
    """None where the metric was not asked for, or no layer counts."""
    if reading.gains is None:
        return None
    rows = [(layer, gain) for layer, gain in zip(reading.layers, reading.gains.rows, strict=True)
            if gain.counts and gain.spatial + gain.channels > 0]  # fmt: skip
    if not rows:
        return None
    return Earned(
        reading.model, tuple(name_of(layer) for layer, _ in rows),
        tuple(gain.spatial for _, gain in rows), tuple(gain.channels for _, gain in rows),
        tuple(gain.productive for _, gain in rows),
    )  # fmt: skip


@dataclass(frozen=True)
class Against:
    """Effective sizes over the field, a point per measured layer; pixels, heights."""

    name: str
    image: int
    layers: tuple[str, ...]
    fields: tuple[int, ...]
    effective_50: tuple[int, ...]
    effective_90: tuple[int, ...]


def against(reading: Reading) -> Against | None:
    """None where no effective field was measured."""
    rows = [row for row in drawn_rows(reading) if row.effective_90_h is not None]
    if not rows:
        return None

    def column(name: str) -> tuple[int, ...]:
        return tuple(int(getattr(row, name)) for row in rows)

    return Against(reading.model, reading.analysis.image_size[0], tuple(map(name_of, rows)),
                   column("field_no_gates_h"), column("effective_50_h"),
                   column("effective_90_h"))  # fmt: skip
