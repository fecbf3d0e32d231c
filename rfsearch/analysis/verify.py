"""The walk against the probe: every index of every tensor, channel by channel."""

from __future__ import annotations

import copy

import numpy as np
from torch import fx, nn

from rfsearch.analysis.capture import capture
from rfsearch.analysis.dependence import Value
from rfsearch.analysis.follow import module_name, trace
from rfsearch.analysis.probe import probe
from rfsearch.field import EMPTY_HI, EMPTY_LO, Indices, Intervals


def disagreements(
    module: nn.Module, image_size: tuple[int, int], channels: int = 3, kind: str = "seen"
) -> list[str]:
    """Where the walk's intervals of ``kind`` differ from the probe's, one line per tensor.

    Takes one run of the network per row and per column: meant for small images.
    """
    truth = probe(module, image_size, channels)
    program = capture(copy.deepcopy(module).double(), image_size, channels)
    found = []
    for node, value in trace(program):
        shape = tuple(node.meta["val"].shape)
        if value.shape != shape:
            found.append(f"{node.name}: shape {value.shape} to the walk, {shape} in the graph")
        elif value.is_data:
            found += _compare(node, value, truth[node.name], kind)
        elif any((axis.sizes > 0).any() for axis in truth[node.name]):
            found.append(f"{node.name}: constant to the walk, NaN in the probe")
    return found


def _compare(
    node: fx.Node, value: Value, truth: tuple[Intervals, Intervals], kind: str
) -> list[str]:
    walked = [axis.reaches[kind].intervals for axis in value.axes]
    nothing = (walked[0].sizes == 0) | (walked[1].sizes == 0)  # no rows, so no columns either
    found = []
    for i, name in enumerate(("rows", "columns")):
        across = _across(value, i)
        lo = np.where(nothing, EMPTY_LO, walked[i].lo)
        hi = np.where(nothing, EMPTY_HI, walked[i].hi)
        lo, hi = _hull(np.broadcast_to(lo, value.shape), np.broadcast_to(hi, value.shape), across)
        true_lo, true_hi = _hull(truth[i].lo, truth[i].hi, across)
        wrong = (lo != true_lo) | (hi != true_hi)
        if wrong.any():
            at = tuple(int(k) for k in np.argwhere(wrong)[0])
            found.append(
                f"{node.name} ({module_name(node)}), {name}, element {at}: walk "
                f"{lo[at]}..{hi[at]}, probe {true_lo[at]}..{true_hi[at]}; "
                f"{int(wrong.sum())} of {wrong.size} elements differ"
            )
    return found


def _across(value: Value, i: int) -> tuple[int, ...]:
    """The dimensions that run over the other image axis: rows are told for all columns at once.

    The two axes are followed apart, so a corner that sees nothing is known by its row and column
    alone, and a dimension into which both were flattened is told as a whole.
    """
    own, other = value.axes[i].jumps, value.axes[1 - i].jumps
    return tuple(d for d in range(len(own)) if other[d] != 0 and own[d] in (0, None))


def _hull(lo: Indices, hi: Indices, dims: tuple[int, ...]) -> tuple[Indices, Indices]:
    return lo.min(dims, keepdims=True), hi.max(dims, keepdims=True)
