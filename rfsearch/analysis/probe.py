"""The truth about fields: put NaN into a part of the image and see where it comes out.

Shares no code with the rules: it runs the network, in eval mode and in float64 where the network
allows it. A gradient would be weaker, since max-pooling passes it to one tap only.

Where a NaN misleads: it disappears in where, masked_fill, nan_to_num, argmax, topk and in every
comparison, and integers and booleans cannot hold it; it over-reports where a mask of −∞ was added
(−∞ + NaN, and 0 · NaN behind the softmax). There the operator alone is run several times on other
finite values in place of every NaN: what differs between the runs is what depends on them.
Weights that happen to be zero still count: 0 · NaN is NaN, which is right for a weight that
training may change.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from rfsearch.analysis.capture import capture, constants
from rfsearch.errors import UserError
from rfsearch.field import EMPTY_HI, EMPTY_LO, Intervals

aten = torch.ops.aten

DRAWS, MANY_DRAWS = 6, 24  # behind a mask; where values are compared or chosen

# Operators in which NaN disappears; those that return integers or booleans need no line.
COMPARING = {
    "where", "masked_fill", "masked_fill_", "nan_to_num", "fmax", "fmin", "sign", "sgn",
    "softshrink", "hardshrink",
}  # fmt: skip
# The same, where few values of an element make a difference: what is found is the least.
CHOOSING = {
    "topk", "sort", "argsort", "median", "gather", "index", "index_select", "take_along_dim",
    "grid_sampler", "deform_conv2d", "roi_align", "max_unpool2d",
    "embedding", "one_hot",
}  # fmt: skip
# Operators behind which a zero that a mask of −∞ left no longer stands for itself.
PRODUCTS = {"matmul", "bmm", "mm", "mul", "mul_", "einsum", "scaled_dot_product_attention"}


def exact_program(
    module: nn.Module, image_size: tuple[int, int], channels: int = 3
) -> ExportedProgram:
    """The graph to probe: in float64, or as the module is if it insists on its own types."""
    if any(tensor.is_meta for tensor in module.parameters()):
        raise UserError("a network on the meta device has no numbers, so it cannot be probed")
    try:
        program = capture(copy.deepcopy(module).double(), image_size, channels)
    except UserError:
        program = None
    return program if program and runs(program) else capture(module, image_size, channels)


def runs(program: ExportedProgram) -> bool:
    """Whether the graph runs: some that insist on a type fail only then."""
    try:
        for _ in spread(program, picture(program)):
            pass
    except RuntimeError:
        return False
    return True


def probe(
    module: nn.Module, image_size: tuple[int, int], channels: int = 3
) -> dict[str, tuple[Intervals, Intervals]]:
    """What every element of every tensor depends on: one run per row and per column.

    Returns:
        For each operator of the exported graph, by the name of its node: first and last row and
        first and last column of the image that turn an element into NaN, in arrays of the
        shape of its output. Operators that return several tensors are left to ``getitem``.
    """
    found, _ = lines(exact_program(module, image_size, channels))
    return found


def lines(
    program: ExportedProgram,
) -> tuple[dict[str, tuple[Intervals, Intervals]], frozenset[str]]:
    """The same for a captured program, and the names of tensors that may depend on more."""
    rows, columns = (_lines(program, dim) for dim in (2, 3))
    found = {name: (rows[0][name], columns[0][name]) for name in rows[0]}
    return found, rows[1] | columns[1]


def _lines(program: ExportedProgram, dim: int) -> tuple[dict[str, Intervals], frozenset[str]]:
    """One axis: a NaN line at every place in turn, from the first to the last."""
    first: dict[str, Tensor] = {}
    last: dict[str, Tensor] = {}
    least: set[str] = set()
    clean = picture(program)
    for place in range(clean.shape[dim]):
        dirty = clean.clone()
        dirty.select(dim, place).fill_(torch.nan)
        for found in spread(program, dirty):
            name, hit = found.name, found.hit
            if name not in first:
                first[name] = torch.full(hit.shape, EMPTY_LO)
                last[name] = torch.full(hit.shape, EMPTY_HI)
            first[name][hit & (first[name] == EMPTY_LO)] = place
            last[name][hit] = place
            if found.least:
                least.add(name)
    borders = {name: Intervals(_array(first[name]), _array(last[name])) for name in first}
    return borders, frozenset(least)


def _array(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray(tensor.numpy(), dtype=np.int64)


@dataclass(frozen=True)
class Found:
    """One tensor of one run: where it depends on the NaN.

    ``least``: it may depend on it elsewhere too, since values were compared or chosen.
    """

    name: str
    hit: Tensor
    least: bool


def half(program: ExportedProgram, dim: int, start: int, stop: int) -> Iterator[Found]:
    """Which elements depend on the lines ``start`` to ``stop`` − 1 along ``dim``, in one run.

    With half-planes and bisection, a border of a field takes as many runs as its place has bits.
    """
    dirty = picture(program)
    dirty.narrow(dim, start, stop - start).fill_(torch.nan)
    yield from spread(program, dirty)


def picture(program: ExportedProgram) -> Tensor:
    """An image of noise, always the same."""
    (name,) = program.graph_signature.user_inputs
    like = next(node.meta["val"] for node in program.graph.nodes if node.name == name)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(like.shape, dtype=torch.float64, generator=generator).to(like.dtype)


@torch.no_grad()
def spread(program: ExportedProgram, dirty: Tensor) -> Iterator[Found]:
    """Which elements depend on the NaN in ``dirty``, operator by operator.

    Read before a later operator can write into it. Tensors are dropped after their last use.
    """
    state = _State(program, dirty)
    for node in program.graph.nodes:
        if node.op == "call_function":
            if isinstance(state.run(node), Tensor):
                yield Found(node.name, state.hit(node), node in state.least)
            state.drop_after(node)


class _State:
    """The tensors of one run, and what stands for NaN where a tensor cannot hold it.

    Attributes:
        hits: where tensors depend on the NaN, as far as that was asked.
        dirty: whether they do anywhere.
        behind_mask: nodes with −∞ from a mask, or zeros that it left.
        least: nodes that may depend on more than was found.
        constant: nodes that do not depend on the image.
    """

    def __init__(self, program: ExportedProgram, dirty: Tensor) -> None:
        stored = constants(program)
        self.values: dict[fx.Node, Any] = {
            node: stored.get(node.name, dirty)
            for node in program.graph.nodes
            if node.op == "placeholder"
        }
        self.constant = {node for node in self.values if node.name in stored}
        self.hits: dict[fx.Node, Any] = {}
        self.dirty: dict[fx.Node, bool] = {}
        self.behind_mask: set[fx.Node] = set()
        self.least: set[fx.Node] = set()
        self.generator = torch.Generator().manual_seed(1)
        self.last_use: dict[fx.Node, fx.Node] = {}
        for node in program.graph.nodes:
            for before in node.all_input_nodes:
                self.last_use[before] = node

    def drop_after(self, node: fx.Node) -> None:
        """Forget what no later operator reads."""
        for before in node.all_input_nodes:
            if self.last_use[before] is node and before.op == "call_function":
                self.values.pop(before, None)
                self.hits.pop(before, None)
                self.dirty.pop(before, None)

    def hit(self, node: fx.Node) -> Tensor:
        """Where the tensor of this node depends on the NaN."""
        found = self.hits.get(node)
        if found is None:
            found = self.hits[node] = _nan(self.values[node])
        return found

    def run(self, node: fx.Node) -> Any:
        """The operator's result."""
        inputs = node.all_input_nodes
        if all(before in self.constant for before in inputs):
            self.constant.add(node)
        if any(before in self.least for before in inputs):
            self.least.add(node)
        masked = self._masked(node)
        if masked and _name(node) not in PRODUCTS:
            self.behind_mask.add(node)
        if node.target is operator.getitem:
            (parts,), index = inputs, node.args[1]
            found = self.values[parts][index]
            if parts in self.hits and self.hits[parts][index] is not None:
                self.hits[node] = self.hits[parts][index]
        elif node.meta.get("val") is None or not any(map(self._is_dirty, inputs)):
            found = self._call(node)
        elif masked or _name(node) in COMPARING | CHOOSING or any(map(self._is_coded, inputs)):
            found = self._by_draws(node, DRAWS if masked else MANY_DRAWS)
        else:
            found = self._by_nan(node)
        self.values[node] = found
        self._forget_written(node)
        return found

    def _forget_written(self, node: fx.Node) -> None:
        """What was known of tensors that this operator wrote into."""
        if _name(node).endswith("_"):
            for before in node.all_input_nodes:
                self.hits.pop(before, None)
                self.dirty.pop(before, None)

    def _call(self, node: fx.Node, given: dict[fx.Node, Tensor] | None = None) -> Any:
        """The operator itself, some tensors exchanged for others."""
        values = {**self.values, **given} if given else self.values
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _is_dirty(self, node: fx.Node) -> bool:
        """Whether anything in this tensor depends on the NaN."""
        if node in self.constant or not isinstance(self.values[node], Tensor):
            return False
        if node not in self.dirty:
            self.dirty[node] = bool(self.hit(node).any())
        return self.dirty[node]

    def _is_coded(self, node: fx.Node) -> bool:
        """Whether this tensor depends on the NaN and cannot hold it."""
        value = self.values[node]
        return self._is_dirty(node) and not _holds_nan(value)

    def _masked(self, node: fx.Node) -> bool:
        """Whether a mask shuts something out here, or did so up to the next product."""
        name = _name(node)
        if any(before in self.behind_mask for before in node.all_input_nodes):
            return True
        if name == "scaled_dot_product_attention":
            return len(node.args) > 3 or any(map(node.kwargs.get, ("attn_mask", "is_causal")))
        if name.startswith(("masked_fill", "where")):
            return any(value == -math.inf for value in node.args if isinstance(value, float))
        return any(
            before in self.constant and before.op != "placeholder" and _has_minus_infinity(value)
            for before in node.all_input_nodes
            if isinstance(value := self.values[before], Tensor)
        )

    def _by_nan(self, node: fx.Node) -> Any:
        """The operator on NaN; integers and booleans that it returns are told by draws."""
        outputs = node.meta["val"]
        parts = outputs if isinstance(outputs, list | tuple) else [outputs]
        whole = [isinstance(p, Tensor) and not (p.is_floating_point() or p.is_complex())
                 for p in parts]  # fmt: skip
        if not any(whole):
            return self._call(node)
        if isinstance(outputs, Tensor):
            return self._by_draws(node, MANY_DRAWS)
        drawn = self._by_draws(node, MANY_DRAWS)
        found = self._call(node)
        self.hits[node] = [hit if exact else None
                           for hit, exact in zip(self.hits[node], whole, strict=True)]  # fmt: skip
        return tuple(d if w else f for d, f, w in zip(drawn, found, whole, strict=True))

    def _by_draws(self, node: fx.Node, num_draws: int) -> Any:
        """The operator alone, on other finite values in place of every NaN."""
        given = {n: _Given(self.values[n], self.hits.get(n)) for n in node.all_input_nodes
                 if isinstance(self.values[n], Tensor)}  # fmt: skip
        results = []
        for i in range(num_draws):
            wide = _name(node) not in CHOOSING
            drawn = {n: g.draw(self.generator, i, wide) for n, g in given.items()}
            results.append(self._call(node, drawn))
        single = isinstance(results[0], Tensor)
        parts = [
            _coded(list(part)) for part in ([results] if single else zip(*results, strict=True))
        ]
        hits = [hit if not _holds_nan(value) else None for value, hit in parts]
        if _name(node).startswith(("where", "masked_fill")) and not (
            self.constant & {n for n in node.all_input_nodes if self.values[n].dtype == torch.bool}
        ):
            self.least.add(node)  # values chose between what else it may depend on
        if any(value.dtype != torch.bool and not _holds_nan(value) for value, _ in parts) or (
            _name(node) in CHOOSING
        ):
            self.least.add(node)
        if single:
            if hits[0] is not None:
                self.hits[node] = hits[0]
            return parts[0][0]
        self.hits[node] = hits
        return tuple(value for value, _ in parts)


