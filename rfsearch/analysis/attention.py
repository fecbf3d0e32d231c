"""Products of tensors, softmax and attention.

A product reads rows of one tensor and columns of the other; no operand of it is a gate, not even
where one side is a matrix for the whole image, as in linear attention.

A mask of −∞ makes elements *dead*: softmax turns them into zeros whatever the image, and what a
zero is multiplied with does not get through. They are marked in the arrays (``DEAD_LO``) and so
survive every view.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from rfsearch.analysis import views
from rfsearch.analysis.call import Call
from rfsearch.analysis.dependence import Value
from rfsearch.analysis.movement import constant
from rfsearch.analysis.reach import DEAD_HI, DEAD_LO, Reach
from rfsearch.errors import UserError
from rfsearch.field import EMPTY_HI, EMPTY_LO, Intervals, whole_taps

_HALFWAY = (EMPTY_LO + DEAD_LO) // 2


def _dead(value: Value) -> NDArray[np.bool_] | None:
    """Where elements are dead, broadcasting to the shape; None where none is."""
    if not value.is_data:
        return None
    found = value.axes[0].reaches["seen"].lo >= _HALFWAY
    return found if found.any() else None


def _kill(value: Value, dead: NDArray[np.bool_]) -> Value:
    """The same with these elements dead."""

    def change(reach: Reach) -> Reach:
        lo, hi = np.where(dead, DEAD_LO, reach.lo), np.where(dead, DEAD_HI, reach.hi)
        return Reach(reach.kind, Intervals(lo, hi)).compact()

    return Value(value.shape, tuple(axis.each(change) for axis in value.axes))


def added(call: Call) -> Value:
    """Element-wise with broadcasting; what −∞ is added to is dead."""
    return _masked(reduce(Value.join, call.values), call.values)


def _masked(result: Value, added: Sequence[Value]) -> Value:
    """What −∞ in one of the summands leaves of a sum."""
    for value in added:
        dead = None if value.is_data else _minus_infinity(value)
        if dead is not None:
            result = _kill(result, dead)
    return result


def _minus_infinity(value: Value) -> NDArray[np.bool_] | None:
    if value.params or prod(value.shape) == 1:
        return None
    number = constant(value)
    if number is None or not number.is_floating_point():
        return None
    found = (number == -torch.inf).numpy()
    return found if found.any() else None


def softmax(call: Call) -> Value:
    """Every element also on the sum over its dimension."""
    return _softmax(call.input, call["dim"] % len(call.shape))


def _softmax(value: Value, dim: int) -> Value:
    dead = _dead(value)
    result = value.join(statistic(value, dim))
    return result if dead is None else _without_choice(_kill(result, dead), dead, dim)


def _without_choice(value: Value, dead: NDArray[np.bool_], dim: int) -> Value:
    """Where a mask leaves one element alone, its share is 1 whatever the image."""
    alive = ~np.broadcast_to(dead, value.shape)
    alone = alive & (alive.sum(dim, keepdims=True) == 1)
    if not alone.any():
        return value

    def change(reach: Reach) -> Reach:
        lo, hi = np.where(alone, EMPTY_LO, reach.lo), np.where(alone, EMPTY_HI, reach.hi)
        return Reach(reach.kind, Intervals(lo, hi)).compact()

    return Value(value.shape, tuple(axis.each(change) for axis in value.axes))


def statistic(value: Value, dim: int) -> Value:
    """Everything along ``dim``, kept with length 1; over the image its jump goes on."""
    over_image = any(axis.jumps[dim] != 0 for axis in value.axes)
    return value.read(dim, whole_taps(value.shape[dim])) if over_image else value.mix(dim)


def product(call: Call) -> Value:
    """A matrix product, with batches and vectors as torch has them; a third tensor is added, such
    as a mask."""
    *more, left, right = call.values
    found = multiplied(left, right)
    assert found.shape == call.shape, call.name
    return _masked(reduce(Value.join, more, found), more)


def multiplied(left: Value, right: Value) -> Value:
    """left · right: row u with column v."""
    if len(left.shape) == 1:
        return views.drop(multiplied(views.insert(left, 0), right), -2)
    if len(right.shape) == 1:
        return views.drop(multiplied(left, views.insert(right, 1)), -1)
    dead = _dead(left)
    if dead is not None:
        return _through_mask(left, right, dead)
    rows = left.mix(-1) if left.is_data else Value((*left.shape[:-1], 1), (), left.params)
    columns = right.mix(-2) if right.is_data else Value(
        (*right.shape[:-2], 1, right.shape[-1]), (), right.params)  # fmt: skip
    return rows.join(columns, gates=False)


def _through_mask(left: Value, right: Value, dead: NDArray[np.bool_]) -> Value:
    """The product where some elements of ``left`` are zero: term by term."""
    num = max(len(left.shape), len(right.shape))
    first, second = views.insert(left, -1), views.insert(right, -3)
    terms = first.lift(num + 1).join(second.lift(num + 1), gates=False)
    return views.drop(_kill(terms, dead[..., None]).mix(-2), -2)


def distances(call: Call) -> Value:
    """``cdist``: from every row of one tensor to every row of the other."""
    first, second = call["x1"], call["x2"]
    swapped = [*range(len(second.shape) - 2), -1, -2]
    return multiplied(first, views.permute(second, swapped))


def bilinear(call: Call) -> Value:
    """x1ᵀ·W·x2 for every output: all of the last dimension of both."""
    rows = [call[name].mix(-1) for name in ("input1", "input2") if call[name].is_data]
    return views.expand(reduce(lambda a, b: a.join(b, gates=False), rows), call.shape)


def bilinear_macs(call: Call) -> int:
    """Every weight for every place, and the second product."""
    weight: Value = call["weight"]
    places = prod(call.shape[:-1])
    return places * (prod(weight.shape) + prod(weight.shape[:2]))


def similarity(call: Call) -> Value:
    """Cosine similarity or distance of vectors along one dimension."""
    dim = call.arguments.get("dim", -1)
    num = max(len(value.shape) for value in call.values)
    both = reduce(lambda a, b: a.join(b, gates=False), (v.lift(num) for v in call.values))
    return views.reshape(both.mix(dim), call.shape)


def tensordot(call: Call) -> Value:
    """A product over some dimensions of both tensors; the others side by side."""
    left, right = (_without(call[name], call[dims]) for name, dims in
                   (("self", "dims_self"), ("other", "dims_other")))  # fmt: skip
    num = len(right.shape)
    wide = views.reshape(left, (*left.shape, *[1] * num)) if left.is_data else Value(
        (*left.shape, *[1] * num), (), left.params)  # fmt: skip
    return wide.join(right, gates=False)


def _without(value: Value, dims: list[int]) -> Value:
    """Mixed along these dimensions, which are dropped."""
    gone = {dim % len(value.shape) for dim in dims}
    left = tuple(n for dim, n in enumerate(value.shape) if dim not in gone)
    if not value.is_data:
        return Value(left, (), value.params)
    return views.reshape(reduce(lambda v, dim: v.mix(dim), gone, value), left)


def tensordot_macs(call: Call) -> int:
    """Outputs times the inputs of each."""
    value: Value = call["self"]
    shared: list[int] = call["dims_self"]
    return prod(call.shape) * prod(value.shape[dim] for dim in shared)


def product_macs(call: Call) -> int:
    """Outputs times the inputs of each."""
    return prod(call.shape) * call.values[-2].shape[-1]


def scaled(call: Call) -> Value:
    """``scaled_dot_product_attention``: softmax(q·kᵀ + mask)·v over (…, L, E)."""
    query, key, value, mask = (call[name] for name in ("query", "key", "value", "attn_mask"))
    dead = _closed(call, mask)
    if call["enable_gqa"]:
        key, value = (_repeated(v, query.shape[-3]) for v in (key, value))
    if dead is None and mask is None:
        both = [v.mix(-2).mix(-1) if i == 0 else v.mix(-2) for i, v in enumerate((key, value))
                if v.is_data]  # fmt: skip
        rows = query.mix(-1) if query.is_data else Value((*query.shape[:-1], 1), (), query.params)
        found = reduce(lambda a, b: a.join(b, gates=False), both, rows)
        return Value(call.shape, found.axes)
    swapped = [*range(len(key.shape) - 2), len(key.shape) - 1, len(key.shape) - 2]
    scores = multiplied(query, views.permute(key, swapped))
    if isinstance(mask, Value):
        scores = scores.join(mask)
    if dead is not None and scores.is_data:
        scores = _kill(scores, dead)
    return multiplied(_softmax(scores, len(scores.shape) - 1) if scores.is_data else scores, value)


def _repeated(value: Value, heads: int) -> Value:
    """Key and value heads shared by several query heads."""
    dim = len(value.shape) - 3
    return views.take(value, dim, np.arange(heads) * value.shape[dim] // heads)


def _closed(call: Call, mask: Value | None) -> NDArray[np.bool_] | None:
    """Which pairs the mask shuts out whatever the image."""
    length, keys = call["query"].shape[-2], call["key"].shape[-2]
    if call["is_causal"]:
        shut: NDArray[np.bool_] = ~np.tri(length, keys, dtype=bool)
        return shut
    number = constant(mask)
    if number is None:
        return None
    found = (~number if number.dtype == torch.bool else number == -torch.inf).numpy()
    return found if found.any() else None


def scaled_macs(call: Call) -> int:
    """Both products."""
    query, key, value = (cast(Value, call[name]).shape for name in ("query", "key", "value"))
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def fast_attention(call: Call) -> tuple[Value, ...]:
    """torch's fused multi-head attention and encoder layer: every token on all tokens."""
    whole = call.data[0]
    for dim in range(1, len(whole.shape)):
        whole = whole.mix(dim)
    return tuple(_everywhere(whole, shape) for shape in call.shapes)


