"""What every tensor of a graph sees of one tensor inside it: pixels and channels.

Requirements and choice. Channel by channel reach is a boolean matrix, and every operator that
moves, groups, joins or mixes channels has to say what it does to it. All of them do so already,
for pixels. So the rules of the walk are used once more, on a batch: image b of the batch has
something in channel b of the reference and nothing in the others, and where something comes out,
channel b reaches. No operator needs a rule of its own.

3DRF-style (arXiv 2009.05236): a reconstruction, see ``analysis.gain``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.export import ExportedProgram

from rfsearch.analysis.call import Result
from rfsearch.analysis.capture import constants
from rfsearch.analysis.dependence import Value
from rfsearch.analysis.families import SHAPES
from rfsearch.analysis.follow import Step, follow
from rfsearch.analysis.reach import KINDS, Axis, Reach
from rfsearch.field import EMPTY_HI, EMPTY_LO, Indices, Intervals, pixels

MOST = 128
"""Channels of the reference that are followed at a time, at most."""
NUMBERS = 2**19
"""Of a tensor, times the channels followed, in places alike over the map: what memory allows."""
PRODUCTS = (torch.ops.aten.mul.Tensor, torch.ops.aten.mul.Scalar, torch.ops.aten.mul_.Tensor)


@dataclass(frozen=True)
class Reference:
    """A map inside a network.

    Attributes:
        node: of the exported graph.
        shape: of the map, with a batch of one.
        dims: its dimensions of channels, height and width.
    """

    node: str
    shape: tuple[int, ...]
    dims: tuple[int, int, int]

    @property
    def channels(self) -> int:
        """C."""
        return self.shape[self.dims[0]]

    @property
    def extent(self) -> tuple[int, int]:
        """(height, width)."""
        return self.shape[self.dims[1]], self.shape[self.dims[2]]

    @classmethod
    def of(cls, node: str, value: Value) -> Reference | None:
        """A tensor as a reference; None of what is no map (N, C, H, W) in some order."""
        moving = [[d for d, jump in enumerate(axis.jumps) if jump != 0] for axis in value.axes]
        if len(value.shape) != 4 or [len(dims) for dims in moving] != [1, 1]:
            return None
        (height,), (width,) = moving
        rest = [d for d in (1, 2, 3) if d not in (height, width)]
        if len(rest) != 1 or 0 in (height, width):
            return None
        return cls(node, value.shape, (rest[0], height, width))


def follow_from(
    program: ExportedProgram, reference: Reference, wanted: frozenset[str], unknown: bool = False
) -> Iterator[Step]:
    """The operators ``wanted`` and those before them, in pixels of the reference."""
    seed = _in_pixels(reference)
    return _From(program, reference.node, seed, wanted).steps(unknown)


def channels_from(
    program: ExportedProgram,
    reference: Reference,
    wanted: frozenset[str],
    batch: int,
    unknown: bool = False,
) -> dict[str, tuple[Reached, tuple[Reached, ...]]]:
    """For each operator: how many channels of the reference its output and its inputs see.

    ``program`` has the shapes of ``batch`` images, as in `batched`.
    """
    found: dict[str, list[list[Reached]]] = {}
    for first in range(0, reference.channels, batch):
        num = min(batch, reference.channels - first)
        seed = _in_channels(reference, first, num, batch)
        for step in _From(program, reference.node, seed, wanted).steps(unknown):
            values = [step.output, *step.call.data]
            found.setdefault(step.node.name, []).append([_reached(v, num, batch) for v in values])
    return {name: _added(parts) for name, parts in found.items()}


@dataclass(frozen=True)
class Reached:
    """Channels of the reference that an element sees: the most over all elements, with gates
    (the scalar per channel of squeeze-and-excitation) and without.

    Attributes:
        counts: per element, in any shape that broadcasts; None where the batch was lost, as in
            attention that puts tokens first.
    """

    counts: tuple[Indices | None, Indices | None]

    @property
    def strict(self) -> int | None:
        """With gates: what a change of a channel can be seen in."""
        return None if self.counts[0] is None else int(self.counts[0].max())

    @property
    def no_gates(self) -> int | None:
        """Without: what the metric counts."""
        return None if self.counts[1] is None else int(self.counts[1].max())


def _added(parts: list[list[Reached]]) -> tuple[Reached, tuple[Reached, ...]]:
    """The runs over consecutive channels as one."""
    columns = [_sum(column) for column in zip(*parts, strict=True)]
    return columns[0], tuple(columns[1:])


def _sum(parts: Sequence[Reached]) -> Reached:
    def total(kind: int) -> Indices | None:
        arrays = [part.counts[kind] for part in parts]
        known = [array for array in arrays if array is not None]
        return sum(known[1:], known[0]) if len(known) == len(arrays) else None

    return Reached((total(0), total(1)))


def _reached(value: Value, num: int, batch: int) -> Reached:
    """How many of the first ``num`` images of a batch an element has something from."""
    if not value.is_data:
        zero = np.zeros((1,), dtype=np.int64)
        return Reached((zero, zero))
    reaches = value.axes[0].reaches
    kinds = ("seen", "seen_no_gates")
    strict, no_gates = (_count(value, reaches[kind], num, batch) for kind in kinds)
    return Reached((strict, no_gates))


def _count(value: Value, reach: Reach, num: int, batch: int) -> Indices | None:
    something = np.broadcast_arrays(reach.lo, reach.hi)
    hit = something[1] >= something[0]
    length = value.shape[0]
    if length % batch:
        return None
    if hit.shape[0] == 1:  # nothing varies over the batch: all of it or none
        return hit * np.int64(num)
    by_image = hit.reshape(batch, length // batch, *hit.shape[1:])
    counts: Indices = by_image.sum(0)
    return counts


def _in_pixels(reference: Reference) -> Value:
    """The reference as if it were the image."""
    axes = []
    for dim in reference.dims[1:]:
        form = [1] * 4
        form[dim] = reference.shape[dim]
        u = pixels(reference.shape[dim]).lo.reshape(form)
        jumps = tuple(Fraction(int(d == dim)) for d in range(4))
        axes.append(Axis({n: Reach(k, Intervals(u, u)) for n, k in KINDS.items()}, jumps))
    return Value(reference.shape, tuple(axes))


def _in_channels(reference: Reference, first: int, num: int, batch: int) -> Value:
    """Image b of a batch has something in channel first + b, for all b below ``num``."""
    form = [batch, 1, 1, 1]
    form[reference.dims[0]] = reference.channels
    lo = np.full((batch, reference.channels), EMPTY_LO)
    hi = np.full((batch, reference.channels), EMPTY_HI)
    at = np.arange(num)
    lo[at, first + at] = hi[at, first + at] = 0
    both = Intervals(lo.reshape(form), hi.reshape(form))
    axis = Axis({n: Reach(k, both) for n, k in KINDS.items()}, (Fraction(0),) * 4)
    return Value((batch, *reference.shape[1:]), (axis, axis))


def at_a_time(program: ExportedProgram) -> int:
    """Channels of a reference to follow together: `MOST`, fewer where tensors have very many
    channels, as what overlapping windows gather."""
    shapes = [getattr(node.meta.get("val"), "shape", ()) for node in program.graph.nodes]
    widest = max((max(shape[1:], default=1) for shape in shapes), default=1)
    return max(1, min(MOST, NUMBERS // int(widest)))


@contextmanager
def batched(program: ExportedProgram, batch: int) -> Iterator[bool]:
    """The program with the shapes it has for ``batch`` images, for a while; False, and as it was,
    where it has numbers in it that hold for one image alone."""
    old = {node: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    try:
        shapes = _shapes(program, batch)
    except RuntimeError:
        yield False
        return
    for node, value in shapes.items():
        node.meta["val"] = value
    try:
        yield True
    finally:
        for node, value in old.items():
            node.meta["val"] = value


@torch.no_grad()
def _shapes(program: ExportedProgram, batch: int) -> dict[fx.Node, Any]:
    """Every node's value for ``batch`` images, as a tensor without data."""
    stored = {name: tensor.to("meta") for name, tensor in constants(program).items()}
    images = set(program.graph_signature.user_inputs)
    values: dict[fx.Node, Any] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            one = node.meta["val"]
            many = torch.empty((batch, *one.shape[1:]), dtype=one.dtype, device="meta")
            values[node] = many if node.name in images else stored[node.name]
        elif node.op == "call_function":
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            if kwargs.get("device") is not None:
                kwargs = {**kwargs, "device": "meta"}
            values[node] = node.target(*args, **kwargs)
    return values


