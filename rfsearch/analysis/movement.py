"""Operators that move elements elsewhere without changing them.

Most of them are followed by running torch's own operator on the numbers of the elements: what
comes out says which element stands where, whatever the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rfsearch.analysis import views
from rfsearch.analysis.call import Call, Result, tensors
from rfsearch.analysis.dependence import Value
from rfsearch.analysis.reach import DEAD_HI, DEAD_LO, KINDS, Axis, Reach
from rfsearch.analysis.windows import each
from rfsearch.field import EMPTY_HI, EMPTY_LO, Indices, Intervals

NOTHING, DEAD = 0, -1  # numbers of what is no element: a constant, and one behind a mask
FILLS = {"value", "self", "other"}  # arguments that may be a number to fill with


def moved(call: Call) -> Result:
    """The operator itself, run on the elements' numbers; those of constants are ``NOTHING``.

    Indices and masks are constants of integers or booleans and keep their values.
    """
    first, ranges = 1, {}
    for value in call.data:
        ranges[id(value)] = first
        first += prod(value.shape)
    arguments = {name: _numbered(a, ranges) for name, a in call.arguments.items()}
    for name in FILLS & arguments.keys():
        if isinstance(arguments[name], int | float):
            arguments[name] = DEAD if arguments[name] == -torch.inf else NOTHING
    found = _run(call.target, arguments)
    outputs = found if isinstance(found, tuple | list) else [found]
    results = tuple(_renumbered(call.data, output.numpy()) for output in outputs)
    return results if isinstance(found, tuple | list) else results[0]


def _numbered(argument: Any, ranges: dict[int, int]) -> Any:
    if isinstance(argument, list | tuple):
        return [_numbered(item, ranges) for item in argument]
    if not isinstance(argument, Value):
        return argument
    if argument.is_data:
        start = ranges[id(argument)]
        return torch.arange(start, start + prod(argument.shape)).reshape(argument.shape)
    number = constant(argument)
    if number is None:
        return torch.full(argument.shape, NOTHING)
    if number.is_floating_point():
        return torch.where(number == -torch.inf, DEAD, NOTHING)
    return number


def _run(target: Any, arguments: dict[str, Any]) -> Any:
    schema = target._schema.arguments
    given = [a.name for a in schema if not a.kwarg_only]
    named = {a.name: arguments[a.name] for a in schema if a.kwarg_only and a.name in arguments}
    named.pop("dtype", None)
    return target(*(arguments[name] for name in given if name in arguments), **named)


def _renumbered(data: Sequence[Value], numbers: Indices) -> Value:
    axes = []
    for columns in zip(*(value.axes for value in data), strict=True):
        done: dict[tuple[int, ...], Intervals] = {}
        reaches = {}
        for name, kind in KINDS.items():
            parts = [axis.reaches[name].intervals for axis in columns]
            key = tuple(map(id, parts))
            if key not in done:
                lo = _flat([part.lo for part in parts], data, EMPTY_LO, DEAD_LO)[numbers]
                hi = _flat([part.hi for part in parts], data, EMPTY_HI, DEAD_HI)[numbers]
                done[key] = Reach(kind, Intervals(lo, hi)).compact().intervals
            reaches[name] = Reach(kind, done[key])
        jumps = tuple(_still(data, columns, dim, numbers.shape) for dim in range(numbers.ndim))
        axes.append(Axis(reaches, jumps).settle(numbers.shape))
    return Value(tuple(numbers.shape), tuple(axes))


def _still(
    data: Sequence[Value], columns: Sequence[Axis], dim: int, shape: tuple[int, ...]
) -> Fraction | None:
    """0 along a dimension of length 1, such as a batch, that was one before and held nothing;
    elsewhere the arrays tell."""
    alike = all(len(value.shape) == len(shape) and value.shape[dim] == 1 == shape[dim]
                and axis.jumps[dim] == 0
                for value, axis in zip(data, columns, strict=True))  # fmt: skip
    return Fraction(0) if alike else None


def _flat(arrays: Sequence[Indices], data: Sequence[Value], nothing: int, dead: int) -> Indices:
    """All elements in the order of their numbers, ``NOTHING`` first and ``DEAD`` last."""
    full = [
        np.broadcast_to(a, value.shape).reshape(-1) for a, value in zip(arrays, data, strict=True)
    ]
    return np.concatenate([[nothing], *full, [dead]])


def constant(argument: object) -> Tensor | None:
    """The numbers of a constant, where it has any; they are those of the parameters now."""
    if not isinstance(argument, Value) or argument.number is None:
        return None
    found = argument.number()
    return None if found is None or found.is_meta else found.detach().cpu()


def known(call: Call, *names: str) -> bool:
    """Whether all tensors in these arguments are constants with numbers."""
    given = [value for name in names for value in tensors(call.arguments.get(name))]
    return all(not value.is_data and constant(value) is not None for value in given)


def pixel_shuffled(call: Call) -> Value:
    """Blocks of channels as blocks of pixels: an upsampling, so the jumps become smaller."""
    return _scaled(call, Fraction(1, call["upscale_factor"]))


def pixel_unshuffled(call: Call) -> Value:
    """Blocks of pixels as blocks of channels."""
    return _scaled(call, Fraction(call["downscale_factor"]))


def _scaled(call: Call, rate: Fraction) -> Value:
    value = moved(call)
    assert isinstance(value, Value)
    axes = []
    for before, axis in zip(call.input.axes, value.axes, strict=True):
        tail = (j and j * rate for j in before.jumps[-2:])
        axes.append(replace(axis, jumps=(*before.jumps[:-2], *tail)))
    return Value(value.shape, tuple(axes))


def rolled(call: Call) -> Value:
    """Elements pushed on, those that fall off brought in at the other end."""
    shifts, dims = call["shifts"], call["dims"]
    if not dims:
        flat = views.reshape(call.input, (prod(call.shape),))
        index = np.roll(np.arange(prod(call.shape)), shifts)
        return views.reshape(views.take(flat, 0, index), call.shape)
    value = call.input
    for shift, dim in zip(shifts, dims, strict=True):
        value = views.take(value, dim, np.roll(np.arange(value.shape[dim]), shift))
    return value


def flipped(call: Call) -> Value:
    """The other way round along some dimensions."""
    return reduce(
        lambda v, dim: views.take(v, dim, np.arange(v.shape[dim])[::-1]),
        call["dims"],
        call.input,
    )


def tiled(call: Call) -> Value:
    """The whole tensor several times along each dimension."""
    value = call.input.lift(len(call.shape))
    for dim, length in enumerate(call.shape):
        if length != value.shape[dim]:
            value = views.take(value, dim, np.arange(length) % value.shape[dim])
    return value


def unfolded(call: Call) -> Value:
    """``Tensor.unfold``: windows along one dimension, their elements along a new last one."""
    value, num = call.input, len(call.input.shape)
    dim = call["dimension"] % num
    windows, size = call.shape[dim], call["size"]
    at = call["step"] * np.arange(windows)[:, None] + np.arange(size)
    flat = views.take(value, dim, at.reshape(-1))
    apart = views.reshape(flat, (*value.shape[:dim], windows, size, *value.shape[dim + 1 :]))
    order = [d for d in range(num + 1) if d != dim + 1]
    return views.permute(apart, [*order, dim + 1])


def _patches(call: Call, lengths: Sequence[int]) -> list[tuple[int, int, Indices]]:
    """Per image axis of im2col and col2im: kernel, number of windows, places (windows, kernel)."""
    settings = [each(call[n], 2) for n in ("kernel_size", "dilation", "padding", "stride")]
    found = []
    for n, k, d, p, s in zip(lengths, *settings, strict=True):
        windows = (n + 2 * p - d * (k - 1) - 1) // s + 1
        found.append((k, windows, s * np.arange(windows)[:, None] - p + d * np.arange(k)))
    return found


def columns(call: Call) -> Value:
    """``F.unfold``: (N, C, H, W) to (N, C·k·k, windows)."""
    value = call.input
    batch, channels, height, width = value.shape
    (kh, mh, rows), (kw, mw, cols) = _patches(call, (height, width))
    value = views.gather(value, 2, rows.reshape(-1, 1))
    value = views.gather(value, 3, cols.reshape(-1, 1))
    apart = views.reshape(value, (batch, channels, mh, kh, mw, kw))
    return views.reshape(views.permute(apart, (0, 1, 3, 5, 2, 4)), call.shape)


def folded(call: Call) -> Value:
    """``F.fold``: (N, C·k·k, windows) to (N, C, H, W), overlapping windows added."""
    height, width = call["output_size"]
    batch, channels = call.shape[:2]
    (kh, mh, rows), (kw, mw, cols) = _patches(call, (height, width))
    apart = views.reshape(call.input, (batch, channels, kh, kw, mh, mw))
    value = views.reshape(
        views.permute(apart, (0, 1, 4, 2, 5, 3)), (batch, channels, mh * kh, mw * kw)
    )
    return views.gather(views.gather(value, 2, *_sums(rows, height)), 3, *_sums(cols, width))


def _sums(places: Indices, length: int) -> tuple[Indices, Any]:
    """For each of ``length`` outputs, the flat places that fall on it, padded to one width."""
    flat = places.reshape(-1)
    lists = [np.flatnonzero(flat == u) for u in range(length)]
    most = max(1, *(len(found) for found in lists))
    at = np.zeros((length, most), dtype=np.int64)
    used = np.zeros((length, most), dtype=bool)
    for u, found in enumerate(lists):
        at[u, : len(found)], used[u, : len(found)] = found, True
    return at, used


def placed(call: Call) -> Value:
    """Indexing, gathering, choosing by a mask: exact where the places are constants.

    Where they depend on the image, every element on all of the tensors given.
    """
    if known(call, "indices", "index", "mask", "condition"):
        value = moved(call)
        assert isinstance(value, Value)
        return value
    return anywhere(call)


def anywhere(call: Call) -> Value:
    """Every element on everything: places that depend on the image."""
    values = [reduce(lambda v, dim: v.mix(dim), range(len(v.shape)), v) for v in call.data]
    flat = [views.reshape(value, (1,) * len(call.shape)) for value in values]
    return views.expand(reduce(lambda a, b: a.join(b, gates=False), flat), call.shape)


def unknown_places(*names: str) -> Callable[[Call], bool]:
    """For rules: whether the places in these arguments depend on the image or are not known."""
    return lambda call: not known(call, *names)


def gathered(call: Call) -> Value:
    """Along one dimension: exact for constant places, else the whole of that dimension."""
    if known(call, "index"):
        value = moved(call)
        assert isinstance(value, Value)
        return value
    dim = call["dim"] % len(call.shape)
    index, value = call["index"], call["self"]
    if not value.is_data:
        return Value(call.shape, index.axes)
    for d, length in enumerate(call.shape):
        value = value.mix(d) if d == dim else views.cut(value, d, 0, length)
    whole = views.expand(value, call.shape)
    return whole.join(index, gates=False) if index.is_data else whole


def masked(*names: str) -> Callable[[Call], Value]:
    """``where``, ``masked_fill``: exact for a constant mask in ``names``, else a join of all."""

    def result(call: Call) -> Value:
        if known(call, *names):
            value = moved(call)
            assert isinstance(value, Value)
            return value
        return reduce(Value.join, call.values)

    return result


def as_complex(call: Call) -> Value:
    """Pairs along the last dimension as complex numbers."""
    return views.drop(call.input.mix(-1), -1)


def as_real(call: Call) -> Value:
    """Complex numbers as pairs along a new last dimension."""
    return views.expand(views.insert(call.input, len(call.input.shape)), call.shape)
