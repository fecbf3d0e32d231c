"""Operators that add elements up at places told by an index: several may fall on one place."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from rfsearch.analysis import movement, views
from rfsearch.analysis.call import Call
from rfsearch.analysis.dependence import Value
from rfsearch.analysis.reach import Axis, Reach
from rfsearch.field import EMPTY_HI, EMPTY_LO, Indices, Intervals


def scatter_added(call: Call) -> Value:
    """``scatter_add``, ``scatter_reduce``: element i of the source at ``index[i]`` along one
    dimension."""
    if not movement.known(call, "index"):
        return movement.anywhere(call)
    index = movement.constant(call["index"])
    assert index is not None
    source: Value = call["src"]
    for dim, length in enumerate(index.shape):
        source = views.cut(source, dim, 0, length)
    return _with(call, source, _places(call).gather(call["dim"], index))


def index_added(call: Call) -> Value:
    """``index_add``: slice i of the source at ``index[i]`` along one dimension."""
    if not movement.known(call, "index"):
        return movement.anywhere(call)
    index = movement.constant(call["index"])
    assert index is not None
    return _with(call, call["source"], _places(call).index_select(call["dim"], index))


def put(call: Call) -> Value:
    """``index_put``: elements overwritten, or added to where ``accumulate`` says so."""
    if not call["accumulate"] or not movement.known(call, "indices"):
        return movement.placed(call)
    indices = [None if one is None else movement.constant(one) for one in call["indices"]]
    places = torch.ops.aten.index.Tensor(_places(call), indices)
    return _with(call, views.expand(call["values"], places.shape), places)


def _places(call: Call) -> Tensor:
    """The number of every element of the output."""
    return torch.arange(prod(call.shape)).reshape(call.shape)


def _with(call: Call, source: Value, places: Tensor) -> Value:
    """The tensor added to, joined with what falls on each of its elements."""
    target: Value = call["self"]
    if not source.is_data:
        return target
    at = places.numpy().ravel()
    axes = [axis.each(lambda reach: _fallen(reach, source.shape, at, call.shape),
                      (None,) * len(call.shape)).settle(call.shape)
            for axis in source.axes]  # fmt: skip
    fallen = Value(call.shape, tuple(axes))
    return fallen if not target.is_data else _joined(target, fallen)


def _joined(target: Value, fallen: Value) -> Value:
    """Jumps as those of the target: what is added does not move it."""
    both = target.join(fallen, gates=False)
    axes = (Axis(axis.reaches, before.jumps)
            for axis, before in zip(both.axes, target.axes, strict=True))  # fmt: skip
    return Value(both.shape, tuple(axes))


def _fallen(reach: Reach, before: tuple[int, ...], at: Indices, after: tuple[int, ...]) -> Reach:
    lo, hi = (np.broadcast_to(array, before).ravel() for array in (reach.lo, reach.hi))
    first, last = np.full(prod(after), EMPTY_LO), np.full(prod(after), EMPTY_HI)
    if reach.kind.shortest:  # of those that fall on one place the shortest is written last
        order = np.argsort(np.where(hi >= lo, lo - hi, -EMPTY_LO), kind="stable")
        first[at[order]], last[at[order]] = lo[order], hi[order]
    else:
        np.minimum.at(first, at, lo)
        np.maximum.at(last, at, hi)
    return Reach(reach.kind, Intervals(first.reshape(after), last.reshape(after))).compact()
