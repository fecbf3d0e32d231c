"""Read a network: walk it, and measure and compare where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn
from torch.export import ExportedProgram

from rfsearch.analysis.capture import capture
from rfsearch.analysis.effective import masses
from rfsearch.analysis.feasible import smallest_images
from rfsearch.analysis.layers import Layer
from rfsearch.analysis.reading import Effective, Reading
from rfsearch.analysis.squares import SHARES, square
from rfsearch.analysis.units import Unit, boxes, centres
from rfsearch.analysis.verify import compare, strips
from rfsearch.analysis.walk import walk

SEES = ("conv", "conv_transpose", "pool", "linear", "attention", "resample")
"""Kinds of layers that have an effective field of their own: those that read neighbours or mix
channels. A norm or activation has that of what it reads, but for its own derivative."""


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
