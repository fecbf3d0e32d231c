"""Along one image axis: the intervals of pixels that the elements of a tensor depend on.

Requirements and choice stand in ``analysis.dependence``; here are the arrays, the five kinds of
intervals and what operators do to them along one axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from rfsearch.field import EMPTY_LO, Indices, Intervals, Taps


@dataclass(frozen=True)
class Kind:
    """Which question an interval answers."""

    beyond: bool = False
    gates: bool = True
    shortest: bool = False


KINDS = {
    "seen": Kind(),
    "seen_no_gates": Kind(gates=False),
    "largest": Kind(beyond=True),
    "no_gates": Kind(beyond=True, gates=False),
    "smallest": Kind(beyond=True, shortest=True),
}

# Bounds of an element that is −∞ or 0 whatever the image, as a mask leaves it: neutral too, and
# nothing that it is multiplied with gets through.
DEAD_LO = 1 << 41
DEAD_HI = -DEAD_LO

Jump = Fraction | None  # pixels per index; 0: does not run over the image; None: irregular


@dataclass(frozen=True)
class Reach:
    """Intervals of one kind along one image axis; lo and hi broadcast to the tensor's shape."""

    kind: Kind
    intervals: Intervals

    @property
    def lo(self) -> Indices:
        """First pixel."""
        return self.intervals.lo

    @property
    def hi(self) -> Indices:
        """Last pixel."""
        return self.intervals.hi

    def view(self, change: Callable[[Indices], Indices]) -> Reach:
        """The same change of view on both arrays."""
        lo, hi = np.broadcast_arrays(change(self.lo), change(self.hi))
        return replace(self, intervals=Intervals(lo, hi))

    def read(self, dim: int, taps: Taps, jump: Jump) -> Reach:
        """See ``Intervals.read``, along dimension ``dim``."""
        moved = Intervals(np.moveaxis(self.lo, dim, -1), np.moveaxis(self.hi, dim, -1))
        read = moved.read_beyond(taps, jump or 0) if self.kind.beyond else moved.read(taps)
        return replace(self, intervals=read).view(lambda array: np.moveaxis(array, -1, dim))

    def compact(self) -> Reach:
        """Length 1 along every dimension on which neither array varies."""
        lo, hi = self.lo, self.hi
        for dim, length in enumerate(lo.shape):
            if length > 1 and is_flat(lo, dim) and is_flat(hi, dim):
                first = (slice(None),) * dim + (slice(0, 1),)
                lo, hi = lo[first], hi[first]
        return self if lo is self.lo else replace(self, intervals=Intervals(lo, hi))

    def mix(self, dim: int, over_image: bool) -> Reach:
        """Every element along ``dim`` on all of them: the hull.

        The shortest path takes the shortest among channels, and all there is over the image.
        """
        if self.lo.shape[dim] == 1:
            return self
        if over_image or not self.kind.shortest:
            lo, hi = self.lo.min(dim, keepdims=True), self.hi.max(dim, keepdims=True)
            return replace(self, intervals=Intervals(lo, hi))
        best = np.expand_dims(_lengths(self.intervals).argmin(dim), dim)
        return self.view(lambda array: np.take_along_axis(array, best, dim))

    def join(self, other: Reach) -> Reach:
        """Both: the hull, or of either element the shorter one."""
        if not self.kind.shortest:
            return replace(self, intervals=self.intervals.join(other.intervals))
        mine = _lengths(self.intervals) <= _lengths(other.intervals)
        lo, hi = np.where(mine, self.lo, other.lo), np.where(mine, self.hi, other.hi)
        return replace(self, intervals=Intervals(lo, hi))


def _lengths(intervals: Intervals) -> Indices:
    """Sizes, with nothing at all the longest, so that a constant is never the shortest path."""
    lengths: Indices = np.where(intervals.sizes > 0, intervals.sizes, EMPTY_LO)
    return lengths