def _everywhere(value: Value, shape: tuple[int, ...]) -> Value:
    """A value of batch elements alone, for every element of that shape."""
    ones = (value.shape[0], *[1] * (len(shape) - 1))
    return views.expand(views.reshape(value, ones), shape)


def einsum(call: Call) -> Value:
    """A sum of products by Einstein's convention."""
    inputs, output = _labels(call)
    order = [*output, *sorted(set().union(*inputs) - set(output))]
    operands = call["tensors"]
    gates = not any(len(set(a) & set(b)) > len(set(a) & set(b) & set(output))
                    for i, a in enumerate(inputs) for b in inputs[:i])  # fmt: skip
    parts = [_spread_out(v, labels, order, len(output))
             for v, labels in zip(operands, inputs, strict=True)]  # fmt: skip
    found = reduce(lambda a, b: a.join(b, gates=gates), parts)
    return views.expand(views.reshape(found, found.shape[: len(output)]), call.shape)


def _spread_out(value: Value, labels: list[str], order: list[str], kept: int) -> Value:
    """Dimensions as in ``order``, those summed over reduced to length 1, missing ones inserted."""
    for label in labels:
        if label in order[kept:] and value.is_data:
            value = value.mix(labels.index(label))
        elif label in order[kept:]:
            at = labels.index(label)
            value = Value((*value.shape[:at], 1, *value.shape[at + 1 :]), (), value.params)
    value = views.permute(value, [labels.index(label) for label in order if label in labels])
    lengths = iter(value.shape)
    return views.reshape(value, [next(lengths) if label in labels else 1 for label in order])


