"""Joins of maps that do not lie on each other.

A sum or concatenation is aligned where both maps move by the same jump and the fields of elements
that meet have the same centre. Pyramids, dilated pyramids with a pooled branch, even kernels in
one branch and resampling between grids break that, lawfully or not: it is told, not refused.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from rfsearch.analysis.dependence import Value
from rfsearch.analysis.follow import Step, source
from rfsearch.analysis.layers import Join
from rfsearch.analysis.reach import Axis
from rfsearch.field import Indices


def misaligned(step: Step, name: str, call: int) -> list[Join]:
    """What is to be told of one layer: nothing, unless it joins maps, and joins them badly."""
    if step.rule.kind != "join":
        return []
    maps = [value for value in step.call.data if len(value.shape) == len(step.output.shape) >= 3]
    found = []
    for i, axis in enumerate("hw"):
        dims = [d for d, jump in enumerate(step.output.axes[i].jumps) if jump != 0]
        if len(dims) != 1:
            continue
        length = step.output.shape[dims[0]]
        moving = [v for v in maps if v.axes[i].jumps[dims[0]] and 1 < v.shape[dims[0]] == length]
        told = _compare(moving, i, dims[0])
        if told:
            jumps, offsets = told
            found.append(Join(name, call, axis, jumps, offsets, source(step.node)))
    return found


def _compare(
    maps: list[Value], i: int, dim: int
) -> tuple[tuple[Fraction, ...], tuple[tuple[float, float], ...]] | None:
    """Jumps and offsets, where something is amiss."""
    if len(maps) < 2:
        return None
    jumps = tuple(Fraction(value.axes[i].jumps[dim] or 0) for value in maps)
    places = [_centres(value.axes[i], dim, value.shape[dim]) for value in maps]
    offsets = tuple(
        (float((place - places[0]).min()) / 2, float((place - places[0]).max()) / 2)
        for place in places
    )
    aligned = len(set(jumps)) == 1 and not any(low or high for low, high in offsets)
    return None if aligned else (jumps, offsets)


def _centres(axis: Axis, dim: int, length: int) -> Indices:
    """Twice the centre of the field at every index, the hull over all other dimensions."""
    reach = axis.reaches["no_gates"]
    others = tuple(d for d in range(reach.lo.ndim) if d != dim)
    both: Indices = reach.lo.min(others) + reach.hi.max(others)
    return np.broadcast_to(both, length)
