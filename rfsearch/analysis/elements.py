"""Operators on elements and on whole vectors: activations, joins, norms, products, views.

Each function is the ``result`` of a ``Rule``: what the outputs of a call depend on.
"""

from __future__ import annotations

from functools import reduce
from math import prod

from rfsearch import field
from rfsearch.analysis import views
from rfsearch.analysis.call import Call
from rfsearch.analysis.dependence import Value


def same(call: Call) -> Value:
    """Element u on element u of the input alone."""
    return Value(call.shape, call.input.axes)


def joined(call: Call) -> Value:
    """Element-wise on all tensors given, with broadcasting."""
    return reduce(Value.join, call.values)


def over_last(call: Call) -> Value:
    """A linear layer, x·Wᵀ: every output on the whole last dimension."""
    return call.input.mix(-1, call.shape[-1])


def linear_macs(call: Call) -> int:
    """Outputs times inputs of each; also for products of matrices."""
    return prod(call.shape) * call.input.shape[-1]


def product(call: Call) -> Value:
    """A matrix product of tensors of two dimensions or more: row u with column v."""
    left, right = call.values[-2:]
    rows = left.mix(-1) if left.is_data else Value((*left.shape[:-1], 1), (), left.params)
    columns = right.mix(-2) if right.is_data else Value(
        (*right.shape[:-2], 1, right.shape[-1]), (), right.params)  # fmt: skip
    return rows.join(columns)


def _spread(value: Value, dims: list[int]) -> Value:
    """One number for the whole of ``dims``, each kept with length 1: a statistic."""
    return reduce(lambda v, dim: v.read(dim, field.whole_taps(v.shape[dim])), dims, value)


def layer_norm(call: Call) -> Value:
    """Every element also on the statistic over the last dimensions."""
    num = len(call["normalized_shape"])
    dims = range(len(call.shape) - num, len(call.shape))
    statistic = reduce(lambda v, dim: _mix(v, dim), dims, call.input)
    return call.input.join(statistic)


def group_norm(call: Call) -> Value:
    """Every element also on the statistic of its channels' group, over the whole image."""
    channels, groups = call.shape[1], call["num_groups"]
    apart = views.reshape(call.input, (call.shape[0], groups, channels // groups, *call.shape[2:]))
    statistic = reduce(_mix, range(2, len(apart.shape)), apart)
    return views.reshape(apart.join(statistic), call.shape)


def softmax(call: Call) -> Value:
    """Every element also on the sum over its dimension."""
    return call.input.join(_mix(call.input, call["dim"] % len(call.shape)))


def _mix(value: Value, dim: int) -> Value:
    """Everything along ``dim``, kept with length 1; over the image its jump goes on."""
    over_image = any(axis.jumps[dim] != 0 for axis in value.axes)
    return _spread(value, [dim]) if over_image else value.mix(dim)


def reshaped(call: Call) -> Value:
    """view, reshape, flatten, squeeze, unsqueeze: the output's shape says it all."""
    return views.reshape(call.input, call.shape)


def permuted(call: Call) -> Value:
    """Dimensions in another order."""
    return views.permute(call.input, call["dims"])


def transposed_dims(call: Call) -> Value:
    """Two dimensions exchanged."""
    num = len(call.shape)
    order = list(range(num))
    one, other = call["dim0"] % num, call["dim1"] % num
    order[one], order[other] = other, one
    return views.permute(call.input, order)


def expanded(call: Call) -> Value:
    """Repeated along dimensions of length 1."""
    return views.expand(call.input, call.shape)


def concatenated(call: Call) -> Value:
    """Parts stay apart until an operator mixes them."""
    return views.concatenate(call.values, call["dim"])


def stacked(call: Call) -> Value:
    """Parts side by side along a new dimension."""
    dim = call["dim"] % len(call.shape)
    parts = [
        views.reshape(value, (*value.shape[:dim], 1, *value.shape[dim:])) for value in call.values
    ]
    return views.concatenate(parts, dim)


def sliced(call: Call) -> Value:
    """start:end:step along one dimension; torch's end may lie far beyond."""
    start, end = call["start"] or 0, call["end"]
    length = call.input.shape[call["dim"]]
    return views.cut(call.input, call["dim"], start, length if end is None else end, call["step"])


def selected(call: Call) -> Value:
    """One element along one dimension, which is dropped."""
    dim = call["dim"] % len(call.input.shape)
    index = call["index"] % call.input.shape[dim]
    return views.drop(views.cut(call.input, dim, index, index + 1), dim)


def parted(call: Call) -> tuple[Value, ...]:
    """split, chunk: consecutive parts, as long as the outputs say."""
    dim, start, parts = call["dim"] % len(call.input.shape), 0, []
    for shape in call.shapes:
        parts.append(views.cut(call.input, dim, start, start + shape[dim]))
        start += shape[dim]
    return tuple(parts)
