"""A network read: the rows of the walk, what they mean, and where its units look."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.export import ExportedProgram

from rfsearch.analysis.capture import capture
from rfsearch.analysis.effective import SHARES, masses
from rfsearch.analysis.feasible import Smallest, smallest_images
from rfsearch.analysis.findings import Finding, findings
from rfsearch.analysis.gain import Gains
from rfsearch.analysis.layers import MARKS, Analysis, Layer
from rfsearch.analysis.squares import Mass, square
from rfsearch.analysis.stages import Stage, stages
from rfsearch.analysis.units import Box, Unit, boxes, centres
from rfsearch.analysis.verify import Strip, compare, strips
from rfsearch.analysis.walk import walk

FORMAT = 1
SEES = ("conv", "conv_transpose", "pool", "linear", "attention", "resample")
"""Kinds of layers that have an effective field of their own: those that read neighbours or mix
channels. A norm or activation has that of what it reads, but for its own derivative."""


@dataclass(frozen=True)
class Effective:
    """Effective fields, a row each; None for layers that were not measured.

    Attributes:
        images: what the images were, such as "noise" or a data set.
        num_images: how many.
        masses: mean non-negative gradient (H, W) of each layer's centre unit.
        sizes: for every share of the mass (height, width) of the smallest centred square.
    """

    images: str
    num_images: int
    masses: tuple[Mass | None, ...]
    sizes: tuple[Mapping[float, tuple[int, int]] | None, ...]

    def to_json(self) -> dict[str, Any]:
        """How it was measured."""
        return {
            "protocol": "RepLKNet: gradient of the centre unit, its non-negative part, mean over "
            "images; smallest centred square",
            "log": False,
            "images": self.images,
            "num_images": self.num_images,
            "shares": list(SHARES),
        }


@dataclass(frozen=True)
class Reading:
    """All there is to tell about a network at one image size.

    Attributes:
        model: what it is called.
        analysis: the rows.
        weights: where its weights came from, such as "random, seed 0".
        smallest: shortest image sides without an unproductive layer.
        boxes: for each row what its centre unit sees, by kind of field; empty without a centre.
        effective: None where it was not asked for.
        disagreements: between the walk and the probe; None where they were not compared.
        looked_at: share of all borders of fields that this comparison looked at.
        strips: the same on long images, where fields beyond the border are whole.
        gains: the 3DRF-style metric; None where it was not asked for.
    """

    model: str
    analysis: Analysis
    weights: str
    smallest: tuple[Smallest, Smallest] | None
    boxes: tuple[Mapping[str, Box], ...]
    effective: Effective | None = None
    disagreements: tuple[str, ...] | None = None
    looked_at: float | None = None
    strips: tuple[Strip, ...] = ()
    gains: Gains | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """One row per call of a layer, in the order of the graph."""
        return self.analysis.layers

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the rows mean."""
        return findings(self.analysis, self.smallest)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The network by resolution."""
        return stages(self.analysis)

    def rows(self) -> list[dict[str, Any]]:
        """Rows as plain data: the columns of layers.csv; all effective sizes where known; and
        whether fields are "at least" or "at most" these, where that is so of any."""
        found: list[dict[str, Any]] = self.analysis.rows()
        for row, sizes in zip(found, self.effective.sizes if self.effective else (), strict=False):
            for share, (height, width) in (sizes or {}).items():
                row[f"effective_{share * 100:.0f}_h"] = height
                row[f"effective_{share * 100:.0f}_w"] = width
        for row, gain in zip(found, self.gains.rows if self.gains else (), strict=False):
            row |= gain.columns()
        for mark in MARKS:
            if any(getattr(layer, mark) for layer in self.layers):
                for row, layer in zip(found, self.layers, strict=True):
                    row[mark] = getattr(layer, mark)
        return found

    def to_json(self) -> dict[str, Any]:
        """The schema of ``rfsearch analyze --format json``."""
        record: dict[str, Any] = {
            "format": FORMAT,
            "model": self.model,
            "image_size": list(self.analysis.image_size),
            "weights": self.weights,
            "totals": asdict(self.analysis.totals),
            "layers": self.rows(),
            "stages": [asdict(stage) for stage in self.stages],
            "findings": [
                {"name": one.name, "sentence": one.sentence, "layers": list(one.layers)}
                for one in self.findings
            ],
        }
        if self.effective:
            record["effective"] = self.effective.to_json()
        if self.gains:
            record |= self.gains.to_json()
        if self.disagreements is not None:
            record["verify"] = {
                "agree": not self.disagreements,
                "looked_at": self.looked_at,
                "disagreements": list(self.disagreements),
                "strips": [
                    {"image_size": list(strip.image_size), "looked_at": strip.comparison.looked_at}
                    for strip in self.strips
                ],
            }
        return record

    def dumps(self) -> str:
        """`to_json` as text."""
        return json.dumps(self.to_json(), indent=1, allow_nan=False)


def read(
    module: nn.Module,
    image_size: tuple[int, int],
    channels: int = 3,
    model: str = "",
    weights: str = "as given",
    ignore_unknown: bool = False,
) -> tuple[Reading, ExportedProgram]:
    """Fields, cost and findings of every layer; and the captured graph for `with_effective`."""
    program = capture(module, image_size, channels)
    analysis = walk(module, image_size, channels, program, ignore_unknown)
    known = centres(program, analysis.nodes, ignore_unknown)
    found = tuple(boxes(known, node) for node in analysis.nodes)
    smallest = smallest_images(module, program, analysis, ignore_unknown)
    name = model or type(module).__name__
    return Reading(name, analysis, weights, smallest, found), program


def with_effective(
    reading: Reading, program: ExportedProgram, images: Tensor, source: str
) -> Reading:
    """The reading with the effective field of every layer that sees something by itself.

    ``images`` (N, C, H, W) are normalised as the network expects them; ``source`` says what they
    are.
    """
    units = _units(reading, program)
    found = masses(program, images.to(_like(program)), units)
    by_row = tuple(found.get(node) for node in reading.analysis.nodes)
    sizes = tuple(
        None if mass is None else {share: square(mass, share) for share in SHARES}
        for mass in by_row
    )
    layers = tuple(map(_with_sizes, reading.layers, sizes))
    effective = Effective(source, len(images), by_row, sizes)
    return replace(reading, analysis=replace(reading.analysis, layers=layers), effective=effective)


def with_verdict(reading: Reading, module: nn.Module, channels: int) -> Reading:
    """The reading with what the probe says of it: at its image size, and on strips."""
    analysis = reading.analysis
    found = compare(module, analysis.image_size, channels)
    long = tuple(strips(module, analysis, channels))
    beyond = [f"on {'×'.join(map(str, strip.image_size))} pixels, {told}"
              for strip in long for told in strip.comparison.disagreements]  # fmt: skip
    return replace(reading, disagreements=(*found.disagreements, *beyond),
                   looked_at=found.looked_at, strips=long)  # fmt: skip


def _units(reading: Reading, program: ExportedProgram) -> dict[str, Unit]:
    nodes = reading.analysis.nodes
    wanted = tuple(n for n, row in zip(nodes, reading.layers, strict=True) if row.kind in SEES)
    found = centres(program, wanted, ignore_unknown=True)  # what is unknown was told before
    return {name: unit for name, (unit, _) in found.items()}


def _like(program: ExportedProgram) -> Tensor:
    """A tensor of the kind and place of the network's image."""
    known = next((p for p in program.parameters() if p.is_floating_point()), None)
    return program.example_inputs[0][0] if known is None else known


def _with_sizes(row: Layer, sizes: Mapping[float, tuple[int, int]] | None) -> Layer:
    if sizes is None:
        return row
    (h50, w50), (h90, w90) = sizes[0.5], sizes[0.9]
    return replace(row, effective_50_h=h50, effective_50_w=w50, effective_90_h=h90,
                   effective_90_w=w90)  # fmt: skip
