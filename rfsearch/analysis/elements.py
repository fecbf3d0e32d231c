"""Operators on elements and on whole vectors: activations, joins, norms, products, views.

Each function is the ``result`` of a ``Rule``: what the outputs of a call depend on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import numpy as np

from rfsearch.analysis import views
from rfsearch.analysis.attention import statistic
from rfsearch.analysis.call import Call
from rfsearch.analysis.dependence import Value
from rfsearch.field import Indices


def same(call: Call) -> Value:
    """Element u on element u of the input alone."""
    return Value(call.shape, call.input.axes)


def joined(call: Call) -> Value:
    """Element-wise on all tensors given, with broadcasting."""
    return reduce(Value.join, call.values)


def constants(call: Call) -> tuple[Value, ...] | Value:
    """zeros_like, new_full and their like read the shape alone; assertions return nothing."""
    found = tuple(Value(shape) for shape in call.shapes)
    return found[0] if len(found) == 1 else found


def layer_norm(call: Call) -> Value:
    """Every element also on the statistic over the last dimensions; rms_norm too."""
    num = len(call["normalized_shape"])
    dims = range(len(call.shape) - num, len(call.shape))
    return call.input.join(reduce(statistic, dims, call.input))


def group_norm(call: Call) -> Value:
    """Every element also on the statistic of its channels' group, over the whole image."""
    channels, groups = call.shape[1], call["num_groups"]
    apart = views.reshape(call.input, (call.shape[0], groups, channels // groups, *call.shape[2:]))
    over_group = reduce(statistic, range(2, len(apart.shape)), apart)
    return views.reshape(apart.join(over_group), call.shape)


def channel_norm(call: Call) -> Value | tuple[Value, ...]:
    """Batch and instance norm: element by element, unless they use the image's own statistics."""
    own = call.arguments.get("training", call.arguments.get("use_input_stats", False))
    value = Value(call.shape, call.input.axes)
    if own:
        dims = [0, *range(2, len(call.shape))] if "training" in call.arguments else range(
            2, len(call.shape))  # fmt: skip
        value = value.join(reduce(statistic, dims, value))
    rest = tuple(Value(shape) for shape in call.shapes[1:])
    return (value, *rest) if rest else value


def over_vectors(call: Call) -> Value:
    """Sorting, transforms: every element on the whole of some dimensions."""
    dims = call.arguments.get("dim", -1)
    dims = [dims] if isinstance(dims, int) else dims or range(len(call.input.shape))
    value = reduce(lambda v, d: v.mix(d), dims, call.input)
    return views.expand(value, call.shape)


def sorted_values(call: Call) -> tuple[Value, ...]:
    """topk, sort: values and indices, every one on the whole dimension."""
    return tuple(over_vectors(replace(call, shapes=(shape,))) for shape in call.shapes)


def cumulative(call: Call) -> Value:
    """cumsum: every element on those up to it."""
    dim, length = call["dim"] % len(call.shape), call.shape[call["dim"]]
    at = np.tile(np.arange(length), (length, 1))
    spread = views.gather(call.input, dim, at, np.tri(length, dtype=bool))
    return Value(call.shape, spread.axes)


def halves(call: Call) -> Value:
    """A gated linear unit: one half of a dimension times the other."""
    dim, length = call["dim"], call.input.shape[call["dim"]]
    first, second = (
        views.cut(call.input, dim, start, start + length // 2) for start in (0, length // 2)
    )
    return first.join(second)


def differences(call: Call) -> Value:
    """Every element less the one before it, as many times as asked."""
    value = call.input
    for _ in range(call["n"]):
        value = views.gather(value, call["dim"], _neighbours(value.shape[call["dim"]]))
    return value


def _neighbours(length: int) -> Indices:
    return np.arange(length - 1)[:, None] + np.arange(2)


def crossed(call: Call) -> Value:
    """A cross product: every element on all others of both vectors."""
    parts = [views.expand(value.mix(call["dim"]), call.shape) for value in call.data]
    return reduce(lambda a, b: a.join(b, gates=False), parts)


def looked_up(call: Call) -> Value:
    """A vector for every index."""
    return views.expand(views.insert(call.data[0], len(call.shape) - 1), call.shape)


def spread_together(call: Call) -> tuple[Value, ...]:
    """Several tensors brought to one shape."""
    return tuple(
        views.expand(value, shape) if value.is_data else replace(value, shape=shape)
        for value, shape in zip(call["tensors"], call.shapes, strict=True)
    )


def most_so_far(call: Call) -> tuple[Value, Value]:
    """cummax, cummin: values, and where they stand."""
    found = cumulative(call)
    return found, found


def kronecker(call: Call) -> Value:
    """Every element of one tensor with every one of the other, blocks side by side."""
    num = len(call.shape)
    spread = []
    for i, value in enumerate(call.values):
        shape = (1,) * (num - len(value.shape)) + value.shape
        pairs = [(n, 1) if i == 0 else (1, n) for n in shape]
        spread.append(views.reshape(value, [n for pair in pairs for n in pair]))
    return views.reshape(spread[0].join(spread[1], gates=False), call.shape)


def outer(call: Call) -> Value:
    """Every element of one vector with every one of the other."""
    left, right = call.values
    return views.insert(left, 1).join(views.insert(right, 0), gates=False)


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
    names = ("dim0", "dim1") if "dim0" in call.arguments else ("axis0", "axis1")
    one, other = (call[name] % num for name in names)
    order[one], order[other] = other, one
    return views.permute(call.input, order)


def expanded(call: Call) -> Value:
    """Repeated along dimensions of length 1."""
    return views.expand(call.input, call.shape)


def moved_dims(call: Call) -> Value:
    """Some dimensions put elsewhere."""
    num = len(call.shape)
    pairs = [call[name] for name in ("source", "destination")]
    source, destination = ([d % num for d in ([p] if isinstance(p, int) else p)] for p in pairs)
    order = [d for d in range(num) if d not in source]
    for to, dim in sorted(zip(destination, source, strict=True)):
        order.insert(to, dim)
    return views.permute(call.input, order)


def reversed_dims(call: Call) -> Value:
    """The last two dimensions exchanged, or the two there are."""
    num = len(call.shape)
    return views.permute(call.input, [*range(num - 2), *range(num - 1, max(num - 3, -1), -1)])


def copied(call: Call) -> Value:
    """The source, spread to the shape of what it overwrites."""
    source: Value = call["src"]
    if not source.is_data:
        return Value(call.shape, (), source.params)
    return views.expand(source, call.shape)


def concatenated(call: Call) -> Value:
    """Parts stay apart until an operator mixes them; empty ones are nothing."""
    values = [value for value in call.values if value.shape != (0,)]
    return views.concatenate(values, call["dim"])


def along(dim: int) -> Callable[[Call], Value]:
    """hstack, vstack and their like, for tensors of two dimensions or more."""
    return lambda call: views.concatenate(call.values, dim)


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
    dim, start, parts = call.arguments.get("dim", 0) % len(call.input.shape), 0, []
    for shape in call.shapes:
        parts.append(views.cut(call.input, dim, start, start + shape[dim]))
        start += shape[dim]
    return tuple(parts)


def taken_apart(call: Call) -> tuple[Value, ...]:
    """unbind: the elements along one dimension, which is dropped."""
    dim = call["dim"] % len(call.input.shape)
    return tuple(
        views.drop(views.cut(call.input, dim, i, i + 1), dim) for i in range(len(call.shapes))
    )