@dataclass(frozen=True)
class _From:
    """A walk that begins with another tensor than the image: what comes before it and what leads
    to nothing wanted sees nothing.

    Attributes:
        reference: the node to begin with; seed: what it sees.
        wanted: nodes that are asked for.
    """

    program: ExportedProgram
    reference: str
    seed: Value
    wanted: frozenset[str]

    @cached_property
    def with_image(self) -> frozenset[str]:
        """Nodes that are computed from the image."""
        return closure(self._nodes, self._images)

    @cached_property
    def reaches(self) -> frozenset[str]:
        """Nodes between the reference and what is wanted."""
        return closure(self._nodes, {self.reference}) & before(self._nodes, self.wanted)

    @cached_property
    def moves(self) -> bool:
        """Whether the seed runs over an axis, as pixels do and channels of a batch do not."""
        return any(jump != 0 for axis in self.seed.axes for jump in axis.jumps)

    @cached_property
    def _nodes(self) -> list[fx.Node]:
        return list(self.program.graph.nodes)

    @cached_property
    def _images(self) -> frozenset[str]:
        return frozenset(self.program.graph_signature.user_inputs)

    def steps(self, unknown: bool) -> Iterator[Step]:
        """The operators between the reference and what is wanted."""
        for step in follow(self.program, unknown, self.given, self.adjust):
            if step.node.name in self.reaches:
                yield step

    def given(self, node: fx.Node) -> Result | None:
        """The seed, or nothing; None of what follows from the seed and of constants."""
        if node.name == self.reference:
            return self.seed
        if node.name in self.with_image - self.reaches or is_nought(node):
            found = node.meta.get("val")
            if isinstance(found, list | tuple):
                return tuple(map(_nothing, found))
            return _nothing(found)
        return None

    def adjust(self, step: Step) -> Step:
        """Without gates, where the walk cannot tell them."""
        return step if self.moves else _ungated(step)


