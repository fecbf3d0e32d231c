"""Views of tensors, as the walk sees them: the same elements elsewhere.

Each function takes values and returns one, and does to the arrays of intervals what torch's
operator of that name does to the tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np
from numpy.typing import NDArray

from rfsearch.analysis.dependence import Value
from rfsearch.analysis.reach import KINDS, Axis, Jump, Reach, is_flat
from rfsearch.field import EMPTY_HI, EMPTY_LO, Indices, Intervals, Taps


def permute(value: Value, order: Sequence[int]) -> Value:
    """Dimensions in another order."""
    order = [dim % len(value.shape) for dim in order]
    return value.view(
        [value.shape[dim] for dim in order],
        lambda array: array.transpose(order),
        lambda jumps: tuple(jumps[dim] for dim in order),
    )


def cut(value: Value, dim: int, start: int, stop: int, step: int = 1) -> Value:
    """Elements ``start:stop:step`` along ``dim``."""
    dim %= len(value.shape)
    kept = range(value.shape[dim])[start:stop:step]
    index = tuple(slice(start, stop, step) if d == dim else slice(None)
                  for d in range(len(value.shape)))  # fmt: skip
    return value.view(
        [*value.shape[:dim], len(kept), *value.shape[dim + 1 :]],
        lambda array: _squash(array[index] if array.shape[dim] > 1 else array),
        lambda jumps: tuple(j and j * step if d == dim else j for d, j in enumerate(jumps)),
    )


def take(value: Value, dim: int, index: Indices) -> Value:
    """The elements ``index`` (m,) along ``dim``, in that order."""
    dim %= len(value.shape)
    return value.view(
        [*value.shape[:dim], len(index), *value.shape[dim + 1 :]],
        lambda array: _squash(array.take(index, dim) if array.shape[dim] > 1 else array),
        lambda jumps: tuple(j and None if d == dim else j for d, j in enumerate(jumps)),
    )


def gather(value: Value, dim: int, at: Indices, used: NDArray[np.bool_] | None = None) -> Value:
    """Output u along ``dim`` reads the elements ``at[u]``; those outside are padding."""
    dim %= len(value.shape)
    used = np.ones_like(at, dtype=bool) if used is None else used
    taps = Taps(at, used, value.shape[dim], Fraction(1))
    lost = value.read(dim, taps)
    return lost.view(
        lost.shape,
        _squash,
        lambda jumps: tuple(j and None if d == dim else j for d, j in enumerate(jumps)),
    )


def insert(value: Value, dim: int) -> Value:
    """A new dimension of length 1 at ``dim``."""
    dim %= len(value.shape) + 1
    return reshape(value, (*value.shape[:dim], 1, *value.shape[dim:]))


def drop(value: Value, dim: int) -> Value:
    """Without dimension ``dim``, of length 1."""
    dim %= len(value.shape)
    assert value.shape[dim] == 1, value.shape
    return value.view(
        [*value.shape[:dim], *value.shape[dim + 1 :]],
        lambda array: array.squeeze(dim),
        lambda jumps: (*jumps[:dim], *jumps[dim + 1 :]),
    )


def expand(value: Value, shape: Sequence[int]) -> Value:
    """Repeated along dimensions of length 1; leading dimensions may be new."""
    lifted = value.lift(len(shape))
    full = [n if m == -1 else m for n, m in zip(lifted.shape, shape, strict=True)]
    return lifted.view(full, lambda array: array, lambda jumps: jumps)


def nothing(value: Value, like: Value) -> Value:
    """A constant as data that depends on no pixel, so that it can be joined with ``like``."""
    ones = (1,) * len(value.shape)
    lo, hi = np.full(ones, EMPTY_LO), np.full(ones, EMPTY_HI)
    zeros = (Fraction(0),) * len(ones)
    axes = [
        Axis({n: replace(r, intervals=Intervals(lo, hi)) for n, r in axis.reaches.items()}, zeros)
        for axis in like.axes
    ]
    return Value(value.shape, tuple(axes), value.params)


def concatenate(values: Sequence[Value], dim: int) -> Value:
    """Parts stay apart: what came from one depends on what that one depended on."""
    like = next(value for value in values if value.is_data)
    parts = [value if value.is_data else nothing(value, like) for value in values]
    dim %= len(like.shape)
    total = sum(part.shape[dim] for part in parts)
    shape = (*like.shape[:dim], total, *like.shape[dim + 1 :])
    axes = []
    for columns in zip(*(part.axes for part in parts), strict=True):
        reaches = {name: _concatenate([axis.reaches[name] for axis in columns],
                                      [part.shape[dim] for part in parts], dim)
                   for name in KINDS}  # fmt: skip
        jumps = tuple(map(_common, zip(*(axis.jumps for axis in columns), strict=True)))
        axes.append(Axis(reaches, jumps))
    return Value(shape, tuple(axes))


def _concatenate(reaches: Sequence[Reach], lengths: Sequence[int], dim: int) -> Reach:
    first = reaches[0]
    flat = all(reach.lo.shape[dim] == 1 for reach in reaches)
    if flat and all(
        np.array_equal(r.lo, first.lo) and np.array_equal(r.hi, first.hi) for r in reaches
    ):
        return first
    around = np.broadcast_shapes(*(r.lo[_at(r.lo, dim)].shape for r in reaches))

    def glue(arrays: Sequence[Indices]) -> Indices:
        full = [
            np.broadcast_to(array, (*around[:dim], length, *around[dim + 1 :]))
            for array, length in zip(arrays, lengths, strict=True)
        ]
        return np.concatenate(full, dim)

    lo, hi = glue([r.lo for r in reaches]), glue([r.hi for r in reaches])
    return replace(first, intervals=Intervals(lo, hi))


def _at(array: Indices, dim: int) -> tuple[slice, ...]:
    """The first element along ``dim``, its dimension kept."""
    return tuple(slice(0, 1) if d == dim else slice(None) for d in range(array.ndim))


def _common(jumps: Sequence[Jump]) -> Jump:
    moving = {jump for jump in jumps if jump != 0}
    return moving.pop() if len(moving) == 1 else (None if moving else Fraction(0))


def reshape(value: Value, shape: Sequence[int]) -> Value:
    """A view of the same elements in the same order."""
    if tuple(shape) == value.shape:
        return value
    groups = list(_groups(value.shape, shape))

    def jumps(before: tuple[Jump, ...]) -> tuple[Jump, ...]:
        cut = [_split_jumps(before, ins, outs, value.shape, shape) for ins, outs in groups]
        return tuple(jump for part in cut for jump in part)

    found = value.view(shape, lambda array: _regroup(array, value.shape, shape, groups), jumps)
    return _parted_ones(found)


def _parted_ones(value: Value) -> Value:
    """A map of one pixel that was a single token: its columns run over the next dimension."""
    if len(value.axes) != 2:
        return value
    rows, columns = value.axes
    for dim in range(len(value.shape) - 1):
        both = rows.jumps[dim] != 0 != columns.jumps[dim]
        free = rows.jumps[dim + 1] == 0 == columns.jumps[dim + 1]
        if value.shape[dim : dim + 2] == (1, 1) and both and free:
            jumps = list(columns.jumps)
            jumps[dim : dim + 2] = [Fraction(0), jumps[dim]]
            return replace(value, axes=(rows, replace(columns, jumps=tuple(jumps))))
    return value


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[range, range]]:
    """The finest cut of both shapes into runs of dimensions that hold the same elements."""
    groups, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        i0, j0 = i, j
        left = before[i] if i < len(before) else 1
        right = after[j] if j < len(after) else 1
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while left != right:
            if left < right:
                left, i = left * before[i], i + 1
            else:
                right, j = right * after[j], j + 1
        groups.append((range(i0, i), range(j0, j)))
    return groups


def _regroup(
    array: Indices, before: Sequence[int], after: Sequence[int], groups: list[tuple[range, range]]
) -> Indices:
    """The array in the new shape: full length only in the groups in which it varies."""
    full, target = list(array.shape), []
    for ins, outs in groups:
        lengths = [array.shape[d] for d in ins]
        if prod(lengths) == 1:
            target += [1] * len(outs)
            continue
        for d in ins:
            full[d] = before[d]
        target += [after[d] for d in outs]
    return _squash(np.broadcast_to(array, full).reshape(target))


def _squash(array: Indices) -> Indices:
    """Length 1 along every dimension on which the array does not vary."""
    for dim, length in enumerate(array.shape):
        if length > 1 and is_flat(array, dim):
            array = array[_at(array, dim)]
    return array


def _split_jumps(
    before: tuple[Jump, ...], ins: range, outs: range, old: Sequence[int], new: Sequence[int]
) -> list[Jump]:
    """Jumps of one group: a dimension that is split keeps its jump on the innermost part."""
    moving = [d for d in ins if before[d] != 0]
    if not moving:
        return [Fraction(0)] * len(outs)
    wide = [d for d in ins if old[d] > 1] or moving
    if wide != moving or len(moving) > 1:
        return [None] * len(outs)
    jump, jumps = before[moving[0]], []
    long = any(new[d] > 1 for d in outs)  # then parts of length 1 hold nothing, such as a batch
    for d in reversed(outs):
        jumps.append(Fraction(0) if long and new[d] == 1 else jump)
        jump = None if jump is None else jump * new[d]
    return jumps[::-1]
