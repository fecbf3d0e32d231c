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
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from rfsearch.analysis.capture import capture, constants
from rfsearch.errors import UserError
from rfsearch.field import EMPTY_HI, EMPTY_LO, Intervals

aten = torch.ops.aten

DRAWS = 6

# Operators in which NaN disappears; those that return integers or booleans need no line.
SWALLOWING = {
    "where", "masked_fill", "masked_fill_", "nan_to_num", "topk", "sort", "fmax", "fmin", "sign",
    "softshrink", "hardshrink", "grid_sampler", "deform_conv2d", "roi_align", "max_unpool2d",
    "median", "gather", "index", "take_along_dim",
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
        return capture(copy.deepcopy(module).double(), image_size, channels)
    except UserError:
        return capture(module, image_size, channels)


def probe(
    module: nn.Module, image_size: tuple[int, int], channels: int = 3
) -> dict[str, tuple[Intervals, Intervals]]:
    """What every element of every tensor depends on: one run per row and per column.

    Returns:
        For each operator of the exported graph, by the name of its node: first and last row and
        first and last column of the image that turn an element into NaN, in arrays of the
        shape of its output. Operators that return several tensors are left to ``getitem``.
    """
    return lines(exact_program(module, image_size, channels))


def lines(program: ExportedProgram) -> dict[str, tuple[Intervals, Intervals]]:
    """The same for a captured program."""
    rows, columns = (_lines(program, dim) for dim in (2, 3))
    return {name: (rows[name], columns[name]) for name in rows}


def _lines(program: ExportedProgram, dim: int) -> dict[str, Intervals]:
    """One axis: a NaN line at every place in turn, from the first to the last."""
    first: dict[str, Tensor] = {}
    last: dict[str, Tensor] = {}
    clean = picture(program)
    for place in range(clean.shape[dim]):
        dirty = clean.clone()
        dirty.select(dim, place).fill_(torch.nan)
        for name, hit in spread(program, dirty):
            if name not in first:
                first[name] = torch.full(hit.shape, EMPTY_LO)
                last[name] = torch.full(hit.shape, EMPTY_HI)
            first[name][hit & (first[name] == EMPTY_LO)] = place
            last[name][hit] = place
    return {name: Intervals(_array(first[name]), _array(last[name])) for name in first}


def _array(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray(tensor.numpy(), dtype=np.int64)


def half(
    program: ExportedProgram, dim: int, start: int, stop: int
) -> Iterator[tuple[str, Tensor]]:
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
def spread(program: ExportedProgram, dirty: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Which elements depend on the NaN in ``dirty``, operator by operator.

    Read before a later operator can write into it. Tensors are dropped after their last use.
    """
    state = _State(program, dirty)
    for node in program.graph.nodes:
        if node.op == "call_function":
            found = state.run(node)
            if isinstance(found, Tensor):
                yield node.name, state.hit(node)
        state.drop_after(node)


class _State:
    """The tensors of one run, and what stands for NaN where a tensor cannot hold it."""

    def __init__(self, program: ExportedProgram, dirty: Tensor) -> None:
        stored = constants(program)
        self.values: dict[fx.Node, Any] = {
            node: stored.get(node.name, dirty)
            for node in program.graph.nodes
            if node.op == "placeholder"
        }
        self.hits: dict[fx.Node, Any] = {}
        self.behind_mask: set[fx.Node] = set()
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

    def hit(self, node: fx.Node) -> Tensor:
        """Where the tensor of this node depends on the NaN."""
        value = self.values[node]
        found: Tensor = self.hits[node] if node in self.hits else _nan(value)
        return found

    def run(self, node: fx.Node) -> Any:
        """The operator's result."""
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self.values.__getitem__)
        if node.target is operator.getitem:
            (parts,), index = node.all_input_nodes, node.args[1]
            found = self.values[parts][index]
            if parts in self.hits:
                self.hits[node] = self.hits[parts][index]
            if parts in self.behind_mask:
                self.behind_mask.add(node)
        elif self._misleads(node):
            found = self._by_draws(node)
        else:
            found = node.target(*args, **kwargs)  # type: ignore[operator]
        self.values[node] = found
        return found

    def _misleads(self, node: fx.Node) -> bool:
        """Whether NaN says too little or too much about this operator."""
        inputs = [n for n in node.all_input_nodes if isinstance(self.values.get(n), Tensor)]
        dirty = [n for n in inputs if n in self.hits or bool(_nan(self.values[n]).any())]
        if not dirty:
            return self._note_mask(node, inputs)
        name = str(node.target).split(".")[1] if "." in str(node.target) else str(node.target)
        outputs = node.meta.get("val")
        kept = [t for t in (outputs if isinstance(outputs, list | tuple) else [outputs])
                if isinstance(t, Tensor)]  # fmt: skip
        masked = self._note_mask(node, inputs)
        shut = name == "scaled_dot_product_attention" and (len(node.args) > 3 or any(
            node.kwargs.get(mask) for mask in ("attn_mask", "is_causal")))  # fmt: skip
        return bool(
            masked
            or shut
            or name in SWALLOWING
            or any(n in self.hits for n in inputs)
            or any(not (t.is_floating_point() or t.is_complex()) for t in kept)
        )

    def _note_mask(self, node: fx.Node, inputs: Sequence[fx.Node]) -> bool:
        """Whether −∞ or a zero it left is among the inputs; remembered up to the next product."""
        masked = any(n in self.behind_mask for n in inputs) or any(
            bool(torch.isneginf(self.values[n]).any())
            for n in inputs
            if n.op != "placeholder" and self.values[n].is_floating_point()
        )
        name = str(node.target).split(".")[1] if "." in str(node.target) else ""
        if masked and name not in PRODUCTS:
            self.behind_mask.add(node)
        return masked

    def _by_draws(self, node: fx.Node) -> Any:
        """The operator alone, on other finite values in place of every NaN."""
        given = {n: _Given(self.values[n], self.hits.get(n)) for n in node.all_input_nodes
                 if isinstance(self.values[n], Tensor)}  # fmt: skip
        results = []
        for _ in range(DRAWS):
            drawn = {n: g.draw(self.generator) for n, g in given.items()}
            args, kwargs = fx.node.map_arg(
                (node.args, node.kwargs),
                lambda n: drawn.get(n, self.values[n]),  # noqa: B023
            )
            results.append(node.target(*args, **kwargs))  # type: ignore[operator]
        if isinstance(results[0], Tensor):
            value, self.hits[node] = _coded(results)
            return value
        parts = [_coded(list(part)) for part in zip(*results, strict=True)]
        self.hits[node] = [hit for _, hit in parts]
        return tuple(value for value, _ in parts)


class _Given:
    """A tensor whose NaN, or whose elements in ``hit``, may be anything."""

    def __init__(self, value: Tensor, hit: Tensor | None) -> None:
        self.value, self.hit = value, _nan(value) if hit is None else hit
        clean = value[~self.hit]
        self.pool = clean[torch.isfinite(clean)] if value.is_floating_point() else clean

    def draw(self, generator: torch.Generator) -> Tensor:
        """Finite values of the tensor's own type, in its own range where it has no fractions."""
        value = self.value
        if not self.hit.any():
            return value.clone()
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            size = float(self.pool.abs().mean()) if self.pool.numel() else 1.0
            other = (noise * max(size, 1e-3)).to(value.dtype)
        elif value.dtype == torch.bool:
            other = torch.rand(value.shape, generator=generator) < 0.5
        else:
            low, high = int(value.min()), int(value.max())
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
    if value.is_floating_point() or value.is_complex():
        return value.isnan()
    return torch.zeros(value.shape, dtype=torch.bool)