def _nothing(tensor: Any) -> Value:
    """A tensor that sees nothing."""
    shape = tuple(getattr(tensor, "shape", ()))
    ones, zeros = (1,) * len(shape), (Fraction(0),) * len(shape)
    none = Intervals(np.full(ones, EMPTY_LO), np.full(ones, EMPTY_HI))
    axis = Axis({n: Reach(k, none) for n, k in KINDS.items()}, zeros)
    return Value(shape, (axis, axis))


def _ungated(step: Step) -> Step:
    """A map times one number per channel, with the gate left out of the kinds without gates.

    The walk tells gates by how maps move over the image, and channels do not.
    """
    data = step.call.data
    if step.rule.kind != "join" or len(data) != 2 or not isinstance(step.result, Value):
        return step
    big, small = sorted(data, key=lambda value: -prod(value.shape))
    if len(small.shape) != 4 or small.shape[2:] != (1, 1) or big.shape[2:] == (1, 1):
        return step
    axes = tuple(
        Axis(
            {n: r if r.kind.gates else own.reaches[n] for n, r in axis.reaches.items()}, axis.jumps
        )
        for axis, own in zip(step.result.axes, big.axes, strict=True)
    )
    return replace(step, result=replace(step.result, axes=axes))


def closure(nodes: Sequence[fx.Node], names: set[str] | frozenset[str]) -> frozenset[str]:
    """These nodes and all that is computed from them, but for what is multiplied by nought."""
    found = set(names)
    for node in nodes:
        if not cuts(node) and any(one.name in found for one in node.all_input_nodes):
            found.add(node.name)
    return frozenset(found)


def before(nodes: Sequence[fx.Node], names: set[str] | frozenset[str]) -> frozenset[str]:
    """These nodes and all that they are computed from, but for what is multiplied by nought."""
    found = set(names)
    for node in reversed(nodes):
        if node.name in found and not cuts(node):
            found |= {one.name for one in node.all_input_nodes}
    return frozenset(found)


def live_nodes(program: ExportedProgram) -> frozenset[str]:
    """Nodes on some path from the image to an output of the network."""
    nodes = list(program.graph.nodes)
    images = set(program.graph_signature.user_inputs)
    ends = {node.name for node in nodes if node.op == "output"}
    return closure(nodes, images) & before(nodes, ends)


def dominator(program: ExportedProgram, names: frozenset[str]) -> list[str]:
    """Nodes through which every path from the image to these leads, nearest first; none of
    these themselves."""
    nodes = list(program.graph.nodes)
    data = closure(nodes, set(program.graph_signature.user_inputs))
    above: dict[str, list[str]] = {}
    for node in nodes:
        if node.name in data:
            ways = [above[one.name] for one in node.all_input_nodes if one.name in above]
            above[node.name] = [*_common(ways), node.name]
    shared = _common([above[name] for name in names if name in above])
    return [name for name in reversed(shared) if name not in names]


def _common(ways: Sequence[list[str]]) -> list[str]:
    """What all begin with."""
    if not ways:
        return []
    found = []
    for group in zip(*ways, strict=False):
        if len(set(group)) > 1:
            break
        found.append(group[0])
    return found


def cuts(node: fx.Node) -> bool:
    """Whether nothing of what it reads comes through, but for a shape."""
    return is_nought(node) or getattr(node.target, "overloadpacket", None) in SHAPES


def is_nought(node: fx.Node) -> bool:
    """A tensor times the number 0."""
    if node.target not in PRODUCTS or len(node.args) < 2:
        return False
    factor = node.args[1]
    return isinstance(factor, int | float) and factor == 0


def extent_of(value: Value, limit: tuple[int, int]) -> tuple[int, int] | None:
    """Field (height, width) of a value along all paths but gates, clipped; None: sees nothing."""
    sizes = [int(axis.reaches["no_gates"].intervals.sizes.max()) for axis in value.axes]
    if not sizes or min(sizes) < 1:
        return None
    return min(sizes[0], limit[0]), min(sizes[1], limit[1])


def area(extent: tuple[int, int] | None) -> int:
    """Pixels."""
    return prod(extent) if extent else 0