def _labels(call: Call) -> tuple[list[list[str]], list[str]]:
    """The labels of every operand and of the output; those of an ellipsis are numbers."""
    equation = call["equation"].replace(" ", "")
    left, arrow, right = equation.partition("->")
    inputs = []
    for term, value in zip(left.split(","), call["tensors"], strict=True):
        before, dots, after = term.partition("...")
        hidden = len(value.shape) - len(before) - len(after)
        inputs.append([*before, *map(str, range(-hidden, 0)), *after] if dots else list(term))
    if any(len(set(labels)) != len(labels) for labels in inputs):
        raise UserError(f"no rule for {call.name} with a label twice in one tensor: {equation}")
    every = [label for labels in inputs for label in labels]
    hidden_ones = sorted({x for x in every if len(x) > 1}, key=int)
    if not arrow:
        return inputs, hidden_ones + sorted(x for x in set(every) if every.count(x) == 1 == len(x))
    before, dots, after = right.partition("...")
    return inputs, [*before, *(hidden_ones if dots else []), *after]


def einsum_macs(call: Call) -> int:
    """The product of all lengths, where there is something to multiply."""
    inputs, _ = _labels(call)
    lengths = {label: n for labels, value in zip(inputs, call["tensors"], strict=True)
               for label, n in zip(labels, value.shape, strict=True) if n != 1}  # fmt: skip
    return prod(lengths.values()) if len(inputs) > 1 else 0


def linear(call: Call) -> Value:
    """x·Wᵀ: every output on the whole last dimension; W may come from the image too."""
    weight, bias = call["weight"], call["bias"]
    if weight.is_data:
        found = multiplied(call.values[0], views.permute(weight, (1, 0)))
    else:
        found = call.input.mix(-1, call.shape[-1])
    return found.join(bias) if isinstance(bias, Value) and bias.is_data else found


def linear_macs(call: Call) -> int:
    """Outputs times inputs of each."""
    value: Value = call["input"]
    return prod(call.shape) * value.shape[-1]


def recurrent(call: Call) -> tuple[Value, ...]:
    """LSTM, GRU and plain recurrences over (N, L, C): up to each place, and back from the end.

    Forward and backward channels stay apart up to the next layer.
    """
    value = call["input"] if call["batch_first"] else views.permute(call["input"], (1, 0, 2))
    length, (first, *states) = value.shape[1], call.shapes
    every = np.tile(np.arange(length), (length, 1))
    directions = [np.tri(length, dtype=bool)]
    directions += [directions[0].T] if call["bidirectional"] else []
    width = first[-1] // len(directions)
    end = views.permute(value.mix(2).mix(1), (1, 0, 2))
    for _ in range(call["num_layers"]):
        value = value.mix(2)
        steps = [views.gather(value, 1, every, used) for used in directions]
        wide = [views.expand(step, (*step.shape[:2], width)) for step in steps]
        value = views.concatenate(wide, 2)
    found = value if call["batch_first"] else views.permute(value, (1, 0, 2))
    return found, *(views.expand(end, shape) for shape in states)


def recurrent_macs(call: Call) -> int:
    """Every matrix once per place."""
    value: Value = call["input"]
    batch, length, _ = value.shape
    weights: list[Value] = call["params"]
    return batch * length * sum(prod(w.shape) for w in weights if len(w.shape) == 2)
