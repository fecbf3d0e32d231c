"""A network cut into stages: all layers of one resolution, and the map that each stage reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch.export import ExportedProgram

from rfsearch.analysis.channels import Reference, dominator
from rfsearch.analysis.dependence import Value
from rfsearch.analysis.follow import trace_marked
from rfsearch.analysis.layers import Analysis, Layer
from rfsearch.errors import UserError


@dataclass(frozen=True)
class Part:
    """A stage.

    Attributes:
        name: of its first layer.
        reference: the map its first layer reads, against which its fields are told.
        rows: numbers of its layers in the order of the graph.
    """

    name: str
    reference: Reference
    rows: tuple[int, ...]


def cut(
    program: ExportedProgram,
    analysis: Analysis,
    begin: Sequence[str] = (),
    unknown: bool = False,
) -> tuple[Part, ...]:
    """The stages of a network.

    By resolution, unless ``begin`` names the layers at which they begin: a layer belongs to the
    pixels per step of its output, and what has none, as the inside of a gate or behind global
    pooling, to the stage of the layer before it; a decoder comes back to the stages of its
    encoder. What a stage reads is the last map through which all paths to its layers lead.
    """
    values = {node.name: value for node, value, _ in trace_marked(program, unknown)}
    labels = _named(analysis, begin) if begin else _by_resolution(analysis.layers)
    image = _image(program)
    parts = []
    for label in dict.fromkeys(labels):
        rows = tuple(i for i, one in enumerate(labels) if one == label)
        first = analysis.layers[rows[0]]
        reference = _read(program, frozenset(analysis.nodes[row] for row in rows), values) or image
        parts.append(Part(first.name or first.kind, reference, rows))
    return tuple(parts)


def _by_resolution(layers: Sequence[Layer]) -> list[object]:
    labels: list[object] = []
    for layer in layers:
        jump = (layer.jump_h, layer.jump_w)
        summed = layer.kind == "pool" and layer.height == layer.width == 1
        inherits = labels and (None in jump or summed)
        labels.append(labels[-1] if inherits else jump)
    return labels


def _named(analysis: Analysis, begin: Sequence[str]) -> list[object]:
    known = [layer.name for layer in analysis.layers]
    for name in begin:
        if name not in known:
            raise UserError(
                f"no layer {name!r} for a stage to begin with; `rfsearch analyze` lists them"
            )
    starts = {known.index(name) for name in begin}
    labels, current = [], 0
    for number in range(len(known)):
        current += number in starts
        labels.append(current)
    return list(labels)


def _image(program: ExportedProgram) -> Reference:
    name = next(iter(program.graph_signature.user_inputs))
    node = next(node for node in program.graph.nodes if node.name == name)
    return Reference(str(name), (1, *tuple(node.meta["val"].shape)[1:]), (1, 2, 3))


def _read(
    program: ExportedProgram, names: frozenset[str], values: dict[str, Value]
) -> Reference | None:
    """The last map before all of these nodes; None where that is the image."""
    for name in dominator(program, names):
        reference = Reference.of(name, values[name]) if name in values else None
        if reference:
            return reference
    return None
