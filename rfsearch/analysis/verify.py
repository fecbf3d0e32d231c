"""The walk against the probe, element by element."""

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
        if value.is_data:
            found += _compare(node, value, truth[node.name], kind)
        elif any((axis.sizes > 0).any() for axis in truth[node.name]):
            found.append(f"{node.name}: constant to the walk, NaN in the probe")
    return found


def _compare(
    node: fx.Node, value: Value, truth: tuple[Intervals, Intervals], kind: str
) -> list[str]:
    found = []
    for name, axis, true in zip(("rows", "columns"), value.axes, truth, strict=True):
        lo, hi = _full(axis.reaches[kind].intervals, value.shape)
        wrong = (lo != true.lo) | (hi != true.hi)
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            found.append(
                f"{node.name} ({module_name(node)}), {name}, element {at}: walk "
                f"{lo[at]}..{hi[at]}, probe {true.lo[at]}..{true.hi[at]}; "
                f"{int(wrong.sum())} of {wrong.size} elements differ"
            )
    return found


def _full(intervals: Intervals, shape: tuple[int, ...]) -> tuple[Indices, Indices]:
    """lo and hi at full shape, with one mark for every interval that holds nothing."""
    empty = intervals.lo > intervals.hi
    lo = np.where(empty, EMPTY_LO, intervals.lo)
    hi = np.where(empty, EMPTY_HI, intervals.hi)
    return np.broadcast_to(lo, shape), np.broadcast_to(hi, shape)
