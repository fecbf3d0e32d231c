"""One run of a captured network with NaN in its image: where the NaN gets to.

Where a NaN misleads: it disappears in where, masked_fill, nan_to_num, argmax, topk and in every
comparison, and integers and booleans cannot hold it; it over-reports where a mask of −∞ was added
(−∞ + NaN, and 0 · NaN behind the softmax). There the operator alone is run several times on other
finite values in place of every NaN (``analysis.draws``).
Weights that happen to be zero still count: 0 · NaN is NaN, which is right for a weight that
training may change.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from rfsearch.analysis.capture import constants
from rfsearch.analysis.draws import Given, coded, holds_nan, nan

DRAWS, MANY_DRAWS = 6, 24  # behind a mask; where values are compared or chosen

# Operators in which NaN disappears; those that return integers or booleans need no line.
COMPARING = {
    "where", "masked_fill", "masked_fill_", "nan_to_num", "fmax", "fmin", "sign", "sgn",
    "softshrink", "hardshrink", "nansum", "nanmean",
}  # fmt: skip
# The same, where few values of an element make a difference: what is found is the least.
CHOOSING = {
    "topk", "sort", "argsort", "median", "nanmedian", "kthvalue", "mode", "quantile", "one_hot",
    "grid_sampler", "deform_conv2d", "roi_align", "eq", "ne", "any", "all",
    "logical_and", "logical_or", "bitwise_and", "bitwise_or", "isnan", "isinf", "isfinite",
}  # fmt: skip
# And these, where the image says at which places: by its integers or booleans.
INDEXING = {
    "gather", "index", "index_select", "take_along_dim", "max_unpool2d", "embedding",
    "scatter", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_",
    "index_add", "index_add_", "index_put", "index_put_", "index_fill",
}  # fmt: skip
# Operators behind which a zero that a mask of −∞ left no longer stands for itself.
PRODUCTS = {"matmul", "bmm", "mm", "mul", "mul_", "einsum", "scaled_dot_product_attention"}


@dataclass(frozen=True)
class Found:
    """One tensor of one run: where it depends on the NaN.

    ``least``: it may depend on it elsewhere too, since values were compared or chosen.
    """

    name: str
    hit: Tensor
    least: bool


@dataclass(frozen=True)
class Operator:
    """A node of the graph that calls an operator, and what every run needs to know of it.

    Attributes:
        name: max_pool2d of aten.max_pool2d.default.
        inputs: the tensors it reads.
        unread: those that no later operator reads.
        masked: a mask of −∞ shuts something out here, or did so up to the next product.
        chooses: few values of an element make a difference to the result.
        whole: for each output whether it is of integers or booleans; None without outputs.
        single: whether it returns one tensor rather than several.
    """

    node: fx.Node
    name: str
    inputs: tuple[fx.Node, ...]
    unread: tuple[fx.Node, ...]
    masked: bool
    chooses: bool
    whole: tuple[bool, ...] | None
    single: bool


class Prepared:
    """A program ready for many runs.

    Attributes:
        image: its placeholder.
        constant: every node that does not depend on the image, with its value.
        operators: the others, in the order of the graph.
    """

    @torch.no_grad()
    def __init__(self, program: ExportedProgram) -> None:
        stored = constants(program)
        (image,) = program.graph_signature.user_inputs
        self.image: fx.Node = next(node for node in program.graph.nodes if node.name == image)
        self.constant: dict[fx.Node, Any] = {}
        self.operators: list[Operator] = []
        behind_mask: set[fx.Node] = set()
        last_use = {b: node for node in program.graph.nodes for b in node.all_input_nodes}
        for node in program.graph.nodes:
            if node.name in stored:
                self.constant[node] = stored[node.name]
            elif node.op == "call_function":
                self._add(node, behind_mask, last_use)

    def _add(
        self, node: fx.Node, behind_mask: set[fx.Node], last_use: dict[fx.Node, fx.Node]
    ) -> None:
        inputs, name = tuple(node.all_input_nodes), _name(node)
        if all(before in self.constant for before in inputs):
            self.constant[node] = called(node, self.constant)
            return
        masked = bool(behind_mask & {*inputs}) or self._shuts_out(node, name)
        if masked and name not in PRODUCTS:
            behind_mask.add(node)
        unread = tuple(b for b in inputs if last_use[b] is node and b.op == "call_function")
        outputs = node.meta.get("val")
        parts = outputs if isinstance(outputs, list | tuple) else [outputs]
        whole = tuple(isinstance(part, Tensor) and not holds_nan(part) for part in parts)
        self.operators.append(
            Operator(node, name, inputs, unread, masked, self._chooses(node, name),
                     None if outputs is None else whole, isinstance(outputs, Tensor))
        )  # fmt: skip

    def _chooses(self, node: fx.Node, name: str) -> bool:
        if name not in INDEXING:
            return name in CHOOSING
        given = [n.meta.get("val") for n in node.all_input_nodes if n not in self.constant]
        return any(isinstance(value, Tensor) and not holds_nan(value) for value in given)

    def _shuts_out(self, node: fx.Node, name: str) -> bool:
        """Whether a mask of −∞ comes in here."""
        if name == "scaled_dot_product_attention":
            return len(node.args) > 3 or any(map(node.kwargs.get, ("attn_mask", "is_causal")))
        if name.startswith(("masked_fill", "where")):
            return any(value == -math.inf for value in node.args if isinstance(value, float))
        return any(
            before.op != "placeholder" and _has_minus_infinity(self.constant[before])
            for before in node.all_input_nodes
            if isinstance(self.constant.get(before), Tensor)
        )


def picture(prepared: Prepared) -> Tensor:
    """An image of noise, always the same."""
    like = prepared.image.meta["val"]
    generator = torch.Generator().manual_seed(0)
    return torch.randn(like.shape, dtype=torch.float64, generator=generator).to(like.dtype)


@torch.no_grad()
def spread(prepared: Prepared, dirty: Tensor) -> Iterator[Found]:
    """Which elements depend on the NaN in ``dirty``, operator by operator.

    Read before a later operator can write into it. Tensors are dropped after their last use.
    """
    state = _State(prepared, dirty)
    for op in prepared.operators:
        if isinstance(state.run(op), Tensor):
            yield Found(op.node.name, state.hit(op.node), op.node in state.least)
        state.drop(op.unread)


class _State:
    """The tensors of one run, and what stands for NaN where a tensor cannot hold it.

    Attributes:
        hits: where tensors depend on the NaN, as far as that was asked.
        dirty: whether they do anywhere.
        least: nodes that may depend on more than was found.
    """

    def __init__(self, prepared: Prepared, dirty: Tensor) -> None:
        self.constant = prepared.constant
        self.values: dict[fx.Node, Any] = {**prepared.constant, prepared.image: dirty}
        self.hits: dict[fx.Node, Any] = {}
        self.dirty: dict[fx.Node, bool] = {}
        self.least: set[fx.Node] = set()
        self.generator = torch.Generator().manual_seed(1)

    def drop(self, nodes: tuple[fx.Node, ...]) -> None:
        """Forget what no later operator reads."""
        for node in nodes:
            self.values.pop(node, None)
            self.hits.pop(node, None)
            self.dirty.pop(node, None)

    def hit(self, node: fx.Node) -> Tensor:
        """Where the tensor of this node depends on the NaN."""
        found = self.hits.get(node)
        if found is None:
            found = self.hits[node] = nan(self.values[node])
        return found

    def run(self, op: Operator) -> Any:
        """The operator's result."""
        node, inputs = op.node, op.inputs
        if self.least and not self.least.isdisjoint(inputs):
            self.least.add(node)
        if node.target is operator.getitem:
            (parts,), index = inputs, node.args[1]
            found = self.values[parts][index]
            if parts in self.hits and self.hits[parts][index] is not None:
                self.hits[node] = self.hits[parts][index]
        elif op.whole is None or not any(map(self._is_dirty, inputs)):
            found = self._call(op)
        elif op.masked or op.chooses or op.name in COMPARING or (
            any(map(self._is_coded, inputs))
        ):  # fmt: skip
            found = self._by_draws(op, DRAWS if op.masked else MANY_DRAWS)
        else:
            found = self._by_nan(op)
        self.values[node] = found
        if op.name.endswith("_"):  # what was known of tensors that it wrote into
            for before in inputs:
                self.hits.pop(before, None)
                self.dirty.pop(before, None)
        return found

    def _call(self, op: Operator, given: dict[fx.Node, Tensor] | None = None) -> Any:
        """The operator itself, some tensors exchanged for others."""
        if given is None and op.name.endswith("_"):  # constants serve other runs too
            given = {n: self.values[n].clone() for n in op.inputs if n in self.constant}
        return called(op.node, {**self.values, **given} if given else self.values)

    def _is_dirty(self, node: fx.Node) -> bool:
        """Whether anything in this tensor depends on the NaN."""
        found = self.dirty.get(node)
        if found is None:
            some = node not in self.constant and isinstance(self.values[node], Tensor)
            found = self.dirty[node] = some and bool(self.hit(node).any())
        return found

    def _is_coded(self, node: fx.Node) -> bool:
        """Whether this tensor depends on the NaN and cannot hold it."""
        return self._is_dirty(node) and not holds_nan(self.values[node])

    def _by_nan(self, op: Operator) -> Any:
        """The operator on NaN; integers and booleans that it returns are told by draws."""
        if not op.whole or not any(op.whole):
            return self._call(op)
        if op.single:
            return self._by_draws(op, MANY_DRAWS)
        drawn = self._by_draws(op, MANY_DRAWS)
        found = self._call(op)
        self.hits[op.node] = [
            hit if exact else None for hit, exact in zip(self.hits[op.node], op.whole, strict=True)
        ]
        return tuple(d if w else f for d, f, w in zip(drawn, found, op.whole, strict=True))

    def _by_draws(self, op: Operator, num_draws: int) -> Any:
        """The operator alone, on other finite values in place of every NaN."""
        given = {n: Given(self.values[n], self.hits.get(n)) for n in op.inputs
                 if isinstance(self.values[n], Tensor)}  # fmt: skip
        wide, results = not op.chooses, []
        for i in range(num_draws):
            drawn = {n: g.draw(self.generator, i, wide) for n, g in given.items()}
            results.append(self._call(op, drawn))
        single = isinstance(results[0], Tensor)
        parts = [coded(part) for part in ([results] if single else zip(*results, strict=True))]
        if self._may_be_more(op, [value for value, _ in parts]):
            self.least.add(op.node)
        hits = [hit if not holds_nan(value) else None for value, hit in parts]
        if single:
            if hits[0] is not None:
                self.hits[op.node] = hits[0]
            return parts[0][0]
        self.hits[op.node] = hits
        return tuple(value for value, _ in parts)

    def _may_be_more(self, op: Operator, results: list[Tensor]) -> bool:
        """Whether values of the image chose, so that other values may show more."""
        if op.name.startswith(("where", "masked_fill")):
            masks = {n for n in op.inputs if self.values[n].dtype == torch.bool}
            if not masks & self.constant.keys():
                return True
        integers = any(v.dtype != torch.bool and not holds_nan(v) for v in results)
        return integers or op.chooses


def called(node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    """The operator of a node on these values."""
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def _name(node: fx.Node) -> str:
    packet = getattr(node.target, "overloadpacket", node.target)
    return str(getattr(packet, "__name__", packet))


def _has_minus_infinity(value: Tensor) -> bool:
    return value.is_floating_point() and bool(torch.isneginf(value).any())
