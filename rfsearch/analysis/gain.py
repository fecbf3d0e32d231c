"""3DRF-style metric: what every layer adds to what its stage sees, in pixels and channels.

Source: the idea, a metric from the definition alone, is 3DRF's (arXiv 2009.05236); its formulas
are not public in what could be read. **All formulas here are a reconstruction (ours).**

Notation
    l           a layer: a convolution, pooling, linear map, ... in the exported graph
    X           the map that the layer's stage reads, (C, H, W)
    V           local field: inputs that one output number reads
    R_h, R_w    field against X along the longest path, gates left out, at most H and W
    C_r         channels of X that reach an output channel, gates left out; of all outputs the most

    cumulative field   R_h · R_w · C_r
    gain               log of the cumulative field after the layer, less before it
    score              Σ over live, trainable layers of maps: Δ log(R_h · R_w) + log(C_in/g), with
                       R against the image
    productive score   the same, a layer whose input sees the whole image already earning nothing

How parallel edges count. Every layer counts once and against its own input, also where it stands
beside others (``edges``): two convolutions whose outputs are added both earn. Beside it stands
the same sum along the heaviest path from image to output (``path``), in which of layers side by
side one earns: there a projection beside a block earns nothing.

What layers without parameters add to the field is told apart (``free``), and what averaging
costs: an average over k² inputs is worth log Σ w² = −log k², as a convolution with unit weights is
worth log(k²·C_in/g) (``averaging``).
"""

from __future__ import annotations

from math import log, prod

from torch import nn
from torch.export import ExportedProgram

from rfsearch.analysis.call import Window
from rfsearch.analysis.capture import capture
from rfsearch.analysis.channels import (
    Reached,
    area,
    at_a_time,
    batched,
    channels_from,
    extent_of,
    follow_from,
    live_nodes,
)  # fmt: skip
from rfsearch.analysis.dependence import Value
from rfsearch.analysis.follow import Step, follow
from rfsearch.analysis.layers import Analysis, Layer
from rfsearch.analysis.parts import Part, cut
from rfsearch.analysis.scores import Gain, Gains, Score

READS = ("conv", "conv_transpose", "pool", "linear")
"""Kinds that have a local field above 1."""


def gains(
    module: nn.Module,
    program: ExportedProgram,
    analysis: Analysis,
    channels: int = 3,
    begin: tuple[str, ...] = (),
    unknown: bool = False,
) -> Gains:
    """The metric of every layer of a walked network; ``begin`` names where stages begin."""
    parts = cut(program, analysis, begin, unknown)
    fields = _fields(program, _counts(module, program, analysis, channels, parts, unknown),
                     analysis, parts, unknown)  # fmt: skip
    steps = {step.node.name: step for step in follow(program, unknown)}
    live = live_nodes(program)
    stage_of = {row: number for number, part in enumerate(parts) for row in part.rows}
    rows = tuple(
        _gain(analysis, steps[node], layer, fields.get(node), node in live, stage_of[number])
        for number, (layer, node) in enumerate(zip(analysis.layers, analysis.nodes, strict=True))
    )
    by_node = dict(zip(analysis.nodes, rows, strict=True))
    return Gains(rows, parts, _score(program, by_node, False), _score(program, by_node, True))


Cumulative = tuple[int | None, int | None]
Counts = tuple[Reached, tuple[Reached, ...]]


def _counts(
    module: nn.Module, program: ExportedProgram, analysis: Analysis, channels: int,
    parts: tuple[Part, ...], unknown: bool,
) -> list[dict[str, Counts]]:  # fmt: skip
    """Channels of the reference behind every layer, by stage."""

    batch = at_a_time(program)

    def count(graph: ExportedProgram) -> list[dict[str, Counts]]:
        return [channels_from(graph, part.reference, _nodes(analysis, part), batch, unknown)
                for part in parts]  # fmt: skip

    with batched(program, batch) as can:
        if can:
            return count(program)
    return count(capture(module, analysis.image_size, channels, batch))


def _nodes(analysis: Analysis, part: Part) -> frozenset[str]:
    return frozenset(analysis.nodes[row] for row in part.rows)


def _fields(
    program: ExportedProgram, counts: list[dict[str, Counts]], analysis: Analysis,
    parts: tuple[Part, ...], unknown: bool,
) -> dict[str, Cumulative]:  # fmt: skip
    """Cumulative field after and before every layer."""
    found = {}
    for part, counted in zip(parts, counts, strict=True):
        nodes = _nodes(analysis, part)
        for step in follow_from(program, part.reference, nodes, unknown):
            name = step.node.name
            if name in nodes:
                found[name] = _cumulative(step, counted.get(name), part.reference.extent)
    return found