@dataclass(frozen=True)
class Axis:
    """One image axis of one tensor: its reaches by kind, and the jump along each dimension.

    Kinds that are equal so far share their arrays, and what is done to one is done once.
    """

    reaches: dict[str, Reach]
    jumps: tuple[Jump, ...]

    def each(
        self, change: Callable[[Reach], Reach], jumps: tuple[Jump, ...] | None = None
    ) -> Axis:
        """The same change to every kind; arrays that kinds share are changed once."""
        done: dict[tuple[int, bool, bool], Intervals] = {}
        reaches = {}
        for name, reach in self.reaches.items():
            key = (id(reach.intervals), reach.kind.beyond, reach.kind.shortest)
            if key not in done:
                done[key] = change(reach).intervals
            reaches[name] = Reach(reach.kind, done[key])
        return Axis(reaches, self.jumps if jumps is None else jumps)

    def varies(self, dim: int, length: int) -> bool:
        """Whether elements along ``dim`` (of ``length``) can depend on different pixels."""
        if length == 1:
            return self.jumps[dim] != 0
        return any(reach.lo.shape[dim] > 1 for reach in self.reaches.values())

    def read(self, dim: int, taps: Taps) -> Axis:
        """An operator that reads ``taps`` along ``dim``.

        Outputs that read padding alone depend on nothing, along the other image axis as well.
        """
        varies = self.varies(dim, taps.num_inputs)
        if taps.is_identity or not (varies or taps.is_blind):
            return self
        jump = self.jumps[dim]
        after = None if jump is None else jump * taps.rate
        jumps = (*self.jumps[:dim], after, *self.jumps[dim + 1 :])

        def change(reach: Reach) -> Reach:
            full = reach.view(lambda a: _spread(a, dim, taps.num_inputs))
            return full.read(dim, taps, jump).compact()

        return self.each(change, jumps)

    def mix(self, dim: int) -> Axis:
        """An operator that reads everything along ``dim``."""
        over_image = self.jumps[dim] != 0
        jumps = (*self.jumps[:dim], Fraction(0), *self.jumps[dim + 1 :])
        return self.each(lambda reach: reach.mix(dim, over_image), jumps)

    def settle(self, shape: Sequence[int]) -> Axis:
        """The jumps as the arrays show them, after a view.

        0 along every dimension on which nothing varies, as a slice may leave it; where a view
        lost the jump, the step of the arrays if it is the same everywhere. The arrays of what is
        not clipped to the image: elements that see padding alone have a place there too.
        """
        unclipped = self.reaches["no_gates"]
        jumps: list[Jump] = []
        for dim, (jump, length) in enumerate(zip(self.jumps, shape, strict=True)):
            if length > 1 and unclipped.lo.shape[dim] == unclipped.hi.shape[dim] == 1:
                jumps.append(Fraction(0))
            elif jump is None and length > 1:
                jumps.append(_step(unclipped, dim))
            else:
                jumps.append(jump)
        return Axis(self.reaches, tuple(jumps))

    def join(
        self, other: Axis, mine: Sequence[int], theirs: Sequence[int], gates: bool = True
    ) -> Axis:
        """Two operands of the shapes ``mine`` and ``theirs``, of equal number of dimensions."""
        jumps = _jumps_of_join(self.jumps, other.jumps, mine, theirs)
        first = gates and _gates(self.jumps, other.jumps, theirs, mine)
        second = gates and not first and _gates(other.jumps, self.jumps, mine, theirs)
        done: dict[tuple[int, int, bool], Intervals] = {}
        reaches = {}
        for name, reach in self.reaches.items():
            a, b, kind = reach, other.reaches[name], reach.kind
            key = (id(a.intervals), id(b.intervals), kind.shortest)
            if not kind.gates and (first or second):
                reaches[name] = a if first else b
                continue
            if key not in done:
                done[key] = a.join(b).intervals
            reaches[name] = Reach(kind, done[key])
        return Axis(reaches, jumps)


def _step(reach: Reach, dim: int) -> Jump:
    """By how much the intervals move from each index to the next; None where that differs."""
    steps = [np.diff(array, axis=dim) for array in (reach.lo, reach.hi) if array.shape[dim] > 1]
    if len(steps) < 2 or not all(bool((step == steps[0].flat[0]).all()) for step in steps):
        return None
    return Fraction(int(steps[0].flat[0])) or None


def _gates(
    runs: Sequence[Jump], gate: Sequence[Jump], gate_shape: Sequence[int], shape: Sequence[int]
) -> bool:
    """Whether the second operand is one number where the first one runs over the image."""
    return any(
        jump != 0 and short == 1 < long
        for jump, short, long in zip(runs, gate_shape, shape, strict=True)
    ) and not any(jump != 0 and short > 1 for jump, short in zip(gate, gate_shape, strict=True))


def _jumps_of_join(
    mine: tuple[Jump, ...], theirs: tuple[Jump, ...], shape: Sequence[int], other: Sequence[int]
) -> tuple[Jump, ...]:
    """Of two maps of one element, which a view may have run over the image along several
    dimensions, that of the one that runs along fewest tells where padding lies."""
    long = any(
        jump != 0 and length > 1
        for jumps, lengths in ((mine, shape), (theirs, other))
        for jump, length in zip(jumps, lengths, strict=True)
    )
    running = [sum(jump != 0 for jump in jumps) for jumps in (mine, theirs)]
    if not long and all(running) and running[0] != running[1]:
        return mine if running[0] < running[1] else theirs
    return tuple(map(_jump_of_join, mine, theirs, shape, other))


def _jump_of_join(mine: Jump, theirs: Jump, my_length: int, their_length: int) -> Jump:
    if their_length == 1 < my_length or theirs == 0:
        return mine
    if my_length == 1 < their_length or mine == 0:
        return theirs
    return mine if mine == theirs else None


def is_flat(array: Indices, dim: int) -> bool:
    """Whether nothing varies along ``dim``; two elements tell it most of the time."""
    before = (slice(None),) * dim
    first = array[(*before, slice(0, 1))]
    if not bool((array[(*before, slice(-1, None))] == first).all()):
        return False
    return bool((array == first).all())


def _spread(array: Indices, dim: int, length: int) -> Indices:
    """The array with its full length along ``dim``."""
    if array.shape[dim] == length:
        return array
    return np.broadcast_to(array, (*array.shape[:dim], length, *array.shape[dim + 1 :]))