def _name(node: fx.Node) -> str:
    """max_pool2d of aten.max_pool2d.default."""
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(getattr(packet, "__name__", packet))


def _has_minus_infinity(value: Tensor) -> bool:
    return value.is_floating_point() and bool(torch.isneginf(value).any())


def _holds_nan(value: Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()


class _Given:
    """A tensor whose NaN, or whose elements in ``hit``, may be anything."""

    def __init__(self, value: Tensor, hit: Tensor | None) -> None:
        self.value, self.hit = value, _nan(value) if hit is None else hit
        clean = value[~self.hit]
        self.pool = clean[torch.isfinite(clean)] if value.is_floating_point() else clean

    def draw(self, generator: torch.Generator, i: int, wide: bool) -> Tensor:
        """Finite values of the tensor's own type; integers in its own range, or in a wider one.

        The first draw leaves integers and booleans as they are: its result is passed on.
        """
        value = self.value
        if not self.hit.any() or (i == 0 and not _holds_nan(value)):
            return value.clone()
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            size = float(self.pool.abs().mean()) if self.pool.numel() else 1.0
            other = (noise * max(size, 1e-3) * 10.0 ** (i % 3)).to(value.dtype)
        elif value.dtype == torch.bool:
            other = torch.rand(value.shape, generator=generator) < 0.5
        else:
            low, high = int(value.min()), int(value.max()) + 7 * wide
            other = torch.randint(low, high + 1, value.shape, generator=generator).to(value.dtype)
        return torch.where(self.hit, other, value)


def _coded(results: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The first result with NaN where the others differ, and where that is."""
    first, hit = results[0], torch.zeros(results[0].shape, dtype=torch.bool)
    for other in results[1:]:
        hit |= (first != other) & ~(_nan(first) & _nan(other))
    if first.is_floating_point() or first.is_complex():
        first = torch.where(hit, torch.full_like(first, torch.nan), first)
    return first, hit


def _nan(value: Tensor) -> Tensor:
    if _holds_nan(value):
        return value.isnan()
    return torch.zeros(value.shape, dtype=torch.bool)