def _cumulative(step: Step, counts: Counts | None, limit: tuple[int, int]) -> Cumulative:
    if counts is None:
        return None, None
    output, inputs = counts
    after = _volume(step.output, output, limit)
    volumes = [_volume(v, c, limit) for v, c in zip(step.call.data, inputs, strict=True)]
    known = [volume for volume in volumes if volume]
    return after or None, max(known) if known else None


def _volume(value: Value, reached: Reached, limit: tuple[int, int]) -> int | None:
    if reached.no_gates is None:
        return None
    return area(extent_of(value, limit)) * reached.no_gates


def _gain(
    analysis: Analysis, step: Step, layer: Layer, fields: Cumulative | None, live: bool, stage: int
) -> Gain:
    after, before = fields or (None, None)
    gain = max(0.0, log(after) - log(before)) if after and before else None
    limit = analysis.image_size
    seen = [extent_of(value, limit) for value in step.call.data]
    known = [one for one in seen if one]
    output = extent_of(step.output, limit)
    spatial = log(area(output)) - log(max(map(area, known))) if known and output else 0.0
    spatial = max(0.0, spatial)  # below 0 is a gate, which saw more than what it gates
    return Gain(
        local_field=local_field(step), cumulative_field=after, gain=gain,
        gain_per_mac=_over(gain, layer.macs), gain_per_param=_over(gain, _num_params(step)),
        trainable=bool(step.call.params), live=live, stage=stage, spatial=spatial,
        channels=log(_mixed(step)), productive=not all(one == limit for one in known),
        averaging=_averaging(step), is_map=_is_map(step),
    )  # fmt: skip


def _over(gain: float | None, cost: int) -> float | None:
    return gain / cost if gain is not None and cost else None


def _num_params(step: Step) -> int:
    """Numbers in the parameters it reads, also where an earlier row counted them."""
    weights = [v for v in step.call.values if v.params]
    return sum(prod(value.shape) for value in weights)


def local_field(step: Step) -> int | None:
    """V: inputs that one output number reads, padding counted."""
    if step.rule.kind not in READS:
        return None
    return _mixed(step) * prod(_taps(window) for window in step.rule.windows(step.call))


def _taps(window: Window) -> int:
    return int(window.taps.used.sum(1).max())


def _mixed(step: Step) -> int:
    """C_in/g: channels that one output number reads."""
    weight = step.call.arguments.get("weight")
    if step.rule.kind == "conv" and isinstance(weight, Value):
        return weight.shape[1]
    if step.rule.kind == "conv_transpose" and isinstance(weight, Value):
        return weight.shape[0] // int(step.call["groups"])
    if step.rule.kind == "linear" and step.call.params:
        return step.call.input.shape[-1]
    return 1


def _averaging(step: Step) -> float:
    averages = "avg" in step.call.name or "mean" in step.call.name
    if step.rule.kind != "pool" or not averages:
        return 0.0
    return -log(prod(_taps(window) for window in step.rule.windows(step.call)) or 1)


def _is_map(step: Step) -> bool:
    """Whether places of the output stand for places of the image; not of pooling to one place."""
    output = step.output
    if step.rule.kind == "pool" and output.shape[-2:] == (1, 1):
        return False
    return all(any(jump != 0 for jump in axis.jumps) for axis in output.axes)


def _score(program: ExportedProgram, rows: dict[str, Gain], productive: bool) -> Score:
    counted = {node: row for node, row in rows.items()
               if row.live and row.is_map and (row.productive or not productive)}  # fmt: skip
    own = [row for row in counted.values() if row.trainable]
    free = [row for row in counted.values() if not row.trainable]
    return Score(
        sum(row.spatial for row in own), sum(row.channels for row in own),
        sum(row.spatial for row in free), sum(row.averaging for row in free),
        _heaviest(program, counted),
    )  # fmt: skip


def _heaviest(program: ExportedProgram, counted: dict[str, Gain]) -> float:
    """The most that any path from the image to the output earns."""
    live = live_nodes(program)
    best: dict[str, float] = {}
    for node in program.graph.nodes:
        if node.name in live:
            row = counted.get(node.name)
            own = row.spatial + row.channels * row.trainable if row else 0.0
            ways = [best[one.name] for one in node.all_input_nodes if one.name in best]
            best[node.name] = own + max(ways, default=0.0)
    return max(best.values(), default=0.0)
